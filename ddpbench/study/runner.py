"""One run, supervised: start it, wait, pass a signal on, read what its processes note, and start it again or not.

Every arm is supervised in the same way. `attempts` decides what the end of an attempt means.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from typing_extensions import Self

from ddpbench import memory, notes
from ddpbench.errors import Preempted
from ddpbench.notes import STOPS, AnyNote, Launch
from ddpbench.study import attempts
from ddpbench.study.attempts import RESUMES, Attempt, End

LOOK_EVERY_S = 0.5
PERSONS_SIGNALS = {signal.SIGINT, signal.SIGHUP}  # Ctrl-C, and the end of a terminal; others come from a scheduler
OWN_VARIABLES = {
    "PYTHONUNBUFFERED": "1",
    # torch makes this folder, by default in /tmp, and leaves it empty where nothing is compiled.
    "TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(Path.cwd())),
}


class Stopped(Exception):  # noqa: N818 - no error
    """A signal told this process to stop before any run began."""


class Stop:
    """The first signal that tells this process to stop. Further signals change nothing."""

    def __init__(self) -> None:
        self.signal: int | None = None  # None: not yet

    def listen(self) -> None:
        """Note signals from now on. A signal that is ignored, as SIGHUP under nohup, stays ignored."""
        for number in STOPS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._note)

    def exit_code(self, code: int) -> int:
        """Return the exit code of a stopped study whose last run ended with `code`.

        It is 75 where a scheduler has stopped the study and the run has saved, otherwise 128 + the signal's number.
        """
        assert self.signal is not None
        is_preempted = code == Preempted.exit_code and self.signal not in PERSONS_SIGNALS
        return code if is_preempted else 128 + self.signal

    def hear(self, number: int) -> None:
        """Note a signal that has come to this process, or to another host of its job."""
        if self.signal is None:
            self.signal = number

    def _note(self, number: int, _: FrameType | None) -> None:
        self.hear(number)


class Child(Protocol):
    """A process that was started: the methods of subprocess.Popen that are used."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code; negative: killed by that signal. Raises TimeoutExpired after so many seconds."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """End it at once."""


Spawn = Callable[[Launch], Child]


@dataclass(frozen=True)
class Program:
    """A program that can be started: a command, the file for its output, and its own environment variables."""

    command: list[str]
    log: Path | None = None  # None: its output goes where ours goes
    variables: Mapping[str, str] = field(default_factory=dict)
    hosts: int | None = None  # of the job, the first ones, on which its ranks are; None: on all

    def start(
        self, launch: Launch, keep: Sequence[int] = (), stdin: int | IO[bytes] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start it with the open descriptors `keep`. It gets no Ctrl-C from the terminal: `wait` passes signals on."""
        output = None if self.log is None else _open_log(self.log)
        try:
            return subprocess.Popen(
                self.command,
                env=self.environment(launch),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=output,
                stderr=output if output is None else subprocess.STDOUT,
                pass_fds=keep,
                preexec_fn=ignore_interrupts,
            )
        finally:
            if output is not None:
                os.close(output)

    def spawn(self) -> Spawn:
        """Return what starts it."""
        return self.start

    def environment(self, launch: Launch) -> dict[str, str]:
        """Return the environment variables of its process."""
        return {**os.environ, **OWN_VARIABLES, **self.variables, **notes.as_variable(launch)}


class Notebook:
    """The memory into which the processes of a run write their notes."""

    def __init__(self) -> None:
        self._descriptor = memory.private("ddpbench-notes")
        self._size_read = 0
        self._partial_line = b""
        self.notes: list[AnyNote] = []  # all that were read so far

    @property
    def path(self) -> str:
        """The path of that memory, for other processes of this user."""
        return memory.path(self._descriptor)

    def read_new(self) -> list[AnyNote]:
        """Return the notes that were written since the last call. A note that is half written comes later."""
        size = os.fstat(self._descriptor).st_size
        content = self._partial_line + os.pread(self._descriptor, size - self._size_read, self._size_read)
        self._size_read = size
        lines, newline, self._partial_line = content.rpartition(b"\n")
        new = notes.read(lines + newline)
        self.notes += new
        return new

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class Observer:
    """Follows a run. This one does nothing."""

    def attempt_began(self, attempt: int) -> None:
        """An attempt has been started; the first is 0."""

    def noted(self, note: AnyNote) -> None:
        """A process of the run has written a note."""

    def waited(self) -> None:
        """Some time has passed, at most LOOK_EVERY_S seconds."""

    def attempt_ended(self, attempt: int, end: End) -> None:
        """An attempt has ended."""


def supervise(
    spawn: Spawn,
    notebook: Notebook,
    stop: Stop,
    observer: Observer,
    *,
    restarts: int,
    has_ranks: bool,
    goes_on: str = RESUMES,
) -> End:
    """Carry a run out, in one attempt and at most `restarts` more. Returns the end of the last attempt.

    `spawn` starts an attempt; `has_ranks`: it starts torchrun's agent, and not a single process. `goes_on`: what the
    user may do after a stop, in words.
    """
    failure = None
    for number in range(restarts + 1):
        begun = attempts.runs_begun(notebook.notes)
        launch = Launch(parent=os.getpid(), attempt=number, notes=notebook.path, begun=begun, failure=failure)
        child = spawn(launch)
        observer.attempt_began(number)
        code = wait(child, stop, lambda: _pass_on_notes(notebook, observer))
        left = restarts - number
        end = attempts.decide(Attempt(number, notebook.notes, code, has_ranks, stop.signal, left, goes_on))
        observer.attempt_ended(number, end)
        failure = end.why
        if end.outcome != "again":
            break
    return end


def wait(child: Child, stop: Stop, look: Callable[[], None] = lambda: None) -> int:
    """Wait for a process, and look every LOOK_EVERY_S seconds. Returns its exit code; negative: killed by that signal.

    After a signal to this process, the child gets SIGTERM, once.
    """
    is_signalled = False
    while True:
        if stop.signal is not None and not is_signalled:
            child.send_signal(signal.SIGTERM)
            is_signalled = True
        try:
            code = child.wait(timeout=LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            look()
            continue
        look()
        return code


def _pass_on_notes(notebook: Notebook, observer: Observer) -> None:
    for note in notebook.read_new():
        observer.noted(note)
    observer.waited()


def _open_log(log: Path) -> int:
    """Open a log to append to it. Where the disk refuses, output is lost and the run goes on."""
    try:
        log.parent.mkdir(exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def lead_output(log: Path | None) -> None:
    """Lead what this process prints into a log, and close its input. None: its output stays as it is."""
    files = [os.open(os.devnull, os.O_RDONLY), *([] if log is None else [_open_log(log)])]
    os.dup2(files[0], 0)
    for descriptor in () if log is None else (1, 2):
        os.dup2(files[-1], descriptor)
    for file in files:
        os.close(file)


def ignore_interrupts() -> None:
    """Let the child ignore Ctrl-C, before its program starts: this process hears it, and sends SIGTERM once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
