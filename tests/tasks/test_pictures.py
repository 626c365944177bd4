"""Pictures that are decoded and augmented while training: what is drawn, how they are read, and which are refused."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.pictures import CLASSES, LONG, QUALITY, SHORT, picture
from ddpbench.config import TrainConfig
from ddpbench.errors import DataError, UserError
from ddpbench.tasks import task
from ddpbench.tasks.cifar10 import Augmented
from ddpbench.tasks.imagefolder import Reader, middle, resized
from ddpbench.tasks.items import Items
from ddpbench.tasks.samples import Samples

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 32
TRAINING = 12  # pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a few JPEGs to train on and to test with."""
    place = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", TRAINING), ("val", 6)):
        for number in range(count):
            image, name = picture(part, number)
            (place / part / name).mkdir(parents=True, exist_ok=True)
            image.save(place / part / name / f"{number}.jpg", quality=QUALITY)
    return place


def config(name: str, folder: Path, *words: str) -> TrainConfig:
    if name == "imagefolder":
        return TrainConfig(task=f"imagefolder:{folder}", set=(f"size={SIZE}", *words), global_batch=4, device="cpu")
    return TrainConfig(task=name, dataset="synthetic", set=("samples=20", *words), global_batch=4, device="cpu")


def drawn(cfg: TrainConfig, indices: Sequence[int], epoch: int = 1, seed: int = 0, processes: int = 0) -> Tensor:
    """Return the pictures of a batch as training gets them."""
    train = task.of(cfg).data(cfg).train
    ((images, _),) = train.opened(processes, seed).read([torch.tensor(indices)], epoch)
    assert isinstance(images, Tensor)
    return images


both_tasks = pytest.mark.parametrize("name", ["imagefolder", "cifar10"])


@both_tasks
def test_an_augmented_picture_is_decided_by_seed_epoch_and_number(name: str, folder: Path) -> None:
    cfg = config(name, folder, "augment=True")
    first = drawn(cfg, [3, 5, 7, 8])

    assert (first.dtype, first.shape) == (torch.uint8, (4, 3, SIZE, SIZE))
    assert torch.equal(first[1:3], drawn(cfg, [5, 7]))
    for other in (drawn(cfg, [3, 5, 7, 8], epoch=2), drawn(cfg, [3, 5, 7, 8], seed=1)):
        assert not torch.equal(first, other)


@both_tasks
@pytest.mark.slow
def test_processes_read_the_pixels_that_a_run_without_them_reads(name: str, folder: Path) -> None:
    cfg = config(name, folder, "augment=True")

    assert torch.equal(drawn(cfg, [1, 9, 2], epoch=3), drawn(cfg, [1, 9, 2], epoch=3, processes=2))


@both_tasks
def test_training_pictures_alone_are_augmented(name: str, folder: Path) -> None:
    cfg, plain = config(name, folder, "augment=True"), config(name, folder)
    data, without = task.of(cfg).data(cfg), task.of(plain).data(plain)

    assert isinstance(data.train, Items)
    assert all(isinstance(each, Samples) for each in (data.test, without.train, without.test))
    assert all(map(torch.equal, data.test.tensors, without.test.tensors))  # type: ignore[union-attr]


@both_tasks
def test_augment_is_true_or_false(name: str, folder: Path) -> None:
    with pytest.raises(UserError, match="--set augment must be one of False, True; got 'yes'"):
        task.of(config(name, folder, "augment=yes"))


def test_an_augmented_image_of_cifar10_is_moved_by_up_to_four_pixels_and_mirrored() -> None:
    image = torch.arange(3 * 32 * 32).remainder(251).add(1).to(torch.uint8).reshape(1, 3, 32, 32)
    framed = F.pad(image[0], (4, 4, 4, 4))
    moved = {(y, x): framed[:, y : y + 32, x : x + 32] for y in range(9) for x in range(9)}
    images, seen = Augmented(image, torch.tensor([7])), set[tuple[int, int, bool]]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(300):
            found, label = images[0]
            assert label == 7
            seen |= {
                (y, x, mirrored)
                for (y, x), each in moved.items()
                for mirrored in (False, True)
                if torch.equal(found, each.flip(2) if mirrored else each)
            }

    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == {*range(9)}
    assert {mirrored for _, _, mirrored in seen} == {False, True}
    assert 100 < len(seen) <= 162


def in_full(path: Path) -> Tensor:
    """Return the middle of a picture that is decoded and filtered at its full size."""
    with Image.open(path) as image:
        left, top, side, _ = middle(image)
        box = (left, top, left + side, top + side)
        return pil_to_tensor(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box))


def by_torchvision(path: Path) -> Tensor:
    """Return a random part, which torchvision chooses, mirrors and makes small."""
    with Image.open(path) as image:
        return pil_to_tensor(Compose([RandomResizedCrop(SIZE), RandomHorizontalFlip()])(image.convert("RGB")))


@pytest.mark.parametrize(("is_random", "reference"), [(False, in_full), (True, by_torchvision)])
def test_pictures_look_as_if_they_were_decoded_in_full(
    folder: Path, is_random: bool, reference: Callable[[Path], Tensor]
) -> None:
    differences = []
    for seed, path in enumerate(sorted(folder.glob("train/*/*.jpg")) * 3):
        found = []
        for read in (Reader(SIZE, is_random), reference):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                found.append(read(path).float())
        differences.append((found[0] - found[1]).abs().mean().item())

    assert max(differences) < 2  # of 255; a part that lies elsewhere differs by more than 20


