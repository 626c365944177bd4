"""What the timers inside a run cost: DDP steps with and without reductions.ReductionTimer, over shm.

torchrun --nproc_per_node=2 -m benchmarks.instrumentation [cnn|mlp] [GLOBAL_BATCH]
"""

import sys
import time
from statistics import median

from benchmarks.rounds import Report, interleaved, ratios
from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.tasks import task
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.contenders import Stream
from ddpbench.train.life import Life
from ddpbench.train.progress import Bar
from ddpbench.train.reductions import ReductionTimer
from ddpbench.train.state import TrainState

ROUNDS, STEPS = 21, 50


def main() -> None:
    """Measure both on every rank, round by round; the first rank prints."""
    model, batch = (*sys.argv[1:], *("cnn", "256")[len(sys.argv) - 1 :])[:2]
    cfg = TrainConfig(model=model, global_batch=int(batch), schedule="constant", device="cpu")
    here = world.join(cfg)
    batches = Batches.load(cfg, here)
    with here:
        arms = {name: Arm(cfg, batches, here, timed=name == "timed") for name in ("bare", "timed")}
        figures = interleaved({name: arm.round for name, arm in arms.items()}, ROUNDS)
        hooks_s = arms["timed"].hooks_s()
    if here.is_main:
        report = Report("instrumentation")
        report.section(f"{model}, global batch {batch}, {here.size} ranks, shm, {STEPS} steps a round")
        for name, values in figures.items():
            report.figure(name, [1e3 * value / STEPS for value in values], "ms a step")
        report.figure("timed / bare", ratios(figures["timed"], figures["bare"]), "times")
        report.figure("the hooks alone, called as often as in a step", [1e6 * hooks_s], "us")
        report.figure("of a step", [100 * hooks_s * STEPS / median(figures["bare"])], "%")
        report.write()


class Arm:
    """A network under DDP, with or without the timers."""

    def __init__(self, cfg: TrainConfig, batches: Batches, here: world.World, *, timed: bool) -> None:
        self._cfg, self._stream, self._here = cfg, Stream(batches, replayed=False), here
        self._stream.size = STEPS
        net = ddp.wrap(task.of(cfg).step(cfg), here, "shm")
        self._state = TrainState.of(net, cfg, STEPS)
        self._timer = ReductionTimer(net, self._state.optimizer, here.device) if timed else None

    def round(self) -> float:
        """Train STEPS steps. Returns seconds."""
        self._here.barrier()
        begin = time.perf_counter()
        engine.train_epoch(self._state, self._stream, self._cfg, Bar(1, shown=False))  # type: ignore[arg-type]
        self._state.losses.clear()
        took_s = time.perf_counter() - begin
        if self._timer is not None:
            self._timer.take()
        return took_s

    def hooks_s(self, calls: int = 1_000) -> float:
        """Return the seconds that the hooks of one step take, called outside of it."""
        assert self._timer is not None
        gradients = list(self._state.net.parameters())
        begin = time.perf_counter()
        for _ in range(calls):
            for gradient in gradients:
                self._timer._gradient(gradient)
            self._timer._reduced()
        return (time.perf_counter() - begin) / calls


if __name__ == "__main__":
    Life().run(main)
