"""Processes of this machine: whether one lives and since when, its end with its parent, and what a fork becomes."""

import atexit
import ctypes
import os
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil

PR_SET_PDEATHSIG = 1
FOLDER = "DDPBENCH_FORKSERVER"  # the variable that tells a forkserver the temporary folder of its socket


def state(pid: int) -> Literal["running", "stopped", "ended"]:
    """Return what a process does. A zombie has ended; "stopped" is by a signal such as SIGSTOP."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return "ended"
    return "stopped" if fields[0] in "Tt" else "running"


def born(pid: int) -> float:
    """Return when a process began, in seconds on the monotonic clock.

    psutil derives the time of day from the second in which the machine was started, so it is up to a second off. Linux
    counts clock ticks since the machine started (proc_pid_stat(5), starttime).
    """
    fields = _stat(pid)
    if fields is None:
        return time.monotonic() - (time.time() - float(psutil.Process(pid).create_time()))
    since_boot_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot_s)


def end_with_parent(how: signal.Signals) -> None:
    """Ask the kernel to send `how` to this process when its parent ends, however that ends. Linux only."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(how))
    if os.getppid() != parent:  # the parent ended before the kernel was asked
        os.kill(os.getpid(), how)


def ignore(signals: Iterable[signal.Signals]) -> None:
    """Let this process ignore these signals."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def handler_kept(number: signal.Signals) -> Iterator[None]:
    """Put the handler of a signal back that is there now, whatever is set inside."""
    before = signal.getsignal(number)
    try:
        yield
    finally:
        signal.signal(number, before)


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes that this one has started. One that has ended meanwhile is left out."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def remove_folder_at_end() -> None:
    """Let this process, a forkserver, remove the folder of its socket when it ends: its maker may have been killed."""
    owner, folder = os.getpid(), os.environ.get(FOLDER)

    def remove() -> None:
        if folder and os.getpid() == owner:  # and none that it has forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)


def become(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Let this process, which was forked, run a script or `-m MODULE`, with its words, as a new Python would."""
    os.environ.clear()
    os.environ.update(environment)
    # A new Python would write a log line by line. The streams that were forked may hold text of their parent.
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    is_module = words[0] == "-m"
    sys.argv = [*words[is_module:]]
    if is_module:
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third on, the state; None where the process is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
