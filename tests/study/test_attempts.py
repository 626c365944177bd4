"""What the end of an attempt means: pure decisions over lists of notes."""

import signal
from typing import Any

import pytest

from ddpbench.notes import AnyNote, Begun, Complete, Failed, RanksEnded, Saved
from ddpbench.study import attempts
from ddpbench.study.attempts import Attempt, End


def failed(rank: int, why: str, code: int, *, attempt: int = 0, at: Any = (1, 37), **more: Any) -> Failed:
    return Failed(attempt=attempt, rank=rank, at=at, time_ns=rank, why=why, code=code, **more)


def ranks(exit_codes: dict[int, int], attempt: int = 0) -> RanksEnded:
    return RanksEnded(attempt=attempt, exit_codes=exit_codes)


COMPLETE = Complete(rank=0, at=(3, 93), time_ns=9)
LOST = failed(0, "rank 1 did not bring its gradients: its process has ended", 4, peer=1)
LATE = failed(0, "rank 1 did not bring its gradients within 3 s: its process is stopped (SIGSTOP)", 6, peer=1)
KILLED = "rank 1 at epoch 1, step 37 was killed by SIGKILL (often: out of memory)"
TWICE = [failed(1, "x", 4), failed(1, "x", 4, attempt=1)]
STOPPED = "stopped by SIGTERM before it trained again; the same command with --resume goes on"


@pytest.mark.parametrize(
    ("notes", "exit_code", "stop", "why", "code"),
    [
        ([COMPLETE], 0, None, "", 0),
        ([COMPLETE], 1, signal.SIGTERM, "", 0),
        ([], 0, None, "it ended without reporting an error and without completing the run", 4),
        ([], 1, signal.SIGTERM, STOPPED, 75),
        ([], 75, None, "stopped before it trained; the same command with --resume goes on", 75),
        ([failed(1, "x", 4)], 1, signal.SIGTERM, STOPPED, 75),
        ([failed(1, "x", 5, is_final=True)], 1, signal.SIGTERM, "rank 1 at epoch 1, step 37: x", 5),
        (TWICE, 1, signal.SIGTERM, "rank 1 at epoch 1, step 37, twice and without progress: x", 4),
        ([ranks({1: -9})], 1, None, "rank 1 was killed by SIGKILL (often: out of memory)", 4),
        ([LOST, ranks({0: 4, 1: -9})], 1, None, KILLED, 4),
        ([LOST, ranks({0: 4, 1: -11})], 1, None, "rank 1 at epoch 1, step 37 was killed by SIGSEGV", 4),
        ([LOST, ranks({0: 6, 1: -14})], 1, None, "rank 1 at epoch 1, step 37 made no step within --timeout-s", 6),
        ([LATE, ranks({0: 6, 1: -9})], 1, None, "rank 0 at epoch 1, step 37: rank 1 did not bring", 6),
        ([LATE, ranks({0: 6, 1: -14})], 1, None, "rank 1 at epoch 1, step 37 made no step within --timeout-s", 6),
        ([LOST, ranks({0: 4})], 1, None, "rank 0 at epoch 1, step 37: rank 1 did not bring its gradients", 4),
        ([LOST, failed(1, "ValueError: no", 4), ranks({0: 4, 1: 4})], 1, None, "rank 1 at epoch 1, step 37: Val", 4),
        ([failed(1, "bad", 2, at=None), ranks({0: -15, 1: 2})], 1, None, "rank 1: bad", 2),
        ([*TWICE, ranks({1: 4}, 1)], 1, None, "rank 1 at epoch 1, step 37, twice and without progress: x", 4),
        ([failed(1, "x", 4), failed(1, "y", 5, attempt=1)], 1, None, "rank 1 at epoch 1, step 37: y", 5),
        ([], -9, None, "torchrun's agent was killed by SIGKILL before it trained", 4),
    ],
)
def test_the_cause_is_the_failure_that_blames_no_other_or_the_rank_that_was_killed(
    notes: list[AnyNote], exit_code: int, stop: int | None, why: str, code: int
) -> None:
    number = max((note.attempt for note in notes), default=0)
    end = attempts.decide(Attempt(number, notes, exit_code, has_ranks=True, stop_signal=stop))

    assert end.exit_code == code
    assert end.why.startswith(why)
    assert bool(end.why) == bool(why)
    assert end.outcome == {0: "complete", 75: "stopped"}.get(code, "failed")


@pytest.mark.parametrize(
    ("notes", "exit_code", "why", "code"),
    [
        ([Saved(at=(1, 30))], -9, "the process after epoch 1, step 30 was killed by SIGKILL (often: out of mem", 4),
        ([], -9, "the process was killed by SIGKILL (often: out of memory)", 4),
        ([Saved(at=(1, 30))], -14, "the process after epoch 1, step 30 made no step within --timeout-s", 6),
        ([failed(0, "ValueError: no", 4)], 4, "the process at epoch 1, step 37: ValueError: no", 4),
        ([], -15, "the process was killed by SIGTERM before it trained", 4),
    ],
)
def test_a_single_process_is_started_again_as_a_rank_is(
    notes: list[AnyNote], exit_code: int, why: str, code: int
) -> None:
    last, more = (attempts.decide(Attempt(0, notes, exit_code, has_ranks=False, restarts_left=left)) for left in (0, 3))

    assert (last.outcome, more.outcome) == ("failed", "again")
    assert last.why.startswith(why)
    assert (last.why, last.exit_code) == (more.why, more.exit_code) == (last.why, code)


@pytest.mark.parametrize(
    ("notes", "left", "outcome"),
    [
        ([failed(1, "x", 4)], 3, "again"),
        ([failed(1, "x", 4)], 0, "failed"),
        ([failed(1, "bad input", 2, is_final=True)], 3, "failed"),
        ([failed(1, "told to stop: saved", 75, is_final=True)], 3, "stopped"),
        (TWICE, 3, "failed"),
        ([failed(1, "x", 4), Saved(attempt=1), failed(1, "x", 4, attempt=1)], 3, "again"),
        ([failed(1, "x", 4), failed(1, "x", 4, attempt=1, at=(1, 38))], 3, "again"),
    ],
)
def test_another_attempt_follows_unless_it_would_end_the_same_way(
    notes: list[AnyNote], left: int, outcome: str
) -> None:
    number = max(note.attempt for note in notes)

    assert attempts.decide(Attempt(number, notes, 1, has_ranks=True, restarts_left=left)).outcome == outcome


def test_the_runs_that_were_begun_are_named_once() -> None:
    notes = [Begun(run="a"), Saved(), Begun(run="a", attempt=1), Begun(run="b", attempt=2)]

    assert attempts.runs_begun(notes) == ["a", "b"]


def test_the_line_of_a_restart_counts_starts_from_one() -> None:
    end = End("again", "rank 1 was killed by SIGKILL", 4)

    line = "rank 1 was killed by SIGKILL; start 2 of 4 goes on from its newest checkpoint"
    assert end.restart_line(attempt=0, restarts=3) == line
