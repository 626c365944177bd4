"""A file of ours reaches the disk whole, or not at all, on any file system; one writer at a time where it can lock."""

import errno
import fcntl
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddpbench import files
from ddpbench.errors import DiskError, UserError
from ddpbench.files import claim, lock, require_writable, write_whole
from tests.conftest import PROJECT

NOT_OFFERED = ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EACCES", "EPERM"]


@pytest.fixture(autouse=True)
def _no_caution_yet() -> None:
    files._caution.cache_clear()


def refuse(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, code: str, when: Callable[..., bool]) -> None:
    """Make a call fail with an errno, where `when` says so of its arguments."""
    original = getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, call)


def is_folder(place: int | Path, *_: object) -> bool:
    """Whether a descriptor or a path is of a folder."""
    return stat.S_ISDIR(os.fstat(place).st_mode) if isinstance(place, int) else place.is_dir()


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
    with pytest.raises(DiskError, match=r"cannot write .*file: No space left on device"):
        write_whole(target, b"new")

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("code", NOT_OFFERED)
@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_file_system_that_cannot_flush_a_folder_is_said_once_for_each_and_the_file_is_written(
    call: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As SMB, FUSE and VirtualBox's shared folders do; some cannot even open one."""
    refuse(monkeypatch, os, call, code, is_folder)
    for name in ("a/file", "b/file", "a/file", "a/run.checkpoint/file"):
        write_whole(tmp_path / name, b"new")

    assert (tmp_path / "b" / "file").read_bytes() == b"new"
    assert capsys.readouterr().err == "".join(
        f"caution: the file system of {tmp_path}/{folder} cannot flush a folder ({os.strerror(getattr(errno, code))}): "
        "after a power cut, a file written last may be missing or the one before\n"
        for folder in ("a", "b")
    )


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EDQUOT", "EROFS"])
@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_disk_that_fails_under_a_folder_is_an_error(
    call: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, os, call, code, is_folder)
    with pytest.raises(DiskError, match=rf"cannot write .*file: {os.strerror(getattr(errno, code))}"):
        write_whole(tmp_path / "file", b"new")

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("code", [*NOT_OFFERED, "EIO", "EXDEV", "EBUSY"])
@pytest.mark.parametrize(("module", "call"), [(os, "fsync"), (Path, "replace")], ids=["fsync", "rename"])
def test_a_file_that_cannot_be_flushed_or_renamed_is_an_error_and_leaves_the_old_one(
    module: Any, call: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is certain about a folder cannot make up for the file itself."""
    write_whole(tmp_path / "file", b"old")
    refuse(monkeypatch, module, call, code, lambda *args: not is_folder(args[0]))
    with pytest.raises(DiskError, match=rf"cannot write .*file: {re.escape(os.strerror(getattr(errno, code)))}"):
        write_whole(tmp_path / "file", b"new")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("path", ["n" * 300, "/".join(["n" * 200] * 30)], ids=["a name", "a path"])
def test_a_path_longer_than_the_file_system_allows_is_one_line(path: str, tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"cannot write .*: File name too long"):
        write_whole(tmp_path / path, b"new")
    with pytest.raises(DiskError, match="is not a folder we can write to: File name too long"):
        claim(tmp_path / path, writer=True)

    assert not [*tmp_path.rglob("*.partial")]


def test_a_name_that_has_no_room_for_the_temporary_name_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"cannot write .*: File name too long"):
        write_whole(tmp_path / ("n" * 250), b"new")

    assert not [*tmp_path.iterdir()]


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    (tmp_path / f".file.{os.getpid()}.partial").symlink_to(victim)
    with pytest.raises(DiskError, match=r"cannot write .*file: Too many levels of symbolic links"):
        write_whole(tmp_path / "file", b"new")

    assert victim.read_bytes() == b"theirs"


def test_a_folder_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DiskError, match="file is not a folder we can write to"):
        require_writable(tmp_path / "file")
    with pytest.raises(DiskError, match="is not a folder we can write to"):
        require_writable(tmp_path / "file" / "below")


def test_a_folder_that_is_a_link_to_nowhere_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for folder in (tmp_path / "link", tmp_path / "link" / "below"):
        with pytest.raises(DiskError, match=f"{folder} is not a folder we can write to: File exists; choose another"):
            require_writable(folder)
    assert not (tmp_path / "nowhere").exists()


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


def test_who_does_not_write_needs_no_folder_and_makes_none(tmp_path: Path) -> None:
    """On another host the folder of host 0 may be one that this user cannot make."""
    claim(tmp_path / "of host 0", writer=False)

    assert list(tmp_path.iterdir()) == []


# Locks.

HOLDER = """
import sys
from pathlib import Path
from ddpbench import errors, files
def main():
    with files.lock(Path(sys.argv[1]), wait=len(sys.argv) > 2):
        print("mine", flush=True)
        sys.stdin.read()
errors.run(main)
"""


def holding(script: Path, *args: str | Path) -> "subprocess.Popen[str]":
    """Start a program that holds a lock until its standard input ends."""
    script.write_text(HOLDER)
    command = [sys.executable, script, *args]
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, env=env, stdin=-1, stdout=-1, stderr=-1, text=True)


@pytest.mark.parametrize("kind", ["a folder", "a file", "a file that is not there yet"])
def test_a_lock_names_its_holder_and_ends_with_its_handle(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if kind == "a folder":
        place.mkdir()
    elif kind == "a file":
        place.touch()
    with holding(tmp_path / "holder.py", place) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(UserError) as problem:
            lock(place, wait=False)
        holder.communicate(timeout=30)

    said = f"{place} is in use by holder.py, process {holder.pid}; wait for it, or choose another --results"
    assert str(problem.value) == said
    with lock(place, wait=False) as ours, pytest.raises(UserError, match="is in use by"):
        lock(place, wait=False)
    assert ours.is_held
    lock(place, wait=False).close()


def test_who_waits_for_a_lock_gets_it_when_its_holder_is_killed(tmp_path: Path) -> None:
    with holding(tmp_path / "holder.py", tmp_path / "file") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        waiting = threading.Thread(target=lambda: lock(tmp_path / "file", wait=True).close())
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        holder.kill()
        waiting.join(30)
        assert not waiting.is_alive()


@pytest.mark.parametrize("code", ["ENOLCK", *NOT_OFFERED])
@pytest.mark.parametrize("wait", [True, False])
def test_a_file_system_without_locks_is_said_once_and_gone_on_with(
    wait: bool, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As NFS and Lustre are where they are mounted without locks."""
    refuse(monkeypatch, fcntl, "flock", code, lambda *_: True)
    with lock(tmp_path / "file", wait=wait) as first, lock(tmp_path, wait=wait) as second:
        assert not first.is_held
        assert not second.is_held

    assert capsys.readouterr().err == (
        f"caution: the file system of {tmp_path} has no locks ({os.strerror(getattr(errno, code))}): "
        "nothing keeps a second writer out; let one run at a time write there\n"
    )


def test_who_cannot_lock_a_folder_leaves_half_written_files_to_whoever_may_be_writing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, fcntl, "flock", "ENOLCK", lambda *_: True)
    (tmp_path / ".run.json.1.partial").touch()
    claim(tmp_path, writer=True)

    assert (tmp_path / ".run.json.1.partial").exists()


@pytest.mark.parametrize(("module", "call"), [(fcntl, "flock"), (os, "open")], ids=["flock", "open"])
def test_a_lock_on_a_failing_disk_is_one_line_and_leaves_nothing_open(
    module: Any, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, module, call, "EIO", lambda *_: True)
    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(DiskError, match="file cannot be locked: Input/output error; choose another folder"):
        lock(tmp_path / "file", wait=True)

    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_another_users_lock_file_is_locked_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder of several users: only who made the file may write it."""
    (tmp_path / "file").touch()
    refuse(monkeypatch, os, "open", "EACCES", lambda _, flags, *__: bool(flags & os.O_RDWR))
    with lock(tmp_path / "file", wait=False) as ours:
        assert ours.is_held


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DiskError, match="link cannot be locked: Too many levels of symbolic links"):
        lock(tmp_path / "link", wait=False)

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "-u", "/a/ddp_train.py", "--model", "mlp"], "ddp_train.py"),
        (["python", "-m", "ddpbench", "study", "x.py"], "ddpbench"),
        (["python", "train.py", "-m", "mlp"], "train.py"),
        (["vim", "results"], "a program"),
        (["python", "-m"], "a program"),
        ([], "a program"),
    ],
)
def test_a_holder_is_named_by_its_script_or_its_module(command: list[str], name: str) -> None:
    assert files._program(command) == name
