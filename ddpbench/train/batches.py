"""The batches of one rank. Step k uses the same samples at every world size."""

from collections.abc import Iterator

import torch
from torch.utils.data import DistributedSampler

from ddpbench.config import TrainConfig, rank_batch
from ddpbench.tasks import task
from ddpbench.tasks.samples import Batch
from ddpbench.tasks.task import Data, Task
from ddpbench.train.world import World

# DistributedSampler orders by seed + epoch: with neighbouring seeds, epoch 2 of seed 0 would be epoch 1 of seed 1.
EPOCHS_APART = 1_000_000
TEST_EPOCH = 0  # the test set is the same in every epoch, whatever its items draw


class Batches:
    """The data of one rank, cut into batches in the memory of its device.

    DistributedSampler strides one permutation, so the k-th batches of all ranks together are the k-th global batch of
    a single process. The last, partial global batch of an epoch is dropped at every world size.
    """

    def __init__(self, found: Task, data: Data, cfg: TrainConfig, here: World) -> None:
        self.task, self.device = found, here.device
        self.data = data = data.to(here.device)
        threads = torch.get_num_threads()
        self.reading = data.train.opened(threads * (task.readers(cfg, data.train) or 0), cfg.seed)
        self._reading_test = data.test.opened(threads * (task.readers(cfg, data.test) or 0), cfg.seed)
        self.parts = cfg.accumulate  # of a step: batches whose gradients are added up
        self.steps = len(data.train) // cfg.global_batch
        self.samples = self.steps * cfg.global_batch
        self.rank_batch = rank_batch(cfg.global_batch, here.size)
        self._test_batch = found.test_batch or cfg.global_batch
        self._here = here
        self._sampler: DistributedSampler[int] = DistributedSampler(
            range(len(data.train)),  # type: ignore[arg-type]  # it only asks for the length
            num_replicas=here.size,
            rank=here.rank,
            seed=cfg.seed * EPOCHS_APART,
            drop_last=True,
        )
        here.process.startup.reached("data")

    @classmethod
    def load(cls, cfg: TrainConfig, here: World) -> "Batches":
        """Load the data of the task and return the batches of this rank. Raises what `Task.data` raises."""
        found = task.of(cfg)
        return cls(found, found.data(cfg), cfg, here)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Yield the batches of the steps after `done`: one for each step, or `parts` of them.

        The first dimension of their tensors is this rank's batch / `parts`.
        """
        self._sampler.set_epoch(epoch)
        order = torch.tensor(list(self._sampler), device=self.device)
        share = self.samples // (self.steps * self._here.size)
        return self.reading.read(order[: self.steps * share].split(share // self.parts)[done * self.parts :], epoch)

    def test(self) -> Iterator[Batch]:
        """Yield this rank's share of the test set in batches. Every sample belongs to one rank."""
        mine = torch.arange(len(self.data.test), device=self.device)[self._here.rank :: self._here.size]
        return self._reading_test.read(mine.split(self._test_batch) if len(mine) else (), TEST_EPOCH)
