"""The same samples in step k at every world size, each exactly once, in a new order every epoch."""

import pytest
import torch
from msgspec.structs import replace

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.tasks import task
from ddpbench.tasks.samples import Samples
from ddpbench.tasks.task import Data
from ddpbench.train.batches import Batches
from ddpbench.train.world import World

CPU = torch.device("cpu")
SYNTHETIC = TrainConfig(dataset="synthetic")


def numbered(train: int, test: int) -> Data:
    """Make a data set whose labels are the samples' own numbers."""
    return Data(*(Samples((torch.zeros(size, 1, 28, 28), torch.arange(size))) for size in (train, test)))


def ranks(size: int, *, train: int = 101, test: int = 37, global_batch: int = 12, seed: int = 0) -> list[Batches]:
    cfg = TrainConfig(global_batch=global_batch, seed=seed)
    worlds = [World(rank=rank, size=size, local_size=size, device=CPU, comm="gloo") for rank in range(size)]
    return [Batches(task.of(cfg), numbered(train, test), cfg, world) for world in worlds]


def global_steps(size: int, epoch: int, **changes: int) -> list[list[int]]:
    """Return the sample numbers of each global batch, over all ranks."""
    per_rank = [[labels.tolist() for _, labels in batches.epoch(epoch)] for batches in ranks(size, **changes)]
    return [sorted(number for mine in step for number in mine) for step in zip(*per_rank, strict=True)]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("train", [96, 101, 107])
def test_step_k_sees_the_same_samples_at_every_world_size(size: int, train: int) -> None:
    for epoch in (1, 2):
        assert global_steps(size, epoch, train=train) == global_steps(1, epoch, train=train)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_an_epoch_uses_no_sample_twice_and_drops_only_the_partial_batch(size: int) -> None:
    used = [number for step in global_steps(size, 1) for number in step]

    assert len(used) == len(set(used)) == 96 == ranks(size)[0].samples


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_order_that_ranks_share_is_not_padded(size: int) -> None:
    shared = [number for batches in ranks(size, train=103) for number in batches._sampler]

    assert len(shared) == len(set(shared))


def test_every_epoch_and_every_seed_has_an_order_of_its_own() -> None:
    orders = [global_steps(2, epoch, seed=seed) for epoch in (1, 2) for seed in (0, 1)]

    assert all(one != other for index, one in enumerate(orders) for other in orders[:index])


def test_an_epoch_asked_for_again_has_the_same_order() -> None:
    batches = ranks(1)[0]

    first = [labels.tolist() for _, labels in batches.epoch(5)]
    list(batches.epoch(6))
    assert [labels.tolist() for _, labels in batches.epoch(5)] == first


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("test", [1, 37, 1_000])
def test_evaluation_sees_every_test_sample_once(size: int, test: int) -> None:
    seen = [
        number
        for batches in ranks(size, test=test, global_batch=60)
        for _, labels in batches.test()
        for number in labels.tolist()
    ]

    assert sorted(seen) == list(range(test))


def test_synthetic_data_is_the_same_bytes_every_time() -> None:
    cfg = TrainConfig(dataset="synthetic")
    one, other = (task.of(cfg).data(cfg) for _ in range(2))
    images, _ = one.train.tensors

    assert torch.equal(images, other.train.tensors[0])
    assert torch.equal(one.test.tensors[1], other.test.tensors[1])
    assert images.shape == (6_000, 1, 28, 28)
    assert abs(images.mean()) < 0.1
    assert abs(images.std() - 1) < 0.2


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match="--global-batch 6001 is more than one epoch: synthetic has 6,000"):
        task.of(SYNTHETIC).data(replace(SYNTHETIC, global_batch=6_001))
