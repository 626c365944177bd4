"""Pictures of yours, a folder for each class: `--task imagefolder:PATH` reads PATH/train, and PATH/val or PATH/test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import pil_to_tensor

from ddpbench.errors import UserError
from ddpbench.tasks.cifar10 import Pixels, classifier

batch, epochs = 64, 5
test_batch = 128
margin = 1.0  # the smallest difference in accuracy that matters, in points of percent
choices = {"augment": ("False", "True")}

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random part: those of torchvision's RandomResizedCrop
GAP = 2  # pixels that a picture keeps, in each direction, for each pixel that is made of them
Images = tuple[Tensor, Tensor]  # bytes [N, 3, size, size] and labels [N]
Part = tuple[float, float, float, float]  # of a picture, in its pixels: left, top, width, height


def model(path: str = "", model: str = "resnet18") -> nn.Module:
    """Return a network of torchvision with as many classes as there are folders."""
    return nn.Sequential(Pixels(), classifier(model, classes=len(parts(path))))


def data(path: str = "", size: int = 64, augment: bool = False) -> tuple[Any, Any]:
    """Return the pictures to train on, and those to test with: the middle of each, `size` pixels wide and high.

    With `augment`, a training picture is another random part of its file each time, and every second one is mirrored.
    """
    if not (isinstance(size, int) and size > 0):
        raise UserError(f"--set size={size}: it must be a whole number of pixels, such as 64")
    folders = _folder(path, "train"), _folder(path, "val", "test")
    train, test = (
        ImageFolder(str(folder), loader=Reader(size, is_random))
        for folder, is_random in zip(folders, (augment, False), strict=True)
    )
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


@dataclass(frozen=True)
class Reader:
    """Reads a part of a picture: its middle, or a random part that may be mirrored."""

    size: int  # pixels that the part is made to have, in width and in height
    is_random: bool

    def __call__(self, path: str) -> Tensor:
        """Return bytes [3, size, size]. Raises UserError where the file is damaged, or no picture."""
        try:
            with Image.open(path) as picture:
                part = random_part(picture) if self.is_random else middle(picture)
                pixels: Tensor = pil_to_tensor(resized(picture, part, self.size))
        except UnidentifiedImageError as problem:
            raise UserError(f"{path} is no picture that Pillow knows; mend or remove it") from problem
        except Exception as problem:  # a decoder raises errors of many classes where a file is damaged
            why = getattr(problem, "strerror", None) or problem
            raise UserError(f"{path} cannot be read as a picture ({why}); mend or remove it") from problem
        is_mirrored = self.is_random and torch.rand(1).item() < 0.5
        return pixels.flip(2) if is_mirrored else pixels


def middle(picture: Image.Image) -> Part:
    """Return the largest square in the middle."""
    side = min(picture.size)
    return (picture.width - side) / 2, (picture.height - side) / 2, side, side


def random_part(picture: Image.Image) -> Part:
    """Return the part that torchvision's RandomResizedCrop would choose. Nothing is decoded for it."""
    top, left, height, width = RandomResizedCrop.get_params(picture, AREA, ASPECT)
    return left, top, width, height


def resized(picture: Image.Image, part: Part, size: int) -> Image.Image:
    """Return a part of a picture in colour, `size` pixels wide and high.

    The decoder of JPEG can make 1/2, 1/4 or 1/8 of the pixels in each direction, in less time. That is safe while the
    part keeps twice the pixels that it shall have: the filter below then still has some to choose from, and Pillow's
    thumbnails do the same. The part is chosen before anything is decoded. So a large part is decoded small, and a part
    that needs all of its pixels, such as 8 % of a small picture, is decoded in full.
    """
    left, top, width, height = part
    scale = next((each for each in (8, 4, 2) if min(width, height) >= GAP * each * size), 1)
    if picture.draft("RGB", (picture.width // scale, picture.height // scale)) is None:
        scale = 1  # it is no JPEG
    box = left / scale, top / scale, (left + width) / scale, (top + height) / scale
    return in_colour(picture).resize((size, size), Image.Resampling.BILINEAR, box, reducing_gap=GAP)


def in_colour(picture: Image.Image) -> Image.Image:
    """Return a picture as RGB, whatever it is: grey of 8 or 16 bits, CMYK or a palette. Transparency is left out."""
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith("I;16"):
        picture = picture.point(lambda value: value / 256).convert("L")  # Pillow makes 255 of every value above that
    elif isinstance(picture.info.get("transparency"), bytes):
        picture = picture.convert("RGBA")  # Pillow warns of the direct way
    return picture.convert("RGB")


def _folder(path: str, *names: str) -> Path:
    """Return the first folder of these names that is there."""
    if path == "":
        raise UserError("--task imagefolder: it needs a folder of pictures, as in --task imagefolder:PATH")
    places = [Path(str(path)) / name for name in names]
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f"--task imagefolder: there is no folder {' or '.join(map(str, places))}")
