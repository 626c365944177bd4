"""Files are written whole or not at all, and by one writer at a time.

Some file systems lack what this needs: SMB, FUSE and shared folders of virtual machines cannot flush a folder, and
Lustre and NFS may come without locks. Training goes on there, and a caution says what is not certain.
"""

import contextlib
import errno
import fcntl
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from ddpbench.errors import DiskError, UserError, one_line

CHECKPOINTS = ".checkpoint"  # how the folder of a run's checkpoints ends, beside its record
# How file systems say that they do not offer a call. A failing disk says EIO, a full one ENOSPC.
NOT_OFFERED = frozenset(
    {
        *(errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK),
        *(errno.EBADF, errno.EACCES, errno.EPERM),
    }
)


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace `path` in one step: a reader sees the old file or the new one, never half.

    Temporary file in the same folder, fsync, rename, fsync of the folder where the file system can do that: it decides
    only whether the new file survives a power cut. `mode` is that of open(2), less the umask.
    Raises DiskError naming the path when the disk refuses; the old file is then untouched.
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
        raise DiskError(f"cannot write {path}: {problem.strerror}") from problem


def require_writable(folder: Path) -> None:
    """Raise DiskError, naming `folder`, unless a file can be made in it. Makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise DiskError(f"{folder} is not a folder we can write to: {problem.strerror}; choose another") from problem


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on a file or a folder. It lasts until it is closed, or until this process ends, however it ends."""

    descriptor: int
    is_held: bool  # False on a file system without locks

    def close(self) -> None:
        """Release the lock."""
        os.close(self.descriptor)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock(path: Path, *, wait: bool) -> Lock:
    """Lock a folder, or a file, which is made where it is missing. The kernel drops the lock of a process that ends.

    Without `wait`, raises UserError, which names the process that has the lock. A file system without locks is a
    caution and no error: the lock only prevents that two runs are started by mistake.
    """
    descriptor = _open_to_lock(path)
    try:
        return Lock(descriptor, is_held=_is_locked(descriptor, path, wait=wait))
    except BaseException:
        os.close(descriptor)
        raise


def claim(folder: Path, *, writer: bool) -> None:
    """Require a writable folder, and lock it, for its `writer` until this process ends. Others need no folder.

    Removes half-written files that a killed writer has left. Without locks they stay: a living writer may be writing
    them. Raises UserError, which names the other process, where the folder is locked.
    """
    if not writer:
        return
    require_writable(folder)
    if not lock(folder, wait=False).is_held:
        return
    for place in (folder, *folder.glob(f"*{CHECKPOINTS}")):  # no deeper: studies in it may have writers of their own
        for left in place.glob(".*.partial"):
            with contextlib.suppress(OSError):  # a folder of that name, or one we may not change: none of ours
                left.unlink()


def _open_to_lock(path: Path) -> int:
    try:
        if path.is_dir():
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(PermissionError):
            # For writing, because NFS locks no other file exclusively.
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)  # another user's, in a folder of several
    except OSError as problem:
        raise DiskError(f"{path} cannot be locked: {problem.strerror}; choose another folder") from problem


def _is_locked(descriptor: int, path: Path, *, wait: bool) -> bool:
    """Lock an open file. Returns False where its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        who = _holder(os.fstat(descriptor))
        raise UserError(f"{path} is in use by {who}; wait for it, or choose another --results") from None
    except OSError as problem:
        if problem.errno not in NOT_OFFERED:
            raise DiskError(f"{path} cannot be locked: {problem.strerror}; choose another folder") from problem
        _caution(
            f"the file system of {path if path.is_dir() else path.parent} has no locks ({problem.strerror}): "
            "nothing keeps a second writer out; let one run at a time write there"
        )
        return False
    return True


def _holder(locked: os.stat_result) -> str:
    """Return who has locked a file or folder, by the kernel's table of locks (proc(5))."""
    place = f"{os.major(locked.st_dev):02x}:{os.minor(locked.st_dev):02x}:{locked.st_ino}"
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pid = next(int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5] == place)
        return f"{_program(psutil.Process(pid).cmdline())}, process {pid}"
    except (OSError, StopIteration, ValueError, psutil.Error):
        return "another process"


def _program(command: list[str]) -> str:
    """Return the name by which a person knows a command: its script's or its module's."""
    for word, following in zip(command, [*command[1:], ""], strict=False):
        if word == "-m" and following:
            return following
        if word.endswith(".py"):
            return Path(word).name
    return "a program"


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as problem:
        if problem.errno not in NOT_OFFERED:
            raise
        shown = folder.parent if folder.suffix == CHECKPOINTS else folder  # it lies in the folder of its record
        _caution(
            f"the file system of {shown} cannot flush a folder ({problem.strerror}): "
            "after a power cut, a file written last may be missing or the one before"
        )


@cache
def _caution(text: str) -> None:
    """Print a caution on stderr. The cache makes it one line for each text in this process."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):  # stderr takes no more: training goes on
        print(f"caution: {one_line(text)}", file=sys.stderr, flush=True)
