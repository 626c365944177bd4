"""The one way a file of ours reaches the disk: whole, or not at all. And one writer at a time."""

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

import psutil

from ddpbench.errors import UserError

CHECKPOINTS = ".checkpoint"  # how the folder of a run's checkpoints ends, beside its record


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace `path` in one step: a reader sees the old file or the new one, never half.

    Temporary file in the same folder, fsync, rename, fsync of the folder. `mode` is that of open(2), less the umask.
    Raises UserError naming the path when the disk refuses; the old file is then untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as problem:
        raise UserError(f"cannot write {path}: {problem.strerror}") from problem


def require_writable(folder: Path) -> None:
    """Raise UserError, naming `folder`, unless a file can be made in it. Makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise UserError(f"{folder} is not a folder we can write to: {problem.strerror}; choose another") from problem


def claim(folder: Path, *, writer: bool) -> None:
    """Require a writable folder; its `writer` has it alone until this process ends, however it ends.

    A lock on the folder itself: the kernel lets go of it, and there is no file to leave behind. What a writer that was
    killed has left half-written is removed. Raises UserError naming who has it.
    """
    require_writable(folder)
    if not writer:
        return
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)  # stays open, and with it the lock
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = _holder(os.fstat(handle))
        raise UserError(f"{folder} is in use by {who}; wait for it, or choose another --results") from None
    except OSError as problem:  # a file system without locks
        raise UserError(f"{folder} cannot be locked: {problem.strerror}; choose another --results") from problem
    for place in (folder, *folder.glob(f"*{CHECKPOINTS}")):  # no deeper: studies in it may have writers of their own
        for left in place.glob(".*.partial"):
            with contextlib.suppress(OSError):  # a folder of that name, or one we may not change: none of ours
                left.unlink()


def _holder(folder: os.stat_result) -> str:
    """Return who has locked a folder, by the kernel's table of locks (proc(5))."""
    place = f"{os.major(folder.st_dev):02x}:{os.minor(folder.st_dev):02x}:{folder.st_ino}"
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pid = next(int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5] == place)
        command = next((Path(word).name for word in psutil.Process(pid).cmdline() if word.endswith(".py")), "a program")
        return f"{command}, process {pid}"
    except (OSError, StopIteration, ValueError, psutil.Error):
        return "another process"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
