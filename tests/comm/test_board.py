"""The board by which ranks agree on a step, its ranks as objects of this process."""

import threading
from dataclasses import dataclass, field
from typing import TypeVar

from ddpbench.comm.board import Board

T = TypeVar("T")


@dataclass
class Table:
    """Where ranks that are threads lay their values."""

    size: int
    rows: dict[int, object] = field(default_factory=dict)
    met: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.met = threading.Barrier(self.size)


@dataclass
class Thread:
    """A rank that is a thread of this process."""

    rank: int
    size: int
    table: Table
    timeout_s: float = 5.0
    group: None = None

    @property
    def local_size(self) -> int:
        return self.size

    def gather(self, value: T) -> list[T]:
        self.table.rows[self.rank] = value
        self.table.met.wait(5)
        rows = [self.table.rows[rank] for rank in range(self.size)]
        self.table.met.wait(5)
        return rows  # type: ignore[return-value]

    def barrier(self) -> None:
        self.table.met.wait(5)


def boards(size: int, steps: int) -> list[Board]:
    made: dict[int, Board] = {}
    table = Table(size)

    def make(rank: int) -> None:
        made[rank] = Board(Thread(rank, size, table), steps)

    threads = [threading.Thread(target=make, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [made[rank] for rank in range(size)]


def test_what_one_rank_writes_every_rank_reads_and_nothing_overlaps() -> None:
    ranks = boards(3, steps=4)
    for number, board in enumerate(ranks):
        board.post(7, [number + 0.25, number + 0.5], bytes([number + 1]) * 32)
    ranks[0].paused_s = 1.5
    ranks[1].ask(7, stop=False)
    ranks[2].ask(8, stop=True)

    for board in ranks:
        digests = [(bytes([number + 1]) * 32).hex() for number in range(3)]
        assert board.collect(7, 2) == (digests, [[number + 0.25, number + 0.5] for number in range(3)])
        assert board.collect(7, 4)[1][2] == [2.25, 2.5, 0, 0]
        assert board.paused_s == 1.5
        assert [board.is_meeting(step) for step in (6, 7, 8, 9)] == [False, True, True, False]
        assert [board.is_stopping(step) for step in (6, 7, 8, 9)] == [False, False, True, False]


def test_a_later_request_takes_the_place_of_an_older_one_of_the_same_parity() -> None:
    first, second = boards(2, steps=1)
    first.ask(4, stop=True)
    first.ask(6, stop=False)

    assert (second.is_meeting(4), second.is_meeting(6), second.is_stopping(6)) == (False, True, False)


def test_a_rank_that_is_a_step_ahead_leaves_what_it_posted_for_the_meeting_before() -> None:
    """A run is told to stop beside a regular save: two meetings follow each other, and one rank is slow to read."""
    slow, fast = boards(2, steps=3)
    for board in (slow, fast):
        board.post(2, [1.0, 2.0], b"2" * 32)
    fast.post(3, [1.0, 2.0, 3.0], b"3" * 32)

    assert slow.collect(2, 2) == ([(b"2" * 32).hex()] * 2, [[1.0, 2.0]] * 2)


def test_a_single_rank_keeps_its_board_to_itself() -> None:
    (board,) = boards(1, steps=2)
    board.post(3, [0.5], b"x" * 32)
    board.ask(3, stop=True)

    assert (board.collect(3, 1), board.is_stopping(3)) == (([(b"x" * 32).hex()], [[0.5]]), True)
