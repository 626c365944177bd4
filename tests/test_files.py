"""A file of ours reaches the disk whole, or not at all."""

import os
from pathlib import Path

import pytest

from ddpbench.errors import UserError
from ddpbench.files import claim, require_writable, write_whole


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    write_whole(target, b"old")
    write_whole(target, b"new")

    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    write_whole(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*file: No space left on device"):
        write_whole(target, b"new")

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match="file is not a folder we can write to"):
        require_writable(tmp_path / "file")
    with pytest.raises(UserError, match="is not a folder we can write to"):
        require_writable(tmp_path / "file" / "below")


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")

    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_who_claims_a_folder_leaves_the_files_of_the_studies_in_it_alone(tmp_path: Path) -> None:
    """A study in results/ has a lock of its own, and its writer may be in the middle of a file."""
    ours, checkpoints = tmp_path / ".run.json.1.partial", tmp_path / "run.checkpoint" / ".1.partial"
    theirs = tmp_path / "study" / ".run.json.2.partial"
    for path in (ours, checkpoints, theirs):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    claim(tmp_path, writer=True)

    assert [path.exists() for path in (ours, checkpoints, theirs)] == [False, False, True]
