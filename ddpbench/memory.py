"""Memory that processes of one user share, with no name that another user could open.

A process makes it with `private` and hands `path` to others. It is a memfd where the kernel offers one, because that
needs no file system. Some sandboxes refuse the call (seccomp), and some kernels lack it; then it is a file that is
unlinked at once. In both cases only processes of this user can open it, and it ends with the last that has it open.
"""

import errno
import os
import tempfile
from collections.abc import Callable

from ddpbench.errors import UserError

SHARED_FOLDER = "/dev/shm"  # a file system in memory, where there is one
NO_PREALLOCATION = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
CHUNK = bytes(2**20)


def private(name: str) -> int:
    """Return an open descriptor of empty memory: mode 0600, closed on exec, no name left behind.

    Tools such as lsof show `name`. Raises UserError, which lists what was tried, where nothing works.
    """
    tried = []
    for place, make in _sources(name).items():
        try:
            return _own(make())
        except OSError as problem:
            tried.append(f"{place}: {problem.strerror or problem}")
    raise UserError(f"no memory to share ({'; '.join(tried)}); set TMPDIR to a folder that takes files")


def path(descriptor: int, pid: int | None = None) -> str:
    """Return the path by which processes of this user open a descriptor of this process, or of process `pid`."""
    return f"/proc/{pid or os.getpid()}/fd/{descriptor}"


def reserve(descriptor: int, num_bytes: int) -> None:
    """Give an empty file `num_bytes` bytes, all zero. Raises OSError where there is no room for them.

    Without this, a lack of room would be a bus error at the first use of a page.
    """
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as problem:
        if problem.errno not in NO_PREALLOCATION:
            raise
        _write_zeros(descriptor, num_bytes)


def _sources(name: str) -> dict[str, Callable[[], int]]:
    """Return the ways to get memory, by the words that name them, the best first."""
    return {
        "memfd_create": lambda: _memfd(name),
        SHARED_FOLDER: lambda: _unlinked(SHARED_FOLDER, name),
        "the temporary folder": lambda: _unlinked(tempfile.gettempdir(), name),
    }


def _memfd(name: str) -> int:
    create = getattr(os, "memfd_create", None)  # a Python built for an older C library lacks it
    if create is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return int(create(name, os.MFD_CLOEXEC))


def _unlinked(folder: str, name: str) -> int:
    with tempfile.TemporaryFile(dir=folder, prefix=f"{name}-", buffering=0) as file:
        return os.dup(file.fileno())  # closed on exec, as every descriptor that Python makes


def _own(descriptor: int) -> int:
    """Remove the permissions of other users, whatever the umask: a new memfd has mode 0777."""
    try:
        os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write_zeros(descriptor: int, num_bytes: int) -> None:
    written = 0
    while written < num_bytes:
        written += os.pwrite(descriptor, CHUNK[: num_bytes - written], written)
