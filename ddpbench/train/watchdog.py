"""A watchdog: a small process beside each training process that ends it when it hangs.

The watchdog looks several times a second whether the training process has given a sign of life. It counts its looks
and reads no clock. When a terminal (Ctrl-Z), a container's freezer or a scheduler stops both processes for an hour, the
count stands still too, and nobody is ended for it. A process that hangs gets the signal HANGS. The handler of HANGS is
written in C, so it prints all stacks even while Python waits or another thread holds the interpreter.
"""

import ctypes
import faulthandler
import mmap
import os
import signal
import sys
import time
from types import FrameType

from ddpbench import processes
from ddpbench.notes import HANGS, STOPS

LOOK_EVERY_S = 0.25
STOOD_STILL_S = 2.0  # a later look means that the watchdog was stopped: a busy machine delays it by less
PR_SET_NAME = 15
NAME = b"watchdog"  # in lists of processes


class _Shared(ctypes.Structure):
    """Numbers that a training process and its watchdog share."""

    _fields_ = (
        ("signs_of_life", ctypes.c_int64),
        ("limit_s", ctypes.c_double),  # 0: no watch
        ("times_still", ctypes.c_int64),
        ("last_still_s", ctypes.c_double),  # monotonic
    )


class Watchdog:
    """The watchdog of this process. Before `begin` there is none."""

    def __init__(self) -> None:
        self._shared = _Shared()
        self._continued = 0

    def begin(self) -> None:
        """Start the watchdog. Call it before threads exist."""
        faulthandler.enable()
        signal.signal(HANGS, signal.SIG_DFL)
        faulthandler.register(HANGS, all_threads=True, chain=True)  # in C; then the signal ends this process
        signal.signal(signal.SIGCONT, self._note_continued)
        self._shared = _Shared.from_buffer(mmap.mmap(-1, ctypes.sizeof(_Shared)))
        parent = os.getpid()
        if os.fork() == 0:
            self._look_after(parent)

    def alive(self, limit_s: float) -> None:
        """Give a sign of life. Without another one within `limit_s`, this process is ended; 0 ends the watch.

        It costs two stores into memory: cheap enough for every step.
        """
        self._shared.limit_s = limit_s
        self._shared.signs_of_life += 1

    @property
    def times_still(self) -> int:
        """How often this process was stopped for a while, by a signal or a freezer, and went on."""
        return int(self._shared.times_still) + self._continued

    def stood_still_within(self, seconds: float) -> bool:
        """Whether this process was stopped so recently that a time-out may have passed meanwhile."""
        time.sleep(2 * LOOK_EVERY_S)  # the watchdog was stopped too, and may just go on
        return self.times_still > 0 and time.monotonic() - self._shared.last_still_s < seconds

    def _note_continued(self, _: int, __: FrameType | None) -> None:
        self._continued += 1
        self._shared.last_still_s = time.monotonic()

    def _look_after(self, parent: int) -> None:
        """Be the watchdog until the parent ends."""
        _become_small()
        shared, seen, silence_s = self._shared, -1, 0.0
        while os.getppid() == parent:
            begin = time.monotonic()
            time.sleep(LOOK_EVERY_S)
            took_s = time.monotonic() - begin
            if took_s > STOOD_STILL_S:  # a freezer, or a signal to all; of a signal to itself the parent knows
                shared.times_still += 1
                shared.last_still_s = time.monotonic()
            elif shared.signs_of_life != seen or not shared.limit_s:
                seen, silence_s = shared.signs_of_life, 0.0
            elif processes.state(parent) != "stopped":
                silence_s += took_s
                if silence_s > shared.limit_s:
                    os.kill(parent, HANGS)
                    break
        os._exit(0)


def _become_small() -> None:
    """End with the parent, ignore signals that are meant for it, and close its files, so that its pipes end with it."""
    processes.end_with_parent(signal.SIGKILL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, NAME)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, 2**16)
