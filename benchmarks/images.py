"""Reading pictures while training: `imagefolder` against torchvision's ImageFolder behind a DataLoader.

python -m benchmarks.images                  4,000 JPEGs of benchmarks.pictures, made in a temporary folder
python -m benchmarks.images FOLDER [4000]    the pictures in FOLDER; where there are none, so many are made there

Two processes read, and the training process takes batches of 64 and does nothing else. Both sides make the same: bytes
of 64 x 64 pixels, of a random part that may be mirrored, or of the middle. A round is one epoch of each.
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, PILToTensor, RandomHorizontalFlip, RandomResizedCrop, Resize

from benchmarks.rounds import Report, interleaved, ratios
from ddpbench.config import TrainConfig
from ddpbench.tasks import imagefolder, task
from ddpbench.tasks.items import Items, Keyed
from ddpbench.tasks.samples import Samples

ROUNDS, COUNT, PROCESSES, BATCH, SIZE = 7, 4_000, 2, 64, 64
TRANSFORMS = {
    True: [RandomResizedCrop(SIZE), RandomHorizontalFlip(), PILToTensor()],
    False: [Resize(SIZE), CenterCrop(SIZE), PILToTensor()],
}


def main() -> None:
    """Measure with augmentation and without, then from memory."""
    torch.set_num_threads(1)  # the processes that read have one each as well
    words = sys.argv[1:]
    count = int(words[1]) if len(words) > 1 else COUNT
    with TemporaryDirectory() as temporary:
        folder = Path(words[0] if words else f"{temporary}/pictures")
        if not (folder / "train").is_dir():
            subprocess.run([sys.executable, "-m", "benchmarks.pictures", str(folder), str(count)], check=True)
        report = Report("images")
        for augment in (True, False):
            from_files(report, folder, augment=augment)
        from_memory(report, folder)
    if count == COUNT:
        report.write()


def from_files(report: Report, folder: Path, *, augment: bool) -> None:
    """Read every epoch from files, by both."""
    train, _ = imagefolder.data(str(folder), SIZE, augment)
    loader = DataLoader(
        ImageFolder(f"{folder}/train", Compose(TRANSFORMS[augment])),
        batch_size=BATCH,
        shuffle=True,
        num_workers=PROCESSES,
        persistent_workers=True,  # so that starting them is not counted
    )
    alternatives = {
        "ours": partial(per_second, epochs_of(Items(Keyed(train, default_collate, str)))),
        "torchvision": partial(per_second, lambda: loader),
    }
    figures = interleaved(alternatives, ROUNDS)
    how = "augmented" if augment else "not augmented"
    report.section(f"{len(train):,} JPEGs of {kilobytes(train):.0f} kB, {how}, {PROCESSES} processes read")
    for name, values in figures.items():
        report.figure(name, values, "images/s")
    report.figure("ours / torchvision", ratios(figures["ours"], figures["torchvision"]), "times")


def from_memory(report: Report, folder: Path) -> None:
    """Read all of them once, as a run does before its first step where nothing is drawn at random; then epochs."""
    cfg = TrainConfig(task=f"imagefolder:{folder}", set=(f"size={SIZE}",), global_batch=BATCH, device="cpu")
    begin = time.perf_counter()
    train = task.of(cfg).data(cfg).train
    took_s = time.perf_counter() - begin
    epochs = epochs_of(train)
    report.section(f"the same {len(train):,}, not augmented, from memory")
    report.figure("reading all once, and the test set", [took_s], "s")
    report.figure("ours", [per_second(epochs) for _ in range(ROUNDS)], "images/s")


def epochs_of(train: Items | Samples) -> Callable[[], Iterable[Any]]:
    """Return what begins the next epoch, in an order of its own, and yields its batches."""
    reading, numbers = train.opened(PROCESSES, 0), itertools.count(1)
    return lambda: reading.read(torch.randperm(len(train)).split(BATCH), next(numbers))


def per_second(epoch: Callable[[], Iterable[Any]]) -> float:
    """Take the batches of an epoch. Returns images per second."""
    begin = time.perf_counter()
    count = sum(len(labels) for _, labels in epoch())
    return count / (time.perf_counter() - begin)


def kilobytes(pictures: ImageFolder) -> float:
    """Return how large a file is, on average."""
    return sum(Path(path).stat().st_size for path, _ in pictures.samples) / len(pictures) / 1e3


if __name__ == "__main__":
    main()
