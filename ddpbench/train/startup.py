"""How far this process has come on its way to the first training step. Import it first: it notes that Python is up."""

import os
import time
from pathlib import Path

import psutil

PARTS = ("interpreter", "imports", "data", "rendezvous", "build")  # one after the other; see record.Startup
_reached = {"interpreter": time.monotonic()}


def reached(part: str) -> None:
    """Note that a part of start-up ends now; the first call for a part counts."""
    _reached.setdefault(part, time.monotonic())


def parts_s(*, with_parent: bool) -> dict[str, float]:
    """Return the seconds of each part so far, and first those of the launcher: 0 unless the parent is torchrun."""
    mine = born(os.getpid())
    parts = {"launcher_s": max(0.0, mine - born(os.getppid())) if with_parent else 0.0}
    before = mine
    for part in PARTS:
        now = max(before, _reached.get(part, before))
        parts[f"{part}_s"], before = now - before, now
    return parts


def alive_s(*, with_parent: bool) -> float:
    """Return the seconds since this process began; with its parent, since torchrun began."""
    return time.monotonic() - born(os.getppid() if with_parent else os.getpid())


def born(pid: int) -> float:
    """Return when a process began, on the monotonic clock.

    psutil tells it as a time of day that it derives from the second in which the machine was started: up to a second
    off. Linux counts from the start of the machine (proc_pid_stat(5), starttime), so there we read that.
    """
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return time.monotonic() - (time.time() - float(psutil.Process(pid).create_time()))
    since_boot_s = ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot_s)
