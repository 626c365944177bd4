"""What the end of an attempt means: complete, again, stopped or failed.

Pure functions over what the processes of a run have noted.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ddpbench.errors import Preempted, TrainingError
from ddpbench.notes import AnyNote, Begun, Complete, Failed, RanksEnded, Saved, signal_name
from ddpbench.train.watchdog import HANGS

LATE = 6  # the exit code of a rank that hung or came too late
RESUMES = "the same command with --resume goes on"


@dataclass(frozen=True)
class Attempt:
    """One start of a run, after its end."""

    number: int  # from 0
    notes: Sequence[AnyNote]  # of this and of all earlier attempts
    exit_code: int  # of the process that was started; negative: killed by that signal
    has_ranks: bool  # whether that process was torchrun's agent
    stop: int | None = None  # the signal with which the study was told to stop
    restarts_left: int = 0


@dataclass(frozen=True)
class End:
    """What an attempt came to, in one line, and with which exit code it counts."""

    outcome: Literal["complete", "again", "stopped", "failed"]
    why: str
    exit_code: int


def after(attempt: Attempt) -> End:
    """Decide what an attempt came to, and whether another one follows."""
    if any(isinstance(note, Complete) for note in attempt.notes):
        return End("complete", "", 0)
    cause = root_cause(attempt.notes, attempt.number)
    repeated = is_repeated(attempt.notes, attempt.number)
    is_final = cause is not None and (cause.is_final or repeated)
    if attempt.stop is not None and not is_final:  # else its end is what counts: it has saved, or cannot go on
        why = f"stopped by {signal_name(attempt.stop)} before it trained again; {RESUMES}"
        return End("stopped", why, Preempted.exit_code)
    if cause is None and attempt.exit_code == Preempted.exit_code:  # told to stop by somebody else, before it trained
        return End("stopped", f"stopped before it trained; {RESUMES}", Preempted.exit_code)
    why, code = explain(attempt, cause, repeated=repeated)
    if is_final or attempt.restarts_left == 0:
        return End("stopped" if code == Preempted.exit_code else "failed", why, code)
    return End("again", why, code)


def explain(attempt: Attempt, cause: Failed | None, *, repeated: bool) -> tuple[str, int]:
    """Return why an attempt ended, in one line, and its exit code: a cause that blames no other, or who was killed."""
    killed = {rank: -code for rank, code in _exit_codes(attempt).items() if code < 0 and -code != signal.SIGTERM}
    if cause is not None and cause.code == LATE and cause.peer is not None:  # who came too late, its peer has killed
        killed = {rank: number for rank, number in killed.items() if number == HANGS}
    if killed and (cause is None or cause.peer is not None):
        rank, number = min(killed.items())
        # Another rank saw it end at this step; of a process alone we know what it noted last.
        seen = cause is not None and cause.peer == rank
        place = _where(cause) if seen else _where(_last(attempt, rank), "after")
        who = f"{_who(attempt, rank)}{place}"
        if number == HANGS:
            return f"{who} made no step within --timeout-s; its output holds its stacks", LATE
        often = " (often: out of memory)" if number == signal.SIGKILL else ""
        return f"{who} was killed by {signal_name(number)}{often}", TrainingError.exit_code
    if cause is not None:
        twice = ", twice and without progress" if repeated else ""
        return f"{_who(attempt, cause.rank)}{_where(cause)}{twice}: {cause.why}", cause.code
    if attempt.exit_code < 0:
        what = "torchrun's agent" if attempt.has_ranks else "the process"
        return f"{what} was killed by {signal_name(-attempt.exit_code)} before it trained", TrainingError.exit_code
    return "it ended without a word and without having completed the run", TrainingError.exit_code


def root_cause(noted: Sequence[AnyNote], attempt: int) -> Failed | None:
    """Return the failure that the others of an attempt followed from: the first that does not blame another rank."""
    failed = [note for note in noted if isinstance(note, Failed) and note.attempt == attempt]
    return min(failed, key=lambda note: (note.peer is not None, note.time_ns), default=None)


def is_repeated(noted: Sequence[AnyNote], attempt: int) -> bool:
    """Whether an attempt failed as the one before it had, and nothing was saved between."""
    now, before = root_cause(noted, attempt), root_cause(noted, attempt - 1)
    saved = any(isinstance(note, Saved) and note.attempt == attempt for note in noted)
    if now is None or before is None or saved:
        return False
    return (now.rank, now.at, now.why) == (before.rank, before.at, before.why)


def runs_begun(noted: Sequence[AnyNote]) -> list[str]:
    """Return the names of the runs that attempts have begun."""
    return list(dict.fromkeys(note.run for note in noted if isinstance(note, Begun)))


def _exit_codes(attempt: Attempt) -> dict[int, int]:
    """Return the exit codes of the processes that trained, by rank."""
    if not attempt.has_ranks:
        return {0: attempt.exit_code}
    ended = [note for note in attempt.notes if isinstance(note, RanksEnded) and note.attempt == attempt.number]
    return ended[-1].exit_codes if ended else {}


def _last(attempt: Attempt, rank: int) -> AnyNote | None:
    """Return the last note of a rank in this attempt."""
    mine = [note for note in attempt.notes if (note.attempt, note.rank) == (attempt.number, rank) and note.at]
    return mine[-1] if mine else None


def _who(attempt: Attempt, rank: int) -> str:
    return f"rank {rank}" if attempt.has_ranks else "the process"


def _where(note: AnyNote | None, word: str = "at") -> str:
    return "" if note is None or note.at is None else f" {word} epoch {note.at[0]}, step {note.at[1]}"
