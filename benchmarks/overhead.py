"""What fair timing costs: engine.train_epoch, with its losses, bar and clock, against the bare loop.

python -m benchmarks.overhead

MLP at batch 16: the shortest step there is, so the largest share. The bar is drawn on a real (pseudo) terminal.
"""

import os
import sys
import time

from torch.nn import functional as F  # noqa: N812 - the field's name for it

from benchmarks.rounds import Report, interleaved, ratios
from ddpbench.config import TrainConfig
from ddpbench.tasks import task
from ddpbench.train import engine, optim, world
from ddpbench.train.batches import Batches
from ddpbench.train.clock import Stopwatch
from ddpbench.train.progress import Bar
from ddpbench.train.state import TrainState

ROUNDS = 15


def main() -> None:
    """Measure in one process on one thread, where noise is least."""
    cfg = TrainConfig(model="mlp", optimizer="sgd", schedule="constant", global_batch=16, device="cpu", threads=1)
    batches = Batches.load(cfg, world.solo(cfg))
    master, terminal = os.openpty()
    log, sys.stderr = sys.stderr, os.fdopen(terminal, "w")
    figures = interleaved({"bare": lambda: bare(cfg, batches), "ours": lambda: ours(cfg, batches, master)}, ROUNDS)
    sys.stderr = log

    report = Report("overhead")
    report.section(f"MLP, batch 16, SGD, 1 thread, {batches.steps} steps a round")
    for name, values in figures.items():
        report.figure(name, values, "s")
    report.figure("ours / bare", ratios(figures["ours"], figures["bare"]), "times")
    report.write()


def bare(cfg: TrainConfig, batches: Batches) -> float:
    """Train an epoch with the same arithmetic and note nothing. Returns seconds."""
    net = task.of(cfg).step(cfg).net
    optimizer = optim.build_optimizer(net, cfg)
    parameters = list(net.parameters())
    begin = time.perf_counter()
    net.train()
    for images, labels in batches.epoch(1):
        loss = F.cross_entropy(net(images), labels)
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        optimizer.step()
    return time.perf_counter() - begin


def ours(cfg: TrainConfig, batches: Batches, master: int) -> float:
    """Train an epoch as the scripts do, the bar on a terminal. Returns seconds."""
    state, watch = TrainState.of(task.of(cfg).step(cfg), cfg, batches.steps), Stopwatch()
    with Bar(1, shown=True) as bar, watch:
        engine.train_epoch(state, batches, cfg, bar)
    drawn = os.read(master, 65_536)
    assert b"batch/s" in drawn, "the bar was not drawn, so its cost was not measured"
    return watch.last_s


if __name__ == "__main__":
    main()
