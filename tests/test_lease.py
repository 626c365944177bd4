"""One writer of a folder that several hosts see: the one that came last."""

import os
from pathlib import Path

import pytest

from ddpbench.errors import DiskError, UnsafeResumeError
from ddpbench.lease import NAME, Lease


def test_the_writer_that_came_last_goes_on_and_the_earlier_one_stops(tmp_path: Path) -> None:
    earlier = Lease(tmp_path)
    earlier.require()
    later = Lease(tmp_path)

    with pytest.raises(UnsafeResumeError, match=rf"another job writes to {tmp_path} now, so this one stops"):
        earlier.require()
    with pytest.raises(UnsafeResumeError):
        earlier.end()
    later.require()
    later.end()
    assert not (tmp_path / NAME).exists()


def test_a_folder_whose_token_is_gone_is_not_written_to(tmp_path: Path) -> None:
    """Somebody has emptied the folder, or another file system is mounted there now."""
    lease = Lease(tmp_path)
    (tmp_path / NAME).unlink()

    with pytest.raises(UnsafeResumeError):
        lease.require()


def test_a_folder_that_cannot_be_read_is_a_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(tmp_path)

    def stale(_: Path) -> bytes:
        raise OSError(116, os.strerror(116))

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(DiskError, match=f"cannot read {tmp_path}/{NAME}: Stale file handle"):
        lease.require()
