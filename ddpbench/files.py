"""The one way a file of ours reaches the disk: whole, or not at all."""

import os
import tempfile
from pathlib import Path

from ddpbench.errors import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a reader sees the old file or the new one, never half.

    Temporary file in the same folder, fsync, rename, fsync of the folder.
    Raises UserError naming the path when the disk refuses; the old file is then untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