def test_a_png_is_read_as_a_jpeg_is(folder: Path, tmp_path: Path) -> None:
    picture("train", 0)[0].save(path := tmp_path / "picture.png")
    read = Reader(SIZE, is_random=False)

    assert (read(str(path)).float() - in_full(path).float()).abs().mean() < 2


@pytest.mark.parametrize(
    ("size", "side", "decoded"),
    [
        (64, 375, (250, 188)),  # 64 pixels are made of 188, and not of 375
        (32, 375, (125, 94)),
        (16, 375, (63, 47)),
        (95, 375, (500, 375)),  # half of 375 would be less than twice 95
        (64, 255, (500, 375)),  # a small part of the picture needs all of its pixels
        (64, 256, (250, 188)),
    ],
)
def test_a_jpeg_is_decoded_as_small_as_twice_the_pixels_allow(size: int, side: int, decoded: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (500, 375), (200, 100, 50)).save(file, "jpeg")
    image = Image.open(file)
    made = resized(image, (0, 0, side, side), size)

    assert image.size == decoded
    assert made.size == (size, size)
    assert all(abs(a - b) < 4 for a, b in zip(made.getpixel((3, 3)), (200, 100, 50), strict=True))


@pytest.mark.parametrize(("mode", "ending"), [("L", "jpg"), ("CMYK", "jpg"), ("1", "png"), ("L", "png"), ("LA", "png")])
def test_pictures_of_any_mode_are_read_in_colour(tmp_path: Path, mode: str, ending: str) -> None:
    path = tmp_path / f"picture.{ending}"
    Image.new("L", (300, 200), 255).convert(mode).save(path)
    pixels = Reader(SIZE, is_random=False)(str(path))

    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, SIZE, SIZE))
    assert pixels.float().mean().item() == pytest.approx(255, abs=3)


@pytest.mark.parametrize("transparency", [None, 0, bytes([0, 128])])
def test_a_palette_keeps_its_colours(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([0, 0, 0, 250, 120, 10])
    image.save(tmp_path / "picture.png", **({} if transparency is None else {"transparency": transparency}))
    pixels = Reader(SIZE, is_random=False)(str(tmp_path / "picture.png"))

    assert pixels[:, 5, 5].tolist() == [250, 120, 10]


def test_a_picture_of_16_bits_keeps_its_shades(tmp_path: Path) -> None:
    Image.new("I;16", (64, 64), 100 * 257).save(tmp_path / "picture.png")
    pixels = Reader(SIZE, is_random=False)(str(tmp_path / "picture.png"))

    assert pixels.float().mean().item() == pytest.approx(100, abs=1)


def test_a_small_picture_is_made_larger() -> None:
    image = Image.new("RGB", (3, 5), (9, 8, 7))

    assert resized(image, middle(image), SIZE).getpixel((9, 9)) == (9, 8, 7)


def broken(path: Path) -> dict[str, bytes]:
    """Return contents of files that are no whole picture, made from one that is."""
    whole = path.read_bytes()
    return {"truncated": whole[: len(whole) // 2], "text": b"this is no picture", "empty": b""}


@pytest.mark.parametrize("kind", ["truncated", "text", "empty"])
@pytest.mark.parametrize("augment", ["False", "True"])
def test_a_broken_picture_is_named_in_one_line(tmp_path: Path, folder: Path, kind: str, augment: str) -> None:
    for part, count in (("train", 8), ("val", 1)):
        (tmp_path / part / "disc").mkdir(parents=True)
        for number in range(count):
            picture(part, number)[0].save(tmp_path / part / "disc" / f"{number}.jpg")
    bad = tmp_path / "train" / "disc" / "4.jpg"  # one that is not looked at before training begins
    bad.write_bytes(broken(bad)[kind])
    with pytest.raises((UserError, DataError)) as problem:
        drawn(config("imagefolder", tmp_path, f"augment={augment}"), [3, 4])

    text = str(problem.value)
    assert len(text.splitlines()) == 1
    why = r"cannot be read as a picture \(" if kind == "truncated" else "is no picture that Pillow knows;"
    assert re.search(rf"sample 4: {bad} {why}", text)
    assert "mend or remove it" in text


def test_a_picture_of_the_benchmark_is_decided_by_its_number() -> None:
    for number in range(4):
        (one, name), (two, same) = picture("train", number), picture("train", number)
        assert (one.tobytes(), name) == (two.tobytes(), same)
        assert name == [*CLASSES][number]
        assert SHORT[0] <= min(one.size) <= SHORT[1]
        assert max(one.size) <= LONG
    assert picture("train", 0)[0].tobytes() != picture("val", 0)[0].tobytes()


def test_the_files_of_the_benchmark_are_as_large_as_small_photographs(folder: Path) -> None:
    sizes = [path.stat().st_size for path in folder.glob("*/*/*.jpg")]

    assert min(sizes) > 15_000
    assert max(sizes) < 70_000
