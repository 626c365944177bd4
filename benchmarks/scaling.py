"""Two ranks and one process, step for step: shm and gloo against the ceiling, and against the best single process.

torchrun --nproc_per_node=2 -m benchmarks.scaling            every case
torchrun --nproc_per_node=2 -m benchmarks.scaling mlp 16     one of them, by model and global batch

All arms run in one job, interleaved: the ranks with each comm, and rank 0 alone on 1, 2 .. all cores while the others
sleep. Every round is engine.train_epoch as both scripts run it, on MNIST; a round takes as long as its slowest rank.
"""

import sys
import time
from statistics import median

import torch
from torch.nn.parallel import DistributedDataParallel

from benchmarks.rounds import Report, interleaved, ratios
from ddpbench import data, engine, environment, models, optim, shm, world
from ddpbench.config import TrainConfig
from ddpbench.data import Batches, DataSet
from ddpbench.progress import EpochBar
from ddpbench.record import Comm
from ddpbench.reduction import ReductionTimer

ROUNDS, ROUND_S = 15, 0.5
CASES = (("mlp", 16), ("mlp", 256), ("mlp", 1024), ("cnn", 256))


class Arm:
    """A network with its optimizer and data, ready to train a round."""

    def __init__(self, cfg: TrainConfig, images: DataSet, here: world.World, comm: Comm | None, threads: int) -> None:
        self._cfg, self._here, self._threads = cfg, here, threads
        net = models.build(cfg)
        if comm not in (None, "none"):
            net = ddp = DistributedDataParallel(net, gradient_as_bucket_view=True)
            if comm == "shm":
                ddp.register_comm_hook(*shm.hook(here))
        self._alone = comm is None
        self._batches = Batches(images, cfg, world.solo(cfg) if self._alone else here)
        self._net, self._optimizer = net, optim.build_optimizer(net, cfg)
        self._timer = ReductionTimer(net, self._optimizer, here.device)

    def round(self) -> float:
        """Train a round. Returns milliseconds a step of the slowest rank; a single process is rank 0 alone."""
        torch.set_num_threads(self._threads)
        self._here.barrier()
        begin = time.perf_counter()
        if not self._alone or self._here.is_main:
            with EpochBar(1, 1, self._batches.steps, shown=False) as bar:
                engine.train_epoch(self._net, self._optimizer, None, self._batches, 1, self._cfg, bar)
            self._timer.take()
        took_s = time.perf_counter() - begin
        return 1e3 * max(row[0] for row in self._here.gather([took_s])) / self._batches.steps


def main() -> None:
    """Measure every case; the first rank reports."""
    report = Report("scaling")
    cases = CASES if len(sys.argv) < 3 else ((sys.argv[1], int(sys.argv[2])),)
    with world.join(TrainConfig(device="cpu", threads=1)) as here:
        for model, batch in cases:
            measure(TrainConfig(model=model, global_batch=batch, device="cpu"), here, report)  # type: ignore[arg-type]
    if here.is_main:
        report.write()


def measure(cfg: TrainConfig, here: world.World, report: Report) -> None:
    """Measure one network at one batch."""
    images = data.load(cfg)
    steps = max(
        5,
        min(len(images.train.labels), int(ROUND_S * 10_000 if cfg.model == "cnn" else ROUND_S * 60_000))
        // cfg.global_batch,
    )
    cfg = TrainConfig(model=cfg.model, global_batch=cfg.global_batch, device="cpu", steps=min(steps, 1_000))
    singles = sorted({1, *range(2, environment.usable_cores() + 1, 2), environment.usable_cores()})
    comms: tuple[Comm, ...] = ("none", "shm", "gloo")
    arms = {f"baseline, {threads}": Arm(cfg, images, here, None, threads) for threads in singles}
    arms |= {comm: Arm(cfg, images, here, comm, 1) for comm in comms}
    figures = interleaved({name: arm.round for name, arm in arms.items()}, ROUNDS)
    if not here.is_main:
        return
    report.section(f"{cfg.model}, global batch {cfg.global_batch}, {here.size} ranks, {cfg.steps} steps a round")
    for name, values in figures.items():
        report.figure(name, values, "ms a step")
    best = min((name for name in figures if name.startswith("baseline")), key=lambda name: median(figures[name]))
    for name, above, below in (
        ("shm over the ceiling", "none", "shm"),
        ("gloo over the ceiling", "none", "gloo"),
        ("shm over gloo", "gloo", "shm"),
        ("shm over the best single process", best, "shm"),
        ("ceiling over the best single process", best, "none"),
    ):
        report.figure(name, ratios(figures[above], figures[below]), "times")


if __name__ == "__main__":
    world.run(main)
