"""Data sets and batches: in memory, on the device, the same samples in step k at every world size."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DistributedSampler

from ddpbench.config import TrainConfig, rank_batch
from ddpbench.errors import UserError
from ddpbench.tasks import fetch, models
from ddpbench.train import startup
from ddpbench.train.world import World

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
# Mean and standard deviation of the training pixels in 0..1.
PIXELS = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3530), "synthetic": (0.5, 0.257)}
# DistributedSampler orders by seed + epoch: with neighbouring seeds, epoch 2 of seed 0 would be epoch 1 of seed 1.
EPOCHS_APART = 1_000_000
SYNTHETIC_TRAIN, SYNTHETIC_TEST = 6_000, 1_000


@dataclass(frozen=True, slots=True)
class Split:
    """Images [N, 1, 28, 28], normalised, and labels [N]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class DataSet:
    """A training and a test split, and what its labels mean."""

    train: Split
    test: Split
    classes: tuple[str, ...]


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
        Split(images.to(models.dtype(cfg)).div_(255).sub_(mean).div_(deviation).unsqueeze(1), labels.long())
        for images, labels in raw
    )
    if len(train.labels) < cfg.global_batch:
        found = f"{cfg.dataset} has {len(train.labels):,} training samples"
        raise UserError(f"--global-batch {cfg.global_batch} is more than one epoch: {found}; use a smaller one")
    return DataSet(train, test, classes)


class Batches:
    """The batches of one rank, gathered on its device. Step k is one global batch, whatever the world size.

    DistributedSampler strides one permutation, so the union of the ranks' k-th batches is the k-th
    global batch of a single process. The last, partial global batch of an epoch is dropped at every world size.
    """

    def __init__(self, data: DataSet, cfg: TrainConfig, here: World) -> None:
        self.classes = data.classes
        self.train_images = data.train.images.to(here.device)
        self.train_labels = data.train.labels.to(here.device)
        self.test_images = data.test.images.to(here.device)
        self.test_labels = data.test.labels.to(here.device)
        whole_pass = len(data.train.labels) // cfg.global_batch
        self.steps = min(cfg.steps or whole_pass, whole_pass)
        self.samples = self.steps * cfg.global_batch
        self.rank_batch = self._even_share = rank_batch(cfg.global_batch, here.size)
        self._here = here
        self._sampler: DistributedSampler[int] = DistributedSampler(
            range(len(data.train.labels)),  # type: ignore[arg-type]  # it only asks for the length
            num_replicas=here.size,
            rank=here.rank,
            seed=cfg.seed * EPOCHS_APART,
            drop_last=True,
        )
        startup.reached("data")

    def epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images [rank batch, 1, 28, 28] and labels of each step after `done`: a new order every epoch."""
        self._sampler.set_epoch(epoch)
        order = torch.tensor(list(self._sampler), device=self._here.device)
        for mine in order[: self.steps * self._even_share].split(self._even_share)[done:]:
            yield self.train_images.index_select(0, mine), self.train_labels.index_select(0, mine)

    def test(self, batch: int = 1_000) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this rank's share of the test set: a plain stride, so that no sample counts twice."""
        mine = slice(self._here.rank, None, self._here.size)
        yield from zip(self.test_images[mine].split(batch), self.test_labels[mine].split(batch), strict=True)


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
