"""Who writes to a folder that several hosts may see: the one that took it last.

A lock is not to be trusted there: on network file systems it may hold on one host alone, or not at all. So a writer
puts a random token into the folder, and reads it again before it replaces a file. Where another writer has come
meanwhile, as after a scheduler has started a job again whose hosts were parted, the earlier one stops. No clock is
read.
"""

import secrets
from pathlib import Path

from ddpbench.errors import DiskError, UnsafeResumeError
from ddpbench.files import write_whole

NAME = ".writer"


class Lease:
    """The right to write to a folder."""

    def __init__(self, folder: Path) -> None:
        """Take it, from whoever has it. Raises DiskError where the folder takes no file."""
        self._path, self._token = folder / NAME, secrets.token_hex(16).encode()
        write_whole(self._path, self._token)

    def require(self) -> None:
        """Raise UnsafeResumeError where another process has taken the folder, DiskError where nobody can tell."""
        try:
            found = self._path.read_bytes()
        except FileNotFoundError:
            found = b""
        except OSError as problem:
            raise DiskError(f"cannot read {self._path}: {problem.strerror}") from problem
        if found != self._token:
            raise UnsafeResumeError(
                f"another job writes to {self._path.parent} now, so this one stops; look which of them is to go on"
            )

    def end(self) -> None:
        """Give it back."""
        self.require()
        self._path.unlink(missing_ok=True)
