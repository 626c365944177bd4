"""The sample ledger: over any schedule of faults, the surviving history uses every sample of an epoch exactly once."""

import copy
import dataclasses
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ddpbench.config import TrainConfig
from ddpbench.record import read_record
from ddpbench.tasks import task
from ddpbench.tasks.samples import Samples
from ddpbench.tasks.task import Data
from ddpbench.train import checkpoint, engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.world import World

SAMPLES, BATCH, EPOCHS = 101, 12, 3  # eight steps an epoch; the last, partial batch is dropped
STEPS = SAMPLES // BATCH
SMALL = TrainConfig(
    dataset="synthetic", model="mlp", epochs=EPOCHS, global_batch=BATCH, device="cpu", threads=1, resume=True
)
# A sample is its own number, so that whoever trains on it can say which it was.
IMAGES = Data(
    Samples((torch.arange(SAMPLES).view(-1, 1, 1, 1).expand(-1, 1, 28, 28) / SAMPLES, torch.arange(SAMPLES) % 10)),
    Samples((torch.zeros(10, 1, 28, 28), torch.arange(10))),
)


class KilledError(Exception):
    """The process has gone."""


class Ledger(Batches):
    """Batches that write down the samples of every step, in the order in which they are trained on."""

    history: list[list[int]]
    dies_after: int

    def epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels in super().epoch(epoch, done):
            if self.dies_after == 0:
                raise KilledError
            self.dies_after -= 1
            self.history.append((images[:, 0, 0, 0] * SAMPLES).round().int().tolist())
            yield images, labels


def train(cfg: TrainConfig, history: list[list[int]], dies_after: int = 10**6) -> bool:
    """Train until the end or until so many steps are taken. Returns whether it came to the end.

    What was trained after the newest whole checkpoint is lost first: it is no part of the weights that go on.
    """
    here = world.solo(cfg)
    for folder in cfg.results.glob("*.checkpoint"):
        found, _ = checkpoint.newest(folder)
        del history[(found.manifest.epoch - 1) * STEPS + found.manifest.step if found else 0 :]
    batches = Ledger(task.of(cfg), IMAGES, cfg, here)
    batches.history, batches.dies_after = history, dies_after
    with here:
        try:
            engine.fit(task.of(cfg).step(cfg), batches, cfg, here, kind="baseline")
        except KilledError:
            return False
    return True


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """The samples of every step of a run that nothing stops."""
    history: list[list[int]] = []
    train(replace(SMALL, results=tmp_path_factory.mktemp("straight")), history)
    return history


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@given(
    deaths=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=5),
    every=st.sampled_from(("1", "3", "5", "100")),
)
@settings(deadline=None, max_examples=12)
def test_every_sample_is_used_exactly_once_however_often_the_run_dies(
    deaths: list[tuple[int, bool]],
    every: str,
    straight: list[list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """`deaths`: after how many steps of an attempt, and whether its newest checkpoint is then damaged."""
    cfg = replace(SMALL, checkpoint_every=every, results=tmp_path_factory.mktemp("ledger"))
    history: list[list[int]] = []
    for steps, is_damaged in [*deaths, (10**6, False)]:
        if train(cfg, history, steps):
            break
        newest = [path for folder in cfg.results.glob("*.checkpoint") for path in checkpoint.generations(folder)]
        if is_damaged and len(newest) > 1:
            newest[0].write_bytes(newest[0].read_bytes()[:-1])
        elif not newest:
            history.clear()

    assert history == straight
    for epoch in range(EPOCHS):
        samples = [sample for step in history[epoch * STEPS :][:STEPS] for sample in step]
        assert len(samples) == len(set(samples)) == STEPS * BATCH
    (record,) = map(read_record, cfg.results.glob("*.json"))
    assert record.status == "complete"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@given(epoch=st.integers(1, 5), done=st.integers(0, STEPS))
@settings(deadline=None, max_examples=10)
def test_every_rank_goes_on_with_the_samples_that_it_had_not_had(size: int, epoch: int, done: int) -> None:
    """The order is a function of seed and epoch alone, so a new process continues it at any step and world size."""
    cfg = TrainConfig(global_batch=BATCH, seed=3)
    place = World(rank=0, size=size, local_size=size, device=torch.device("cpu"), comm="gloo")
    ranks = [Batches(task.of(cfg), IMAGES, cfg, dataclasses.replace(place, rank=rank)) for rank in range(size)]
    whole = [[labels for _, labels in rank.epoch(epoch)] for rank in ranks]
    rest = [[labels for _, labels in copy.copy(rank).epoch(epoch, done)] for rank in ranks]

    assert len(whole[0]) == STEPS
    for all_of, later in zip(whole, rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(all_of[done:], later, strict=True))
