"""The shape of what watches training, the two simplest onlookers, and a user's own (--hook).

Others are the bar (`progress`), the clocks (`timers`) and the saver (`saver`).
"""

import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType, TracebackType

import torch
from torch import Tensor
from typing_extensions import Self

from ddpbench.config import TrainConfig, hook_file
from ddpbench.errors import UserError
from ddpbench.train.batches import Batches
from ddpbench.train.life import WATCHDOG_GRACE_S, Life
from ddpbench.train.state import TrainState
from ddpbench.train.world import World


class Onlooker:
    """Watches training. Every method does nothing; an onlooker overrides those that it needs."""

    def epoch_begins(self, state: TrainState) -> None:
        """The first step of an epoch is next; or, in a resumed epoch, the first step that is left."""

    def loss_computed(self, state: TrainState) -> None:
        """The forward pass is done: `state.losses` has its loss. The gradients are not computed yet."""

    def step_taken(self, state: TrainState) -> None:
        """The weights are updated."""

    def epoch_trained(self, state: TrainState) -> None:
        """The last step of an epoch is taken. Its time is still running."""

    def epoch_recorded(self, state: TrainState) -> None:
        """The epoch is evaluated and in the record."""


class Onlookers(Onlooker):
    """Several onlookers as one. They are called in order."""

    def __init__(self, members: Iterable[Onlooker]) -> None:
        self._members = tuple(members)

    def epoch_begins(self, state: TrainState) -> None:
        """Pass it on."""
        for each in self._members:
            each.epoch_begins(state)

    def loss_computed(self, state: TrainState) -> None:
        """Pass it on."""
        for each in self._members:
            each.loss_computed(state)

    def step_taken(self, state: TrainState) -> None:
        """Pass it on."""
        for each in self._members:
            each.step_taken(state)

    def epoch_trained(self, state: TrainState) -> None:
        """Pass it on."""
        for each in self._members:
            each.epoch_trained(state)

    def epoch_recorded(self, state: TrainState) -> None:
        """Pass it on."""
        for each in self._members:
            each.epoch_recorded(state)


class Heartbeat(Onlooker):
    """Keeps the watchdog quiet while training goes on; inside `with`, silence ends the process."""

    def __init__(self, process: Life, timeout_s: float) -> None:
        self._process, self._limit_s = process, timeout_s + WATCHDOG_GRACE_S

    def __enter__(self) -> Self:
        self._process.watchdog.alive(self._limit_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.watchdog.alive(0)

    def epoch_begins(self, state: TrainState) -> None:
        """Note the position."""
        self._beat(state)

    def step_taken(self, state: TrainState) -> None:
        """Note the position."""
        self._beat(state)

    def epoch_recorded(self, state: TrainState) -> None:
        """Give the saver as much time as a step."""
        self.beat()

    def beat(self) -> None:
        """Tell the watchdog that this process lives."""
        self._process.watchdog.alive(self._limit_s)

    def _beat(self, state: TrainState) -> None:
        self._process.position = state.epoch, len(state.losses)
        self.beat()


class Dice(Onlooker):
    """Seeds torch's generators by (seed, rank, epoch, step): before every step if a step draws, else once an epoch.

    So each rank draws its own dropout masks, and a restart draws them again: no state has to be saved.
    """

    def __init__(self, seed: int, here: World) -> None:
        self._seed, self._rank = seed, here.rank
        self._draws: bool | None = None  # None: the next step finds out
        self._before = list[Tensor]()

    def epoch_begins(self, state: TrainState) -> None:
        """Seed the step that is next."""
        self._draws = None
        self._throw(state)
        self._before = _generators()

    def step_taken(self, state: TrainState) -> None:
        """Seed the next step where the last one has drawn."""
        if self._draws is None:
            self._draws = not all(map(torch.equal, self._before, _generators()))
        if self._draws:
            self._throw(state)

    def _throw(self, state: TrainState) -> None:
        # The hash of a tuple of ints is the same in every process, and torch mixes all of its bits.
        torch.manual_seed(hash((self._seed, self._rank, state.epoch, len(state.losses))) % 2**63)


def _generators() -> list[Tensor]:
    """Return the states of torch's generators."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


def load_hook(cfg: TrainConfig, state: TrainState, batches: Batches, here: World) -> list[Onlooker]:
    """Return the onlookers of the user's own file: what `onlookers(words, state, batches, cfg, here)` in it returns.

    Raises UserError where the file has no such function.
    """
    file = hook_file(cfg.hook)
    if file is None:
        return []
    path, words = file
    module = _module(path)
    try:
        made = module.onlookers
    except AttributeError:
        raise UserError(f"--hook {path} has no function onlookers(words, state, batches, cfg, here); add one") from None
    return list(made(words, state, batches, cfg, here))


@cache
def _module(path: Path) -> ModuleType:
    """Return the module of a file. It is executed once in a process, where several arms take turns."""
    spec = importlib.util.spec_from_file_location(f"hook_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
