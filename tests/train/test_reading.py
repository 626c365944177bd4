"""Training on data that is read meanwhile: what is learnt depends neither on who reads, nor on a restart."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file

from ddpbench.arm import Arm
from ddpbench.config import TrainConfig
from ddpbench.errors import Preempted, UserError
from ddpbench.judge import breakdown, timing
from ddpbench.record import Record, read_record
from ddpbench.tasks import reading, task
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.contenders import Contender
from ddpbench.turns import Launch, Question, TurnArm, read_launch
from tests import warm
from tests.faults.launching import wait_for

TASK = """
import os
import torch
from torch import nn
from torch.nn import functional as F

batch, epochs = 16, 2

class Noisy:
    def __init__(self, size): self.size = size
    def __len__(self): return self.size
    def __getitem__(self, index):
        if log := os.environ.get("NOISY_LOG"):
            with open(log, "a") as file: file.write(f"{index}\\n")
        return torch.full((4,), index % 5 / 5) + torch.rand(4), index % 5

def model(): return nn.Linear(4, 5)
def data(): return Noisy(96), Noisy(21)
def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1], reduction="sum"), len(batch[1])
def metric(net, batch): return {"accuracy": ((net(batch[0]).argmax(1) == batch[1]).sum(), len(batch[1]))}
"""
LOOKED_AT = 2 * (1 + 2 * reading.TRIED)  # items that are read before: is a set drawn at random?
STOPS = """
from ddpbench.errors import Preempted
from ddpbench.train.onlookers import Onlooker

class Stops(Onlooker):
    def step_taken(self, state):
        if state.step == 5: raise Preempted("in the middle of an epoch")

