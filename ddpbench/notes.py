"""What a supervisor and the processes that it starts tell each other: typed values in JSON.

A supervisor hands a `Launch` to its child in one environment variable. The child appends `Note`s to memory that the
supervisor owns. That needs no disk, so a full disk hides no cause, and nothing is left behind, however either ends.
"""

import os
import signal
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

NO_RANK = -1  # writes a note about a host
VARIABLE = "DDPBENCH_LAUNCH"
HANGS = signal.SIGALRM  # ends a process that hangs; the exit status then tells the supervisor so
# Signals that ask a study and its runs to stop. Schedulers send USR1 or USR2 some time before the end of a job.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """Where the ranks of this host are among those of a job on several, and how they reach host 0."""

    host: int
    hosts: int
    first_rank: int  # of this host
    address: str  # of host 0, and its port
    port: int
    job: int  # the number of the attempt over all that host 0 has seen
    secret: str  # of the job


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a process knows about its supervisor."""

    parent: int  # the supervisor's process: the child stops when it ends
    attempt: int = 0  # which start of this run this is
    notes: str = ""  # the file that takes notes
    store: str | None = None  # the file in which the ranks of this attempt meet
    has_torch: bool = False  # whether this process has torch from its start: then its agent forks the ranks
    begun: list[str] = []  # the runs that earlier attempts have begun: a restart goes on with no other
    failure: str | None = None  # what ended the attempt before
    seat: Seat | None = None  # None: the job has one host

    @property
    def first_rank(self) -> int:
        """The number of this host's first rank among those of all hosts."""
        return self.seat.first_rank if self.seat else 0


class Note(msgspec.Struct, frozen=True, kw_only=True, tag_field="what"):
    """One thing that happened in a run. `tell` fills in the fields below: who, where and when."""

    attempt: int = 0
    rank: int = 0
    at: tuple[int, int] | None = None  # epoch, and steps taken in it
    time_ns: int = 0  # monotonic, the same clock in every process of a machine


class Begun(Note, frozen=True, tag="begun"):
    """All is built, and the first step is next."""

    run: str  # the record's name without its ending


class Saved(Note, frozen=True, tag="saved"):
    """A checkpoint is on the disk."""


class EpochDone(Note, frozen=True, tag="epoch"):
    """An epoch is trained and evaluated."""

    epoch: int
    epochs: int
    train_s: float
    figure: str  # the metric of the whole test set, as it is shown


class Failed(Note, frozen=True, tag="failed"):
    """A process ends because of this."""

    why: str
    code: int
    peer: int | None = None  # the rank that is to blame, where it is another one
    is_final: bool = False  # whether another attempt would end the same way


class RanksEnded(Note, frozen=True, tag="ranks_ended"):
    """torchrun's agent has ended its ranks: exit codes of those that failed; negative: killed by a signal."""

    exit_codes: dict[int, int]


class Complete(Note, frozen=True, tag="complete"):
    """The run is trained and its record is whole."""


AnyNote = Begun | Saved | EpochDone | Failed | RanksEnded | Complete


def launched() -> Launch | None:
    """Return what the supervisor of this process has handed to it; None where a person started it."""
    text = os.environ.get(VARIABLE)
    return msgspec.json.decode(text, type=Launch) if text else None


def as_variable(launch: Launch) -> dict[str, str]:
    """Return the environment variable that hands `launch` to a child."""
    return {VARIABLE: msgspec.json.encode(launch).decode()}


def append(path: str, note: Note) -> bool:
    """Add a note. Returns whether it could be: the supervisor may have ended."""
    try:
        with Path(path).open("ab", buffering=0) as file:  # one write, appended: the notes of ranks do not mix
            file.write(msgspec.json.encode(note) + b"\n")
    except OSError:
        return False
    return True


def read(content: bytes) -> list[AnyNote]:
    """Return the notes in `content`, in the order in which they were written."""
    return [msgspec.json.decode(line, type=AnyNote) for line in content.splitlines()]


def answer(descriptor: int, value: object) -> None:
    """Write one value as JSON to a descriptor that the asking process has opened, and close it.

    Standard output is no way to answer: any library may print there.
    """
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(value) + b"\n")


def tell(note: Note, at: tuple[int, int] | None = None) -> bool:
    """Send a note to the supervisor of this process. Returns whether there is one that takes it.

    `at` is how far training is: the epoch, and the steps taken in it.
    """
    launch = launched()
    if launch is None or not launch.notes:
        return False
    rank = launch.first_rank + int(os.environ.get("RANK", "0"))
    sender = {"attempt": launch.attempt, "rank": rank, "at": at, "time_ns": time.monotonic_ns()}
    return append(launch.notes, replace(note, **sender))


def position(epoch: int, step: int) -> str:
    """Return a position in a run in words."""
    return f"epoch {epoch}, step {step}"


def signal_name(number: int) -> str:
    """Return a signal's name, as in SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
