"""One run, supervised: start it, wait, pass a signal on, read what its processes note, and start it again or not.

Every arm is supervised alike. What an end means, `decide` says; here it is carried out.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from ddpbench import memory, notes
from ddpbench.notes import STOPS, AnyNote, Launch
from ddpbench.study import decide
from ddpbench.study.decide import Attempt, End

LOOK_EVERY_S = 0.5
OWN_VARIABLES = {
    "PYTHONUNBUFFERED": "1",
    "TORCHINDUCTOR_CACHE_DIR": str(Path.cwd()),  # torch makes it, by default in /tmp, though nothing is compiled
}


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """This process was told to stop before any run began."""


class Stop:
    """The signal that told this process to stop, once there is one. Further ones change nothing."""

    def __init__(self) -> None:
        self.asked: int | None = None

    def hear(self) -> None:
        """From now on, note a signal to stop. Those that are ignored, as under nohup, stay so."""
        for number in STOPS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number


class Child(Protocol):
    """A process that was started: what of subprocess.Popen is used."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code. Raises TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""


Spawn = Callable[[Launch], Child]


@dataclass(frozen=True)
class Program:
    """What is started: a command, where its output goes, and what its environment has besides ours."""

    command: list[str]
    log: Path | None = None  # None: our own output
    variables: Mapping[str, str] = field(default_factory=dict)

    def start(
        self, launch: Launch, keep: Sequence[int] = (), stdin: int | IO[bytes] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start it with open descriptors `keep`. It hears of our end, and a terminal's Ctrl-C only from us."""
        output = None if self.log is None else _append(self.log)
        try:
            return subprocess.Popen(
                self.command,
                env={**os.environ, **OWN_VARIABLES, **self.variables, **notes.as_variable(launch)},
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=output if output is None else subprocess.STDOUT,
                pass_fds=keep,
                preexec_fn=_ignore_interrupts,
            )
        finally:
            if output is not None:
                os.close(output)


class Notebook:
    """The memory that takes the notes of a run."""

    def __init__(self) -> None:
        self._descriptor = memory.private("ddpbench-notes")
        self._end = 0
        self._torn = b""
        self.all: list[AnyNote] = []

    @property
    def path(self) -> str:
        """Where children find it."""
        return memory.path(self._descriptor)

    def new(self) -> list[AnyNote]:
        """Return what has been noted since the last call."""
        size = os.fstat(self._descriptor).st_size
        content = self._torn + os.pread(self._descriptor, size - self._end, self._end)
        self._end = size
        whole, newline, self._torn = content.rpartition(b"\n")
        found = notes.read(whole + newline)
        self.all += found
        return found

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._descriptor)


class Onlooker(Protocol):
    """Who wants to know how a run goes on."""

    def began(self, attempt: int) -> None:
        """An attempt has been started."""

    def noted(self, note: AnyNote) -> None:
        """A process of the run has noted something."""

    def passed(self) -> None:
        """Some time has passed."""

    def ended(self, attempt: int, end: End) -> None:
        """An attempt has ended."""


def supervise(
    spawn: Spawn, notebook: Notebook, stop: Stop, onlooker: Onlooker, *, restarts: int, has_ranks: bool
) -> End:
    """Carry a run out, in as many attempts as it takes and may have."""
    failure = None
    for number in range(restarts + 1):
        begun = decide.runs_begun(notebook.all)
        launch = Launch(parent=os.getpid(), attempt=number, notes=notebook.path, begun=begun, failure=failure)
        child = spawn(launch)
        onlooker.began(number)
        code = wait(child, stop, lambda: _look(notebook, onlooker))
        end = decide.after(Attempt(number, notebook.all, code, has_ranks, stop.asked, restarts - number))
        onlooker.ended(number, end)
        failure = end.why
        if end.outcome != "again":
            break
    return end


def wait(child: Child, stop: Stop, look: Callable[[], None] = lambda: None) -> int:
    """Wait for a process; tell it to stop, once, when we are told. Returns its exit code."""
    told = False
    while True:
        if stop.asked is not None and not told:
            child.send_signal(signal.SIGTERM)
            told = True
        try:
            code = child.wait(timeout=LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            look()
            continue
        look()
        return code


def _look(notebook: Notebook, onlooker: Onlooker) -> None:
    for note in notebook.new():
        onlooker.noted(note)
    onlooker.passed()


def _append(log: Path) -> int:
    """Open a log. Where the disk refuses, output is lost and the run goes on."""
    try:
        log.parent.mkdir(exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def _ignore_interrupts() -> None:
    """In the child, before its program: a terminal's Ctrl-C reaches us, and we pass it on once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
