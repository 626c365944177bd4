"""MNIST, and data sets of its shape. A task of your own has the same functions: see docs/own-task.md."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from ddpbench.tasks import fetch
from ddpbench.tasks.networks import NETWORKS

batch, epochs = 256, 3  # samples of a step over all workers; passes over the training set
margin = 0.3  # the smallest difference in accuracy that matters, in points of percent
test_batch = 1_000
choices = {"model": ("cnn", "cnn-small", "mlp"), "dataset": ("mnist", "fashion-mnist", "synthetic")}

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
Images = tuple[Tensor, Tensor]  # [N, 28, 28] of bytes, or [N, 1, 28, 28] normalised; and labels [N]


def model(model: str = "cnn") -> nn.Module:
    """Return the network. It is called after seeding, so every worker starts with equal weights."""
    return NETWORKS[model](10)


def data(dataset: str = "mnist", data_dir: str = "data") -> tuple[Images, Images]:
    """Return images and labels to train on, and those to test with."""
    raw = _synthetic() if dataset == "synthetic" else _read(fetch.ensure(dataset, Path(data_dir)))
    mean, deviation = PIXELS[dataset]
    # Once, here, and not per batch: a batch is then a single gather (measured 5 % faster at batch 16).
    train, test = (
        (images.float().div_(255).sub_(mean).div_(deviation).unsqueeze(1), labels.long()) for images, labels in raw
    )
    return train, test


def loss(net: nn.Module, batch: Images, label_smoothing: float = 0.0) -> tuple[Tensor, int]:
    """Return the sum of the losses of a batch, and how many were summed."""
    images, labels = batch
    return F.cross_entropy(net(images), labels, reduction="sum", label_smoothing=label_smoothing), len(labels)


def metric(net: nn.Module, batch: Images) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the right answers and the samples of a batch, class by class."""
    images, labels = batch
    hits = net(images).argmax(1) == labels
    return {"accuracy": (labels[hits].bincount(minlength=10), labels.bincount(minlength=10))}


def parts(dataset: str = "mnist") -> tuple[str, ...]:
    """Return what the classes are called."""
    return CLOTHES if dataset == "fashion-mnist" else DIGITS


def lr(model: str = "cnn", optimizer: str = "adamw") -> float:
    """Return the peak learning rate that is known to train well."""
    return RATES[model, optimizer]


def _read(files: dict[str, bytes]) -> tuple[Images, Images]:
    """Read IDX files that `fetch` has verified: a header of 4 bytes a dimension and 4 more, then raw bytes."""

    def idx(name: str, *shape: int) -> Tensor:
        return torch.frombuffer(bytearray(files[name]), dtype=torch.uint8, offset=4 + 4 * len(shape)).view(shape)

    return (
        (idx("train-images-idx3-ubyte", -1, 28, 28), idx("train-labels-idx1-ubyte", -1)),
        (idx("t10k-images-idx3-ubyte", -1, 28, 28), idx("t10k-labels-idx1-ubyte", -1)),
    )


def _synthetic() -> tuple[Images, Images]:
    """Make ten smooth patterns in heavy noise: the same bytes everywhere, learnable, but not at once."""
    random = torch.Generator().manual_seed(0)
    patterns = F.interpolate(torch.rand(10, 1, 7, 7, generator=random), size=28, mode="nearest").squeeze(1)

    def split(size: int) -> Images:
        labels = torch.randint(10, (size,), generator=random)
        noise = torch.rand(size, 28, 28, generator=random)
        return ((0.12 * patterns[labels] + 0.88 * noise) * 255).to(torch.uint8), labels

    return split(SYNTHETIC_TRAIN), split(SYNTHETIC_TEST)
