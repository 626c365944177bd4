"""Ranks of several hosts agree on a step without memory that they share: all on the same one, and soon."""

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ddpbench.comm import poll
from ddpbench.comm.poll import Poll


@dataclass
class Collectives:
    """The collectives of ranks that take steps one after the other: a result is there once all have begun it."""

    size: int
    begun: list[list[Tensor]] = field(default_factory=list)
    gathered: list[list[object]] = field(default_factory=list)


class Work:
    def __init__(self, numbers: list[Tensor], size: int) -> None:
        self._numbers, self._size = numbers, size

    def wait(self) -> None:
        assert len(self._numbers) == self._size, "a rank waits for a poll that another has not begun"
        largest = torch.stack(self._numbers).amax(0)
        for each in self._numbers:
            each.copy_(largest)


@dataclass
class Rank:
    shared: Collectives
    rank: int
    count: int = 0  # of polls that it has begun

    def gather(self, value: list[object]) -> list[Any]:
        self.shared.gathered.append(value)
        return msgspec.json.decode(msgspec.json.encode(self.shared.gathered))  # type: ignore[no-any-return]

    def begin_largest(self, numbers: Tensor) -> Work:
        if self.count == len(self.shared.begun):
            self.shared.begun.append([])
        mine = self.shared.begun[self.count]
        mine.append(numbers)
        self.count += 1
        return Work(mine, self.shared.size)


def polls(size: int) -> list[Poll]:
    shared = Collectives(size)
    return [Poll(Rank(shared, rank)) for rank in range(size)]  # type: ignore[arg-type]


def steps(ranks: list[Poll], first: int, count: int, wishes: dict[tuple[int, int], bool]) -> list[tuple[int, bool]]:
    """Take steps on all ranks. `wishes` by step and rank: whether to stop. Returns the meetings of all ranks."""
    met = []
    for step in range(first, first + count):
        for rank, each in enumerate(ranks):
            if (step, rank) in wishes:
                each.ask(step + 2, stop=wishes[step, rank])
        meets = [each.is_meeting(step + 1) for each in ranks]
        assert len({*meets}) == 1, "all ranks meet after the same step"
        if meets[0]:
            stops = [each.is_stopping(step + 1) for each in ranks]
            assert len({*stops}) == 1
            met.append((step + 1, stops[0]))
    return met


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step take half a second: then there is a poll at every second step."""
    clock = iter(range(10**9))
    monkeypatch.setattr(poll.time, "monotonic", lambda: next(clock) / 2)


def test_nobody_meets_where_nobody_asks() -> None:
    assert steps(polls(3), 1, 200, {}) == []


@pytest.mark.usefixtures("slow")
def test_a_wish_of_one_rank_is_a_meeting_of_all_once() -> None:
    assert steps(polls(3), 1, 20, {(5, 2): False}) == [(7, False)]


@pytest.mark.usefixtures("slow")
def test_a_signal_to_one_rank_stops_all_even_beside_a_save() -> None:
    assert steps(polls(2), 1, 20, {(5, 0): False, (5, 1): True}) == [(7, True)]


@pytest.mark.usefixtures("slow")
def test_a_wish_that_comes_while_a_poll_is_under_way_is_in_the_next() -> None:
    """The poll of step 5 is begun without it, and heard after step 6."""
    assert steps(polls(2), 1, 20, {(6, 1): True}) == [(9, True)]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(1, 60), st.integers(0, 3)), st.booleans(), max_size=12))
def test_ranks_always_agree_and_every_wish_is_heeded(wishes: dict[tuple[int, int], bool]) -> None:
    met = steps(polls(4), 1, 1_100, wishes)

    for (asked, _), stop in wishes.items():
        assert any(asked < step and (stops or not stop) for step, stops in met)
    assert len(met) <= len(wishes)


def test_quick_steps_are_polled_seldom_and_slow_ones_always(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(step_s: float) -> int:
        clock = iter(range(10**9))
        monkeypatch.setattr(poll.time, "monotonic", lambda: next(clock) * step_s)
        ranks = polls(1)
        steps(ranks, 1, 2_000, {})
        return len(ranks[0]._ranks.shared.begun)  # type: ignore[attr-defined]

    assert count(10.0) == 1_000, "every second step: each poll takes two"
    assert count(1e-9) <= 4


def test_losses_that_are_no_numbers_arrive_as_such() -> None:
    """Ranks exchange JSON, which has none. The run ends by them at the end of its epoch, in one line."""
    first, last = polls(2)
    for each, losses in ((first, [1.5, math.inf, 2.5]), (last, [math.nan, 0.5, -math.inf])):
        each.post(3, losses, b"\x01")
        digests, found = each.collect(3, 3)

    assert digests == ["01", "01"]
    assert [[math.isfinite(loss) for loss in row] for row in found] == [[True, False, True], [False, True, False]]
    assert (found[0][0], found[1][1]) == (1.5, 0.5)
