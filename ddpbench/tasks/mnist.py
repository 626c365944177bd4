"""MNIST and data sets of its shape: what is trained, on what, and how fast it may learn.

A task answers `build` (the network), `load` (the data) and `peak_lr` (the learning rate).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.tasks import fetch
from ddpbench.tasks.networks import NETWORKS

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
# Mean and standard deviation of the training pixels in 0..1.
PIXELS = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3530), "synthetic": (0.5, 0.257)}
# Peak learning rates that train well at the default batch sizes.
RATES = {
    ("cnn", "adamw"): 0.01,
    ("cnn", "sgd"): 0.2,
    ("cnn-small", "adamw"): 0.03,
    ("cnn-small", "sgd"): 0.2,
    ("mlp", "adamw"): 0.002,
    ("mlp", "sgd"): 0.1,
}
SYNTHETIC_TRAIN, SYNTHETIC_TEST = 6_000, 1_000


@dataclass(frozen=True, slots=True)
class Split:
    """Images [N, 1, 28, 28], normalised, and labels [N]."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Split":
        """Return it in the memory of a device. Nothing is copied where it is there already."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, slots=True)
class DataSet:
    """A training and a test split, and what its labels mean."""

    train: Split
    test: Split
    classes: tuple[str, ...]

    def to(self, device: torch.device) -> "DataSet":
        """Return both splits in the memory of a device. Nothing is copied where they are there already."""
        return DataSet(self.train.to(device), self.test.to(device), self.classes)


def peak_lr(cfg: TrainConfig) -> float:
    """Return the learning rate that was asked for, or the one known to train well."""
    return RATES[cfg.model, cfg.optimizer] if cfg.lr is None else cfg.lr


def dtype(cfg: TrainConfig) -> torch.dtype:
    """Return the type of weights and images. bf16 keeps both in fp32 and rounds inside autocast."""
    return torch.float64 if cfg.precision == "fp64" else torch.float32


def build(cfg: TrainConfig, classes: int = 10) -> nn.Module:
    """Build the network on the CPU. The seed alone decides its weights, so every rank starts with equal ones."""
    torch.manual_seed(cfg.seed)
    # An image of one channel has the same bytes in either layout, so only the weights need one.
    layout = torch.channels_last if cfg.channels_last else torch.contiguous_format
    return NETWORKS[cfg.model](classes).to(dtype(cfg)).to(memory_format=layout)


def load(cfg: TrainConfig) -> DataSet:
    """Load a data set into CPU memory, fetching it first where it is missing.

    Call it before any process group exists: fetching may take longer than a collective waits.
    Raises UserError when the files are not the ones expected, or when there is less data than one step needs.
    """
    if cfg.dataset == "synthetic":
        raw, classes = _synthetic(), DIGITS
    else:
        raw = _read(fetch.ensure(cfg.dataset, cfg.data_dir))
        classes = CLOTHES if cfg.dataset == "fashion-mnist" else DIGITS
    mean, deviation = PIXELS[cfg.dataset]
    # Once, here, and not per batch: a batch is then a single gather (measured 5 % faster at batch 16).
    train, test = (
        Split(images.to(dtype(cfg)).div_(255).sub_(mean).div_(deviation).unsqueeze(1), labels.long())
        for images, labels in raw
    )
    if len(train.labels) < cfg.global_batch:
        found = f"{cfg.dataset} has {len(train.labels):,} training samples"
        raise UserError(f"--global-batch {cfg.global_batch} is more than one epoch: {found}; use a smaller one")
    return DataSet(train, test, classes)


def _read(files: dict[str, bytes]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Read IDX files that `fetch` has verified: a header of 4 bytes a dimension and 4 more, then raw bytes."""

    def idx(name: str, *shape: int) -> Tensor:
        return torch.frombuffer(bytearray(files[name]), dtype=torch.uint8, offset=4 + 4 * len(shape)).view(shape)

    return (
        (idx("train-images-idx3-ubyte", -1, 28, 28), idx("train-labels-idx1-ubyte", -1)),
        (idx("t10k-images-idx3-ubyte", -1, 28, 28), idx("t10k-labels-idx1-ubyte", -1)),
    )


def _synthetic() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Make ten smooth patterns in heavy noise: the same bytes everywhere, learnable, but not at once."""
    random = torch.Generator().manual_seed(0)
    patterns = interpolate(torch.rand(10, 1, 7, 7, generator=random), size=28, mode="nearest").squeeze(1)

    def split(size: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(10, (size,), generator=random)
        noise = torch.rand(size, 28, 28, generator=random)
        return ((0.12 * patterns[labels] + 0.88 * noise) * 255).to(torch.uint8), labels

    return split(SYNTHETIC_TRAIN), split(SYNTHETIC_TEST)
