"""Two ranks and one process, step for step: shm and gloo against the ceiling, and against the best single process.

torchrun --nproc_per_node=2 -m benchmarks.scaling            every case
torchrun --nproc_per_node=2 -m benchmarks.scaling mlp 16     one of them, by model and global batch

All arms run in one job, interleaved: the ranks with each comm, and rank 0 alone on 1, 2 .. all cores while the others
sleep. Every round is engine.train_epoch as both scripts run it, on MNIST; a round takes as long as its slowest rank.

"none" is the ceiling: the same ranks, but they never communicate. "none, in step" adds up, from those very rounds, the
slower rank of every step: what synchronous training would take if gradients cost nothing at all. "wrapper" is
DistributedDataParallel with a hook that reduces nothing: what DDP itself costs.
"""

import sys
import time
from statistics import median
from typing import Literal

import torch
from msgspec.structs import replace
from torch.nn.parallel import DistributedDataParallel

from benchmarks.rounds import Report, interleaved, ratios
from ddpbench import environment
from ddpbench.comm import ddp, shm
from ddpbench.config import TrainConfig
from ddpbench.record import Comm
from ddpbench.tasks import mnist
from ddpbench.tasks.mnist import DataSet
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.life import Life
from ddpbench.train.progress import Bar
from ddpbench.train.reductions import ReductionTimer
from ddpbench.train.state import TrainState

ROUNDS, ROUND_S = 15, 0.5
Way = Comm | Literal["wrapper"]
CASES = (("mlp", 16), ("mlp", 256), ("mlp", 1024), ("cnn", 256))


class Arm:
    """A network with its optimizer and data, ready to train a round."""

    def __init__(self, cfg: TrainConfig, images: DataSet, here: world.World, comm: Way | None, threads: int) -> None:
        self._cfg, self._here, self._threads = cfg, here, threads
        net = ddp.wrap(mnist.build(cfg), here, "gloo" if comm == "wrapper" else comm)
        if comm == "wrapper" and isinstance(net, DistributedDataParallel):
            net.register_comm_hook(lambda _: None, shm.reduce_bucket)
        self._alone = comm is None
        self._batches = Batches(images, cfg, world.solo(cfg) if self._alone else here)
        self._state = TrainState.of(net, cfg, self._batches.steps)
        self._timer = ReductionTimer(net, self._state.optimizer, here.device)
        self._stamps: list[float] = []  # when each step ended
        self._state.optimizer.register_step_post_hook(lambda *_: self._stamps.append(time.perf_counter()))
        self.in_step_ms: list[float] = []  # of each round, if every step waited for its slowest rank and for no more

    def round(self) -> float:
        """Train a round. Returns milliseconds a step of the slowest rank; a single process is rank 0 alone."""
        torch.set_num_threads(self._threads)
        self._stamps.clear()
        self._here.barrier()
        begin = time.perf_counter()
        if not self._alone or self._here.is_main:
            engine.train_epoch(self._state, self._batches, self._cfg, Bar(1, shown=False))
            self._state.losses.clear()
            self._timer.take()
        took_s = time.perf_counter() - begin
        if not self._alone:
            steps_s = [end - start for start, end in zip([begin, *self._stamps], self._stamps, strict=False)]
            slowest_s = map(max, zip(*self._here.gather(steps_s), strict=True))
            self.in_step_ms.append(1e3 * sum(slowest_s) / self._batches.steps)
        return 1e3 * max(self._here.gather(took_s)) / self._batches.steps


def main() -> None:
    """Measure every case; the first rank reports."""
    report = Report("scaling")
    cases = CASES if len(sys.argv) < 3 else ((sys.argv[1], int(sys.argv[2])),)
    with world.join(TrainConfig(device="cpu", threads=1)) as here:
        for model, batch in cases:
            measure(TrainConfig(model=model, global_batch=batch, schedule="constant", device="cpu"), here, report)  # type: ignore[arg-type]
    if here.is_main:
        report.write()


def measure(cfg: TrainConfig, here: world.World, report: Report) -> None:
    """Measure one network at one batch."""
    images = mnist.load(cfg)
    steps = max(
        5,
        min(len(images.train.labels), int(ROUND_S * 10_000 if cfg.model == "cnn" else ROUND_S * 60_000))
        // cfg.global_batch,
    )
    cfg = replace(cfg, steps=min(steps, 1_000))
    singles = sorted({1, *range(2, environment.usable_cores() + 1, 2), environment.usable_cores()})
    comms: tuple[Way, ...] = ("none", "wrapper", "shm", "gloo")
    arms = {f"baseline, {threads}": Arm(cfg, images, here, None, threads) for threads in singles}
    arms |= {comm: Arm(cfg, images, here, comm, 1) for comm in comms}
    figures = interleaved({name: arm.round for name, arm in arms.items()}, ROUNDS)
    figures["none, in step"] = arms["none"].in_step_ms[1:]  # the first round is nobody's
    if not here.is_main:
        return
    report.section(f"{cfg.model}, global batch {cfg.global_batch}, {here.size} ranks, {cfg.steps} steps a round")
    for name, values in figures.items():
        report.figure(name, values, "ms a step")
    best = min((name for name in figures if name.startswith("baseline")), key=lambda name: median(figures[name]))
    for name, above, below in (
        ("shm over the ceiling", "none", "shm"),
        ("shm over the ceiling in step", "none, in step", "shm"),
        ("wrapper over the ceiling", "none", "wrapper"),
        ("gloo over the ceiling", "none", "gloo"),
        ("shm over gloo", "gloo", "shm"),
        ("shm over the best single process", best, "shm"),
        ("ceiling over the best single process", best, "none"),
    ):
        report.figure(name, ratios(figures[above], figures[below]), "times")


if __name__ == "__main__":
    Life().run(main)
