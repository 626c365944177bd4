"""CIFAR-10, or pictures of its shape that need no download, with any classification network of torchvision."""

import difflib
import warnings
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torchvision import models
from torchvision.datasets import CIFAR10

from ddpbench.errors import UserError
from ddpbench.files import lock, require_writable

batch, epochs = 128, 5
test_batch = 250
choices = {"dataset": ("cifar10", "synthetic"), "augment": ("False", "True")}
margin = 0.5  # the smallest difference in accuracy that matters, in points of percent

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE, FARTHEST = 32, 4  # pixels: a picture's width and height, and how far an augmented one moves
Images = tuple[Tensor, Tensor]  # bytes [N, 3, height, width] and labels [N]


class Pixels(nn.Module):
    """The first layer: it makes numbers around 0 of bytes. So pictures take a quarter of the memory of floats."""

    middle: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("middle", torch.tensor(128.0), persistent=False)  # it also tells the precision

    def forward(self, images: Tensor) -> Tensor:
        """Return images with a deviation of about 1."""
        return (images.to(self.middle.dtype) - self.middle) / 64


def model(model: str = "resnet18", adapt: bool = True) -> nn.Module:
    """Return the network. A ResNet begins without its two strides of 2, which would leave little of 32 x 32 pixels.

    `--set adapt=False` keeps them: a step then takes a tenth of the time, and accuracy is lower.
    """
    net = classifier(model, classes=len(CLASSES))
    if adapt and isinstance(net, models.ResNet):
        net.conv1, net.maxpool = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False), nn.Identity()
    return nn.Sequential(Pixels(), net)


def classifier(name: str, classes: int) -> nn.Module:
    """Return a network of torchvision with new weights. Raises UserError where it has none of that name."""
    names = models.list_models(models, exclude=["googlenet", "inception*"])  # these two return more than scores
    if name not in names:
        near = ", ".join(difflib.get_close_matches(str(name), names)) or ", ".join(names[:5])
        raise UserError(f"--model {name}: torchvision has no such classification network; it has {near} ...")
    net: nn.Module = models.get_model(name, num_classes=classes)
    return net


def data(
    dataset: str = "cifar10", data_dir: str = "data", samples: int = 0, augment: bool = False
) -> tuple[Any, Images]:
    """Return images and labels to train on, the first `samples` of them unless that is 0, and those to test with.

    With `augment`, a training image is moved and mirrored by chance each time it is read.
    """
    if dataset == "synthetic":
        train, test = _synthetic(samples or 10_000)
    else:
        (images, labels), test = _cifar10(data_dir)
        train = images[: samples or None], labels[: samples or None]
    return Augmented(*train) if augment else train, test


class Augmented:
    """Images that are moved by up to four pixels, with black around them, and mirrored, by torch's generator."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image, as it is drawn now, and its label."""
        top, left, is_mirrored = (int(torch.randint(high, ())) for high in (2 * FARTHEST + 1, 2 * FARTHEST + 1, 2))
        framed = F.pad(self._images[index], (FARTHEST,) * 4)
        image = framed[:, top : top + SIDE, left : left + SIDE]
        return image.flip(2) if is_mirrored else image, self._labels[index]


def loss(net: nn.Module, batch: Images, label_smoothing: float = 0.0) -> tuple[Tensor, int]:
    """Return the sum of the losses of a batch, and how many were summed."""
    images, labels = batch
    return F.cross_entropy(net(images), labels, reduction="sum", label_smoothing=label_smoothing), len(labels)


def metric(net: nn.Module, batch: Images) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the right answers and the samples of a batch, class by class."""
    images, labels = batch
    scores = net(images)
    hits, classes = scores.argmax(1) == labels, scores.shape[1]
    return {"accuracy": (labels[hits].bincount(minlength=classes), labels.bincount(minlength=classes))}


def parts(dataset: str = "cifar10") -> tuple[str, ...]:
    """Return what the classes are called."""
    return CLASSES if dataset == "cifar10" else tuple("0123456789")


def _cifar10(data_dir: str) -> tuple[Images, Images]:
    """Read CIFAR-10, which is downloaded first where it is missing."""
    try:
        return _images(data_dir, train=True), _images(data_dir, train=False)
    except RuntimeError:  # it is missing or damaged
        require_writable(Path(data_dir))
    try:
        with lock(Path(data_dir) / ".lock", wait=True):  # other workers start at the same time
            CIFAR10(data_dir, download=True)
        return _images(data_dir, train=True), _images(data_dir, train=False)
    except (OSError, EOFError, RuntimeError, HTTPException) as problem:
        raise UserError(
            f"CIFAR-10 could not be downloaded ({' '.join(str(problem).split())[:150]}); "
            f"put {CIFAR10.filename} into {data_dir}, or use --dataset synthetic"
        ) from problem


def _images(data_dir: str, *, train: bool) -> Images:
    with warnings.catch_warnings():  # NumPy 2.4 warns of how the files were written
        warnings.simplefilter("ignore")
        read = CIFAR10(data_dir, train=train)
    return torch.from_numpy(read.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(read.targets)


def _synthetic(size: int) -> tuple[Images, Images]:
    """Make ten smooth patterns below smooth noise: the same bytes everywhere, learnable, but not at once."""
    random = torch.Generator().manual_seed(0)

    def smooth(count: int, cells: int) -> Tensor:  # the numbers are multiples of 1/256: sums are exact in any order
        noise = torch.randint(256, (count, 3, cells, cells), generator=random).float()
        return F.interpolate(noise, size=32, mode="bilinear")

    patterns = smooth(10, cells=4)

    def split(count: int) -> Images:
        labels = torch.arange(count) % 10
        return ((patterns[labels] + 3 * smooth(count, cells=8)) / 4).to(torch.uint8), labels

    return split(size), split(max(10, size // 5))