def onlookers(words, state, batches, cfg, here): return [Stops()]
"""


@pytest.fixture
def cfg(tmp_path: Path) -> TrainConfig:
    path = tmp_path / "noisy.py"
    path.write_text(TASK)
    return TrainConfig(
        task=str(path), epochs=2, global_batch=16, device="cpu", threads=1, precision="fp64", results=tmp_path / "one"
    )


def fit(cfg: TrainConfig) -> tuple[Record, dict[str, torch.Tensor]]:
    """Train in this process. Returns the record and the weights."""
    here = world.solo(cfg)
    batches = Batches.load(cfg, here)
    with here:
        engine.fit(batches.task.step(cfg), batches, cfg, here, kind="baseline")
    return result(cfg.results)


def result(folder: Path) -> tuple[Record, dict[str, torch.Tensor]]:
    (path,) = folder.glob("*.json")
    return read_record(path), load_file(next(folder.glob("*.safetensors")))


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of two sets of weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.usefixtures("one_thread")
def test_readers_change_nothing_and_their_time_is_recorded(cfg: TrainConfig, tmp_path: Path) -> None:
    record, weights = fit(cfg)
    alone, weights_alone = fit(replace(cfg, readers=0, results=tmp_path / "other"))
    (rank,) = record.ranks

    assert apart(weights, weights_alone) == 0
    assert [epoch.metric_sums for epoch in record.epochs] == [epoch.metric_sums for epoch in alone.epochs]
    assert (record.settings.readers, alone.settings.readers) == (1, 0)
    assert rank.data_s is not None
    assert all(0 < waited_s < train_s for waited_s, train_s in zip(rank.data_s, rank.train_s, strict=True))


@pytest.mark.usefixtures("one_thread")
def test_a_restart_in_the_middle_of_an_epoch_reads_only_what_is_left(
    cfg: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, weights = fit(cfg)
    (tmp_path / "stops.py").write_text(STOPS)
    cut = replace(cfg, results=tmp_path / "cut", checkpoint_every="2", readers=0, hook=f"{tmp_path}/stops.py")
    with pytest.raises(Preempted):
        fit(cut)
    monkeypatch.setenv("NOISY_LOG", str(tmp_path / "log"))
    record, weights_after = fit(replace(cut, resume=True, hook=None))
    read = len((tmp_path / "log").read_text().split())

    assert record.attempts == 2
    assert apart(weights, weights_after) == 0
    assert read == LOOKED_AT + 2 * 16 + 96 + 2 * 21, "two steps are left of the first epoch, which has six"


def test_readers_are_refused_where_the_data_is_in_memory() -> None:
    cfg = TrainConfig(dataset="synthetic", readers=2)
    with pytest.raises(UserError, match=r"--readers: data\(\) of the task mnist returns tensors in memory; leave it"):
        task.of(cfg).data(cfg)


@pytest.mark.usefixtures("one_thread")
def test_what_reads_for_an_arm_is_forked_before_its_first_step_and_held_until_its_turn(cfg: TrainConfig) -> None:
    """A process that is forked later makes every arm copy its weights, in a step that counts."""
    here, others = world.solo(cfg), psutil.Process().children()
    found = task.of(cfg)
    contender = Contender(TurnArm(arm=Arm("baseline", 1, 1, None), global_batch=16), found.data(cfg), cfg, here)
    readers = [child for child in psutil.Process().children() if child not in others]
    wait_for(lambda: [each.status() for each in readers] == [psutil.STATUS_STOPPED])
    contender.visit(3, uncounted=1)

    assert [child for child in psutil.Process().children() if child not in others] == readers
    contender.close()


@pytest.mark.slow
def test_two_ranks_that_read_learn_what_one_process_learns(cfg: TrainConfig, tmp_path: Path) -> None:
    _, weights = fit(cfg)
    words = ("--task", cfg.task, "--device", "cpu", "--threads", "1", "--precision", "fp64")
    (tmp_path / "two").mkdir()
    ranks = warm.start_ranks(2, "ddp_train.py", *words, "--results", tmp_path / "two", folder=tmp_path)
    ended = [rank.wait() for rank in ranks]
    record, weights_of_two = result(tmp_path / "two")

    assert [rank.returncode for rank in ended] == [0, 0], [rank.stderr for rank in ended]
    assert apart(weights, weights_of_two) < 1e-10
    assert all(rank.data_s for rank in record.ranks)
    assert "(of that, waiting for data: " in ended[0].stdout


@pytest.mark.slow
def test_arms_take_turns_on_data_that_is_read_and_on_batches_in_memory(cfg: TrainConfig, tmp_path: Path) -> None:
    launch = launched(cfg, tmp_path)
    waits = {each.turn: each.data_s for each in launch.visits}

    assert [turn for turn, data_s in waits.items() if data_s is not None] == READING
    assert all(0 <= wait_s <= block_s for each in launch.visits for wait_s, block_s in pairs(each.data_s, each.block_s))
    assert launch.settings.readers == 1


READING = [
    TurnArm(arm=Arm("baseline", 1, 1, None), global_batch=16),
    TurnArm(arm=Arm("ddp", 2, 1, "shm"), global_batch=16),
]
REPLAYED = [replace(turn, replayed=True) for turn in READING]


@pytest.mark.slow
def test_items_that_are_slow_to_read_are_found_as_reading(cfg: TrainConfig, tmp_path: Path) -> None:
    """One process reads for each rank, and nothing else takes time: a step waits for a rank's items."""
    item_s = 0.015
    Path(cfg.task).write_text(TASK.replace("    def __getitem__(self, index):", f"{SLEEPS}({item_s})"))
    measured = timing.of_launches([launched(cfg, tmp_path, seconds=3.0)])
    found = breakdown.break_down(measured, READING[1], READING[0], [8, 8], on_gpu=False)
    assert found is not None
    data, waiting = found["data"], found["waiting_for_data"]
    assert data is not None
    assert waiting is not None

    assert found.observed.value == pytest.approx(8 * item_s, rel=0.1)
    assert data.value == pytest.approx(8 * item_s - (found.observed.value - data.value), rel=0.1)
    assert waiting.value == pytest.approx(data.value, rel=0.1)


SLEEPS = "    def __getitem__(self, index):\n        __import__('time').sleep"


def launched(cfg: TrainConfig, folder: Path, seconds: float = 0.5) -> Launch:
    path, arms = folder / "turns-000.json", [*READING, *REPLAYED]
    words = ["--task", cfg.task, "--device", "cpu", "--global-batch", "16"]
    question = msgspec.json.encode(Question(words, arms, arms, number=0, seconds=seconds, path=str(path))).decode()
    ended = [rank.wait() for rank in warm.start_ranks(2, "-m", "ddpbench.train.turns", question, folder=folder)]
    assert [rank.returncode for rank in ended] == [0, 0], [rank.stderr for rank in ended]
    return read_launch(path)


def pairs(waits: Sequence[Sequence[float]] | None, blocks: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [pair for row, block in zip(waits or [], blocks, strict=False) for pair in zip(row, block, strict=True)]
