"""A process that hangs is ended. One that stood still with everything else is not: that time is not its own.

A small process beside each training process looks at it several times a second. It counts its own looks and no clock:
when a terminal (Ctrl-Z), a container's freezer or a scheduler stops both for an hour, it has looked no more often. Its
silence ends the training process by `HANGS`, whose handler is in C: it shows all stacks while Python waits or another
thread holds the interpreter.
"""

import ctypes
import faulthandler
import mmap
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

HANGS = signal.SIGALRM  # the exit status of a process that was ended says so to its supervisor
LOOK_EVERY_S = 0.25
STOOD_STILL_S = 2.0  # a look that comes so late was stopped: a busy machine delays by less
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
NAME = b"watchdog"  # in lists of processes


class _Shared(ctypes.Structure):
    """What a training process and the one beside it share."""

    _fields_ = (
        ("signs_of_life", ctypes.c_int64),
        ("limit_s", ctypes.c_double),  # 0: nobody is ended
        ("times_still", ctypes.c_int64),
        ("last_still_s", ctypes.c_double),  # monotonic
    )


class Watchdog:
    """The process beside this one. Before `begin` there is none, and nobody is ended."""

    def __init__(self) -> None:
        self._shared = _Shared()
        self._continued = 0

    def begin(self) -> None:
        """Start the process beside this one. Call it before threads exist."""
        faulthandler.enable()
        signal.signal(HANGS, signal.SIG_DFL)
        faulthandler.register(HANGS, all_threads=True, chain=True)  # in C; then the signal ends this process
        signal.signal(signal.SIGCONT, self._note_continued)
        self._shared = _Shared.from_buffer(mmap.mmap(-1, ctypes.sizeof(_Shared)))
        parent = os.getpid()
        if os.fork() == 0:
            self._look_after(parent)

    def alive(self, limit_s: float) -> None:
        """Say that this process goes on. It is ended unless it says so again within `limit_s`; 0: no more."""
        self._shared.limit_s = limit_s
        self._shared.signs_of_life += 1

    @property
    def times_still(self) -> int:
        """How often this process has been stopped for a while, by a signal or a freezer, and gone on."""
        return int(self._shared.times_still) + self._continued

    def stood_still_within(self, seconds: float) -> bool:
        """Whether it has been stopped so recently that a clock may have run out meanwhile."""
        time.sleep(2 * LOOK_EVERY_S)  # the process beside this one may just have gone on, too
        return self.times_still > 0 and time.monotonic() - self._shared.last_still_s < seconds

    def _note_continued(self, _: int, __: FrameType | None) -> None:
        self._continued += 1
        self._shared.last_still_s = time.monotonic()

    def _look_after(self, parent: int) -> None:
        """Be the process beside: look until the parent ends."""
        _become_small()
        shared, seen, silent_s = self._shared, -1, 0.0
        while os.getppid() == parent:
            begin = time.monotonic()
            time.sleep(LOOK_EVERY_S)
            took_s = time.monotonic() - begin
            if took_s > STOOD_STILL_S:  # the parent's own handler tells of a stop by a signal; nothing of a freezer
                shared.times_still += 1
                shared.last_still_s = time.monotonic()
            elif shared.signs_of_life != seen or not shared.limit_s:
                seen, silent_s = shared.signs_of_life, 0.0
            elif not _is_stopped(parent):
                silent_s += took_s
                if silent_s > shared.limit_s:
                    os.kill(parent, HANGS)
                    break
        os._exit(0)


def end_with_parent(how: signal.Signals) -> None:
    """Get a signal when the parent ends, however it ends. Linux only; elsewhere nothing."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(how))
    if os.getppid() != parent:  # it ended before we had asked
        os.kill(os.getpid(), how)


def _become_small() -> None:
    """Hold nothing of the parent's: its pipes close with it. End with it, and heed no signal that is meant for it."""
    end_with_parent(signal.SIGKILL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, NAME)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.closerange(0, 2**16)


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False
