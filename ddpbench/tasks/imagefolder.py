"""Pictures of yours, a folder for each class: `--task imagefolder:PATH` reads PATH/train, and PATH/val or PATH/test."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from ddpbench.errors import UserError
from ddpbench.tasks.cifar10 import Pixels, classifier

batch, epochs = 64, 5
test_batch = 128
margin = 1.0  # the smallest difference in accuracy that matters, in points of percent
Images = tuple[Tensor, Tensor]  # bytes [N, 3, size, size] and labels [N]


def model(path: str = "", model: str = "resnet18") -> nn.Module:
    """Return a network of torchvision with as many classes as there are folders."""
    return nn.Sequential(Pixels(), classifier(model, classes=len(parts(path))))


def data(path: str = "", size: int = 64) -> tuple[Any, Any]:
    """Return the pictures to train on, and those to test with: the middle of each, `size` pixels wide and high."""
    as_tensor = Compose([Resize(size), CenterCrop(size), PILToTensor()])
    folders = _folder(path, "train"), _folder(path, "val", "test")
    train, test = (ImageFolder(str(folder), as_tensor) for folder in folders)
    if train.classes != test.classes:
        differ = ", ".join(sorted({*train.classes} ^ {*test.classes})[:5])
        raise UserError(f"{train.root} and {test.root} must hold the same folders; only one of them has {differ}")
    return train, test


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


def parts(path: str = "") -> list[str]:
    """Return what the classes are called: their folders' names."""
    folder = _folder(path, "train")
    if not any(each.is_dir() for each in folder.iterdir()):
        raise UserError(f"{folder} holds no folders; put the pictures of each class into a folder of its own")
    return list(find_classes(str(folder))[0])


def _folder(path: str, *names: str) -> Path:
    """Return the first folder of these names that is there."""
    if path == "":
        raise UserError("--task imagefolder: it needs a folder of pictures, as in --task imagefolder:PATH")
    places = [Path(str(path)) / name for name in names]
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f"--task imagefolder: there is no folder {' or '.join(map(str, places))}")
