"""Attempts of a run, and what the end of one means: complete, again, stopped or failed.

Pure functions over the notes that the processes of a run have written.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ddpbench.errors import Preempted, TrainingError
from ddpbench.notes import HANGS, NO_RANK, AnyNote, Begun, Complete, Failed, RanksEnded, Saved, position, signal_name

HUNG = 6  # the exit code of a rank that hung or came too late
RESUMES = "the same command with --resume goes on"


@dataclass(frozen=True)
class Attempt:
    """One start of a run, after its end."""

    number: int  # from 0
    notes: Sequence[AnyNote]  # of this and of all earlier attempts
    exit_code: int  # of the process that was started; negative: killed by that signal
    has_ranks: bool  # whether that process was torchrun's agent
    stop_signal: int | None = None  # the signal that told the study to stop; None without one
    restarts_left: int = 0
    goes_on: str = RESUMES  # what the user may do after it


@dataclass(frozen=True)
class End:
    """The outcome of an attempt, its cause in one line ("" where it is complete), and the run's exit code."""

    outcome: Literal["complete", "again", "stopped", "failed"]
    why: str
    exit_code: int

    def restart_line(self, attempt: int, restarts: int, how: str = "goes on from its newest checkpoint") -> str:
        """Return the line which says that another attempt follows the attempt of this number, from 0."""
        return f"{self.why}; start {attempt + 2} of {restarts + 1} {how}"


def decide(attempt: Attempt) -> End:
    """Decide the outcome of an attempt, and whether another one follows."""
    if any(isinstance(note, Complete) for note in attempt.notes):
        return End("complete", "", 0)
    cause = root_cause(attempt.notes, attempt.number)
    repeated = is_repeated(attempt.notes, attempt.number)
    is_final = cause is not None and (cause.is_final or repeated)
    if attempt.stop_signal is not None and not is_final:  # a final cause counts more: it has saved, or cannot go on
        why = f"stopped by {signal_name(attempt.stop_signal)} before it trained again; {attempt.goes_on}"
        return End("stopped", why, Preempted.exit_code)
    if cause is None and attempt.exit_code == Preempted.exit_code:  # another program stopped it, before it trained
        return End("stopped", f"stopped before it trained; {attempt.goes_on}", Preempted.exit_code)
    why, code = explain(attempt, cause, repeated=repeated)
    if is_final or attempt.restarts_left == 0:
        return End("stopped" if code == Preempted.exit_code else "failed", why, code)
    return End("again", why, code)


def explain(attempt: Attempt, cause: Failed | None, *, repeated: bool) -> tuple[str, int]:
    """Return why an attempt ended, in one line, and its exit code.

    A failure that blames no other rank is the cause. Otherwise it is a rank that was killed: that one wrote no note.
    """
    killed = {rank: -code for rank, code in _exit_codes(attempt).items() if code < 0 and -code != signal.SIGTERM}
    if cause is not None and cause.code == HUNG and cause.peer is not None:
        # A rank that waits too long kills the rank that it waits for. Only the watchdog's signal shows a hang.
        killed = {rank: number for rank, number in killed.items() if number == HANGS}
    if killed and (cause is None or cause.peer is not None):
        rank, number = min(killed.items())
        # Where another rank saw it end, the step is that rank's. Otherwise its own last note says how far it came.
        was_seen = cause is not None and cause.peer == rank
        place = _place(cause) if was_seen else _place(_last_note(attempt, rank), "after")
        subject = f"{_process_name(attempt, rank)}{place}"
        if number == HANGS:
            return f"{subject} made no step within --timeout-s; its output shows the stacks of its threads", HUNG
        often = " (often: out of memory)" if number == signal.SIGKILL else ""
        return f"{subject} was killed by {signal_name(number)}{often}", TrainingError.exit_code
    if cause is not None and cause.rank == NO_RANK:
        return f"{cause.why}; {attempt.goes_on}", cause.code
    if cause is not None:
        twice = ", twice and without progress" if repeated else ""
        return f"{_process_name(attempt, cause.rank)}{_place(cause)}{twice}: {cause.why}", cause.code
    if attempt.exit_code < 0:
        subject = "torchrun's agent" if attempt.has_ranks else "the process"
        return f"{subject} was killed by {signal_name(-attempt.exit_code)} before it trained", TrainingError.exit_code
    return "it ended without reporting an error and without completing the run", TrainingError.exit_code


def root_cause(notes: Sequence[AnyNote], attempt: int) -> Failed | None:
    """Return the failure from which the other failures of an attempt followed: the first that blames no other rank.

    Where every failure blames another rank, it is the first of them; None where there is no failure.
    """
    failures = [note for note in notes if isinstance(note, Failed) and note.attempt == attempt]
    return min(failures, key=lambda note: (note.peer is not None, note.time_ns), default=None)


def is_repeated(notes: Sequence[AnyNote], attempt: int) -> bool:
    """Whether an attempt failed as the attempt before it had, and nothing was saved between."""
    now, before = root_cause(notes, attempt), root_cause(notes, attempt - 1)
    has_saved = any(isinstance(note, Saved) and note.attempt == attempt for note in notes)
    if now is None or before is None or has_saved:
        return False
    return (now.rank, now.at, now.why) == (before.rank, before.at, before.why)


def runs_begun(notes: Sequence[AnyNote]) -> list[str]:
    """Return the names of the runs that attempts have begun."""
    return list(dict.fromkeys(note.run for note in notes if isinstance(note, Begun)))


def _exit_codes(attempt: Attempt) -> dict[int, int]:
    """Return the exit codes of the processes that trained, by rank."""
    if not attempt.has_ranks:
        return {0: attempt.exit_code}
    reports = [note for note in attempt.notes if isinstance(note, RanksEnded) and note.attempt == attempt.number]
    return {rank: code for report in reports for rank, code in report.exit_codes.items()}


def _last_note(attempt: Attempt, rank: int) -> AnyNote | None:
    """Return the last note of a rank in this attempt that says how far training was."""
    notes = [note for note in attempt.notes if (note.attempt, note.rank) == (attempt.number, rank) and note.at]
    return notes[-1] if notes else None


def _process_name(attempt: Attempt, rank: int) -> str:
    return f"rank {rank}" if attempt.has_ranks else "the process"


def _place(note: AnyNote | None, word: str = "at") -> str:
    return "" if note is None or note.at is None else f" {word} {position(*note.at)}"
