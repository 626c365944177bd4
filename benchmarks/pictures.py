"""Pictures to read and to learn from: JPEGs as large as small photographs, in folders for the task `imagefolder`.

python -m benchmarks.pictures FOLDER 4000    4,000 pictures to train on, and a fifth as many to test with

A class is a shape: six of it, of any size and direction, lie on smooth noise. Half of them have the colour of their
class. Fine noise lies over all of it, so that a file has the 20 to 60 kB of a photograph. Picture 7 is the same however
many are made.
"""

import argparse
import colorsys
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from ddpbench import errors
from ddpbench.errors import UserError
from ddpbench.files import require_writable

SHORT, LONG = (250, 375), 500  # pixels: the bounds of the shorter side, and of the longer one
SHAPES_OF_A_PICTURE, QUALITY = 6, 85
MIDDLE, NOISE = 0.4, 0.2  # of the picture: how much is plain grey, and how much is fine noise
Corners = Sequence[tuple[float, float]]  # of a shape: the distance from its middle and the direction, in degrees


def even(count: int, *distances: float) -> Corners:
    """Return corners in directions that are evenly spaced; their distances repeat."""
    return [(distances[index % len(distances)], 360 * index / count) for index in range(count)]


CLASSES: dict[str, Corners] = {
    "bar": [(1, -12), (1, 12), (1, 168), (1, 192)],
    "cross": [corner for turn in (0, 90, 180, 270) for corner in ((1, turn - 18), (1, turn + 18), (0.45, turn + 45))],
    "disc": even(24, 1),
    "square": even(4, 1),
    "star": even(10, 1, 0.4),
    "triangle": even(3, 1),
}


def make(folder: Path, count: int) -> None:
    """Write `count` pictures to train on and a fifth as many to test with. Raises UserError where some are there."""
    require_writable(folder)
    jobs = []
    for part, number in (("train", count), ("val", max(len(CLASSES), count // 5))):
        if (folder / part).exists():
            raise UserError(f"{folder / part} is there already; name a new folder")
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
        jobs += [(part, each) for each in range(number)]
    with ProcessPoolExecutor() as processes:
        for _ in processes.map(partial(_write, folder), jobs, chunksize=50):
            pass


def picture(part: str, number: int) -> tuple[Image.Image, str]:
    """Return a picture, which its part (train or val) and its number decide alone, and its class."""
    random, name = Random(f"{part} {number}"), [*CLASSES][number % len(CLASSES)]
    short = random.randint(*SHORT)
    size = (random.randint(short, min(LONG, short * 4 // 3)), short)
    if random.random() < 0.5:
        size = size[::-1]
    image = Image.blend(_noise(random, (5, 5), size), _noise(random, (24, 24), size), 0.3)
    image = Image.blend(image, Image.new("RGB", size, (128, 128, 128)), MIDDLE)
    draw = ImageDraw.Draw(image)
    for _ in range(SHAPES_OF_A_PICTURE):
        radius, turn = short * random.uniform(0.08, 0.18), random.uniform(0, 360)
        x, y = (random.uniform(0.1, 0.9) * side for side in size)
        hue = random.choice((number % len(CLASSES) / len(CLASSES), random.random()))
        colour = tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.8, random.uniform(0.6, 1)))
        corners = [_place(x, y, radius * distance, turn + angle) for distance, angle in CLASSES[name]]
        draw.polygon(corners, fill=colour)
    return Image.blend(image, _noise(random, (size[0] // 2, size[1] // 2), size), NOISE), name


def _write(folder: Path, job: tuple[str, int]) -> None:
    part, number = job
    image, name = picture(part, number)
    image.save(folder / part / name / f"{number:05}.jpg", quality=QUALITY)


def _noise(random: Random, cells: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Return random colours, smooth between the middles of cells."""
    pixels = random.randbytes(3 * cells[0] * cells[1])
    return Image.frombytes("RGB", cells, pixels).resize(size, Image.Resampling.BICUBIC)


def _place(x: float, y: float, distance: float, angle: float) -> tuple[float, float]:
    return x + distance * math.cos(math.radians(angle)), y + distance * math.sin(math.radians(angle))


def main() -> None:
    """Make the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=4_000, help="pictures to train on (4000)")
    words = parser.parse_args()
    if words.count < len(CLASSES):
        parser.error(f"count must be at least {len(CLASSES)}, one for each class; got {words.count}")
    make(words.folder, words.count)
    files = [path.stat().st_size for path in words.folder.glob("*/*/*.jpg")]
    kilobytes = sum(files) / len(files) / 1e3
    print(f"{words.folder}: {len(files):,} pictures of {len(CLASSES)} classes, {kilobytes:.0f} kB each")


if __name__ == "__main__":
    errors.run(main, name="benchmarks.pictures")
