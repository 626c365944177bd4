"""The process that exchanges data with another host: what it counts, and what it says where it gets no further."""

import errno
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from ddpbench.check import exchange
from ddpbench.check.exchange import Connected, Line, Task
from ddpbench.check.gathered import SIZES, Comm, Meet, Timed, Trouble
from ddpbench.notes import Seat

SEAT = Seat(host=0, hosts=2, first_rank=0, address="a", port=1, job=0, secret="s")


def meet_of(comm: Comm = "gloo", size_s: float = 0.0) -> Meet:
    return Meet(job=0, place=0, comm=comm, ranks=1, size_s=size_s)


class Alone:
    """A rank without others."""

    rank, size, device = 0, 1, torch.device("cpu")

    def gather(self, value: object) -> list[object]:
        return [value]

    def barrier(self) -> None:
        return


def exchanged(monkeypatch: pytest.MonkeyPatch, took_s: Callable[[int], float], *, spoils: int = -1) -> list[Line]:
    """Return what a rank says whose n-th exchange takes so long, by a clock that counts nothing else."""
    now_s, times, said = [0.0], [0], list[Line]()

    def add(tensor: torch.Tensor) -> None:
        now_s[0] += took_s(times[0])
        if times[0] == spoils:
            tensor += 1
        times[0] += 1

    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])
    here: Any = Alone()
    exchange.exchange_all(here, add, 0.02, said.append)
    return said


def read(lines: list[Line], meet: Meet, *, is_over: bool = False) -> Any:
    """Return what is made of a rank that says these lines, and then nothing."""
    ours, theirs = os.pipe()
    with os.fdopen(ours), os.fdopen(theirs, "wb") as rank:
        rank.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        rank.flush()
        if is_over:
            rank.close()
        return exchange.read(ours, meet)


def timed(count: int) -> list[Line]:
    return [Timed(size_bytes=size, seconds=[1e-3]) for size in SIZES[:count]]


def test_the_exchanges_that_make_connections_count_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's set-up takes seconds, and one that takes seconds is not repeated: it would be the time of 1 KiB."""
    first, *others = exchanged(monkeypatch, lambda number: 5.0 if number == 0 else 1e-3)
    sizes = [each for each in others if isinstance(each, Timed)]

    assert first == Connected()
    assert [each.size_bytes for each in sizes] == [*SIZES]
    assert max(max(each.seconds) for each in sizes) == pytest.approx(1e-3)


def test_a_sum_that_is_not_right_is_said_of_the_first_exchange_too(monkeypatch: pytest.MonkeyPatch) -> None:
    said = exchanged(monkeypatch, lambda _: 1e-3, spoils=0)

    assert said == [Trouble(why="the sum of 1 KiB is not right", is_wrong=True)]


@pytest.mark.parametrize(
    ("lines", "comm", "why"),
    [
        ([], "gloo", "the two hosts did not meet within 20 s"),
        ([], "nccl", "the two hosts did not meet within 60 s"),
        ([Connected()], "nccl", "1 KiB did not come within 11 s"),
        ([Connected(), *timed(2)], "gloo", "64 KiB did not come within 11 s"),
        ([Connected(), *timed(len(SIZES))], "gloo", "the rank did not end within 11 s"),
    ],
)
def test_a_rank_that_gets_no_further_is_late(
    lines: list[Line], comm: Comm, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = select.select
    monkeypatch.setattr(select, "select", lambda *files_and_limit: at_once(*files_and_limit[:3], 0))
    met = read(lines, meet_of(comm, size_s=1.0))

    assert met.trouble == Trouble(why=why, is_late=True)
    assert met.timed == [line for line in lines if isinstance(line, Timed)]


def test_a_rank_that_ends_after_all_sizes_is_whole() -> None:
    lines = [Connected(), *timed(len(SIZES))]

    assert read(lines, meet_of(), is_over=True).trouble is None
    assert read(lines[:-1], meet_of(), is_over=True).trouble == Trouble(why="the rank ended without a word")


def test_ranks_that_cannot_be_started_are_this_hosts_own_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    before = len([*Path("/proc/self/fd").iterdir()])
    monkeypatch.setattr(os, "fork", refuse)
    met = exchange.carry_out(Task(meet=meet_of(), seat=SEAT))

    assert met.trouble == Trouble(why="its ranks cannot be started: Resource temporarily unavailable", is_own=True)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
