"""Our loop against the textbook script: the same network, batch 16, SGD, one process, batches per second.

python -m benchmarks.textbook

Textbook: torchvision's MNIST with ToTensor and Normalize behind a DataLoader, as in most tutorials.
Ours: engine.train_epoch as both training scripts run it.
"""

import time
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.rounds import Report, interleaved, ratios
from ddpbench import environment
from ddpbench.arm import plural
from ddpbench.config import TrainConfig
from ddpbench.tasks import networks, task
from ddpbench.tasks.samples import Samples
from ddpbench.tasks.task import Data
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.clock import Stopwatch
from ddpbench.train.progress import Bar
from ddpbench.train.state import TrainState

ROUNDS = 9
TEXTBOOK_STEPS, OUR_STEPS = 600, 3_000  # each about the same number of seconds


def main() -> None:
    """Measure on one thread and on every core, all in the same rounds, and compare the best with the best."""
    threads = sorted({1, environment.usable_cores()})
    cfg = TrainConfig(model="mlp", optimizer="sgd", schedule="constant", global_batch=16, device="cpu")
    whole = task.of(cfg).data(cfg)
    part = Data(Samples(whole.train.take(torch.arange(OUR_STEPS * cfg.global_batch))), whole.test)
    batches = Batches(task.of(cfg), part, cfg, world.solo(cfg))
    loader = textbook_loader(cfg.data_dir, cfg.global_batch)
    alternatives = {("textbook", count): partial(textbook, cfg, loader, count) for count in threads}
    alternatives |= {("ours", count): partial(ours, cfg, batches, count) for count in threads}
    figures = interleaved(alternatives, ROUNDS)

    report = Report("textbook")
    report.section("MLP, batch 16, SGD, one process")
    for (name, count), values in figures.items():
        report.figure(f"{name}, {plural(count, 'thread')}", values, "batches/s")
    best = {name: max((figures[name, count] for count in threads), key=median) for name in ("textbook", "ours")}
    for count in threads:
        each = ratios(figures["ours", count], figures["textbook", count])
        report.figure(f"ours / textbook, {plural(count, 'thread')}", each, "times")
    report.figure("best of ours / best of textbook", ratios(best["ours"], best["textbook"]), "times")
    report.write()


def textbook_loader(data_dir: Path, batch: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Build the loader of the tutorials."""
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    return DataLoader(datasets.MNIST(str(data_dir), train=True, transform=steps), batch_size=batch, shuffle=True)


def textbook(cfg: TrainConfig, loader: DataLoader[tuple[torch.Tensor, torch.Tensor]], threads: int) -> float:
    """Train as the tutorials do. Returns batches per second."""
    torch.set_num_threads(threads)
    net = networks.mlp(10)
    optimizer = torch.optim.SGD(net.parameters(), lr=task.of(cfg).lr(cfg, net))
    begin = time.perf_counter()
    for images, labels in islice(loader, TEXTBOOK_STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
    return TEXTBOOK_STEPS / (time.perf_counter() - begin)


def ours(cfg: TrainConfig, batches: Batches, threads: int) -> float:
    """Train as our scripts do. Returns batches per second."""
    torch.set_num_threads(threads)
    state, watch = TrainState.of(task.of(cfg).step(cfg), cfg, batches.steps), Stopwatch()
    with Bar(1, shown=True) as bar, watch:
        engine.train_epoch(state, batches, cfg, bar)
    return batches.steps / watch.last_s


if __name__ == "__main__":
    main()
