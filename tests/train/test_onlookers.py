"""What watches training: the shape, the order, and a user's own file."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from msgspec.structs import replace

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.record import read_record
from ddpbench.tasks import task
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.onlookers import Dice, Onlooker, Onlookers, load_hook
from ddpbench.train.state import TrainState
from ddpbench.train.world import World

pytestmark = pytest.mark.usefixtures("one_thread")
CFG = TrainConfig(dataset="synthetic", model="mlp", epochs=2, global_batch=2_000, device="cpu", threads=1)
HOOK = """
from dataclasses import dataclass, field
from ddpbench.train.onlookers import Onlooker

@dataclass
class Counter(Onlooker):
    words: str
    steps: list = field(default_factory=list)

    def step_taken(self, state):
        self.steps.append((state.epoch, len(state.losses)))

    def epoch_recorded(self, state):
        print(self.words, self.steps)

def onlookers(words, state, batches, cfg, here):
    return [Counter(words)]
"""


class Diary(Onlooker):
    """Writes down what it is told."""

    def __init__(self, name: str, diary: list[tuple[str, str, int, int]]) -> None:
        self._name, self._diary = name, diary

    def __getattribute__(self, name: str) -> object:
        if name not in vars(Onlooker) or name.startswith("_"):
            return super().__getattribute__(name)

        def note(state: TrainState) -> None:
            self._diary.append((self._name, name, state.epoch, len(state.losses)))

        return note


def test_onlookers_hear_of_every_moment_in_order() -> None:
    diary: list[tuple[str, str, int, int]] = []
    here = world.solo(CFG)
    cfg = replace(CFG, global_batch=3_000)
    batches = Batches.load(cfg, here)
    state = TrainState.of(task.of(cfg).step(cfg), cfg, batches.steps)
    engine.train_epoch(state, batches, cfg, Onlookers([Diary("a", diary), Diary("b", diary)]))
    moments = [
        ("epoch_begins", 0),
        ("loss_computed", 1),
        ("step_taken", 1),
        ("loss_computed", 2),
        ("step_taken", 2),
        ("epoch_trained", 2),
    ]

    assert diary == [(name, moment, 1, steps) for moment, steps in moments for name in ("a", "b")]
    assert state.step == 2
    state.begin_next_epoch()
    assert (state.epoch, state.losses, state.step) == (2, [], 2)


def test_a_users_own_file_watches_and_its_run_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "count.py").write_text(HOOK)
    cfg = replace(CFG, hook=f"{tmp_path}/count.py:my words", results=tmp_path / "results")
    here = world.solo(cfg)
    engine.fit(task.of(cfg).step(cfg), Batches.load(cfg, here), cfg, here, kind="baseline")
    (path,) = (tmp_path / "results").glob("*.json")

    assert "my words [(1, 1), (1, 2), (1, 3)]\n" in capsys.readouterr().out
    assert read_record(path).injected == "count.py:my words"


def test_a_file_without_the_function_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.py").touch()
    cfg = replace(CFG, hook=f"{tmp_path}/empty.py")
    here = world.solo(cfg)
    state = TrainState.of(task.of(cfg).step(cfg), cfg, 3)
    with pytest.raises(UserError, match=r"empty.py has no function onlookers\(words, state, batches, cfg, here\)"):
        load_hook(cfg, state, Batches.load(cfg, here), here)


def test_weights_are_compared_by_every_bit() -> None:
    one, other = (TrainState.of(task.of(CFG).step(CFG), CFG, 3) for _ in range(2))
    assert one.weights_sha256() == other.weights_sha256()
    assert len(one.weights_sha256()) == 32
    with torch.no_grad():
        last = [*other.net.parameters()][-1]
        last.view(torch.uint8)[-1] ^= 1

    assert one.weights_sha256() != other.weights_sha256()


def drawn(rank: int, steps: int, *, resumed_at: int = 0) -> list[float]:
    """Return what the steps of an epoch draw on a rank, from a step on."""
    here = World(rank=rank, size=2, local_size=2, device=torch.device("cpu"), comm="gloo")
    dice, state = Dice(0, here), SimpleNamespace(epoch=1, losses=[0.0] * resumed_at)
    found = []
    dice.epoch_begins(state)  # type: ignore[arg-type]  # all it needs
    for _ in range(resumed_at, steps):
        found.append(torch.rand(1).item())
        state.losses.append(0.0)
        dice.step_taken(state)  # type: ignore[arg-type]
    return found


def test_each_rank_draws_numbers_of_its_own_and_a_restart_draws_them_again() -> None:
    with torch.random.fork_rng():
        first, second = drawn(0, 4), drawn(1, 4)

        assert len({*first, *second}) == 8
        assert drawn(0, 4) == first
        assert drawn(0, 4, resumed_at=2) == first[2:]
