"""The batches of one rank. Step k uses the same samples at every world size."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from ddpbench.config import TrainConfig, rank_batch
from ddpbench.tasks.mnist import DataSet
from ddpbench.train.world import World

# DistributedSampler orders by seed + epoch: with neighbouring seeds, epoch 2 of seed 0 would be epoch 1 of seed 1.
EPOCHS_APART = 1_000_000


class Batches:
    """The data of one rank, in the memory of its device, cut into batches.

    DistributedSampler strides one permutation, so the k-th batches of all ranks together are the k-th global batch of
    a single process. The last, partial global batch of an epoch is dropped at every world size.
    """

    def __init__(self, data: DataSet, cfg: TrainConfig, here: World) -> None:
        self.classes = data.classes
        data = data.to(here.device)
        self.train_images, self.train_labels = data.train.images, data.train.labels
        self.test_images, self.test_labels = data.test.images, data.test.labels
        self.steps = len(data.train.labels) // cfg.global_batch
        self.samples = self.steps * cfg.global_batch
        self.rank_batch = rank_batch(cfg.global_batch, here.size)
        self._here = here
        self._sampler: DistributedSampler[int] = DistributedSampler(
            range(len(data.train.labels)),  # type: ignore[arg-type]  # it only asks for the length
            num_replicas=here.size,
            rank=here.rank,
            seed=cfg.seed * EPOCHS_APART,
            drop_last=True,
        )
        here.process.startup.reached("data")

    def epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images [rank batch, 1, 28, 28] and labels [rank batch] of each step after `done`."""
        self._sampler.set_epoch(epoch)
        order = torch.tensor(list(self._sampler), device=self._here.device)
        share = self.samples // (self.steps * self._here.size)
        for mine in order[: self.steps * share].split(share)[done:]:
            yield self.train_images.index_select(0, mine), self.train_labels.index_select(0, mine)

    def test(self, batch: int = 1_000) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels of this rank's share of the test set. Every sample belongs to one rank."""
        mine = slice(self._here.rank, None, self._here.size)
        yield from zip(self.test_images[mine].split(batch), self.test_labels[mine].split(batch), strict=True)
