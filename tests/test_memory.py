"""Processes share memory on kernels and sandboxes that refuse memfds too; it is its owner's alone and has no name."""

import errno
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ddpbench import memory
from ddpbench.errors import UserError
from ddpbench.record import read_record
from tests import warm

MEMFD_CREATE = {"x86_64": (0xC000003E, 319), "aarch64": (0xC00000B7, 279)}  # audit's name of the processor, the call
needs_known_calls = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in MEMFD_CREATE, reason="no filter for this processor"
)
SMALL = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "1", "--global-batch", "256")

# A program that gives itself a seccomp filter as containers have them, and then becomes a script. The filter refuses
# one call with an errno, and all others pass.
REFUSING = """
import ctypes, os, runpy, struct, sys
machine, call, code, *script = sys.argv[1:]
machine, call, code = int(machine), int(call), int(code)
lines = [
    (0x20, 0, 0, 4), (0x15, 0, 3, machine),  # load the processor; of another one, let all pass
    (0x20, 0, 0, 0), (0x15, 0, 1, call),  # load the number of the call
    (0x06, 0, 0, 0x00050000 | code),  # refuse
    (0x06, 0, 0, 0x7FFF0000),  # let pass
]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))
taken = Filter(len(lines), ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(taken), 0, 0):
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
try:
    os.memfd_create("probe")
except OSError as problem:
    assert problem.errno == code
else:
    sys.exit("the filter does nothing")
sys.argv = script
runpy.run_path(script[0], run_name="__main__")
"""


def refuse_with(code: int) -> Callable[..., int]:
    def refused(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    return refused


@pytest.fixture
def without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "memfd_create", refuse_with(errno.EPERM))


@pytest.fixture
def nowhere(without_memfd: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave no folder that takes a file."""
    monkeypatch.setattr(memory, "SHARED_FOLDER", str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "gettempdir", refuse_with(errno.EROFS))


def mode(descriptor: int) -> int:
    return os.fstat(descriptor).st_mode & 0o777


@pytest.mark.parametrize("lacking", ["nothing", "EPERM", "ENOSYS", "EACCES", "EINVAL", "the function", "/dev/shm"])
def test_memory_is_private_and_nameless_whatever_the_machine_lacks(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EACCES is of kernels with vm.memfd_noexec=2."""
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(memory, "SHARED_FOLDER", str(shared))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if lacking in {"the function", "/dev/shm"}:
        monkeypatch.delattr(os, "memfd_create")
    if lacking == "/dev/shm":
        shared.rmdir()
    if lacking.startswith("E"):
        monkeypatch.setattr(os, "memfd_create", refuse_with(getattr(errno, lacking)))
    umask = os.umask(0)
    try:
        descriptor = memory.private("ours")
    finally:
        os.umask(umask)
    memory.reserve(descriptor, 5000)

    assert mode(descriptor) == 0o600
    assert not os.get_inheritable(descriptor)
    assert os.read(descriptor, 6000) == bytes(5000)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    os.close(descriptor)


def test_another_process_of_this_user_opens_it_by_its_path(without_memfd: None) -> None:
    descriptor = memory.private("ours")
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).open('r+b').write(b'seen')"
    subprocess.run([sys.executable, "-c", code, memory.path(descriptor)], check=True)

    assert os.pread(descriptor, 10, 0) == b"seen"
    os.close(descriptor)


def test_where_nothing_gives_memory_one_line_says_what_was_tried(nowhere: None) -> None:
    with pytest.raises(UserError) as problem:
        memory.private("ours")

    assert str(problem.value) == (
        f"no memory to share (memfd_create: Operation not permitted; {memory.SHARED_FOLDER}: No such file or directory;"
        " the temporary folder: Read-only file system); set TMPDIR to a folder that takes files"
    )


def test_a_descriptor_that_cannot_be_made_private_is_not_used_and_not_left_open(
    nowhere: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    monkeypatch.setattr(os, "memfd_create", lambda *_: made)
    monkeypatch.setattr(os, "fchmod", refuse_with(errno.EPERM))
    with pytest.raises(UserError, match="memfd_create: Operation not permitted"):
        memory.private("ours")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made)


@pytest.mark.parametrize("code", sorted(memory.NO_PREALLOCATION))
@pytest.mark.parametrize("num_bytes", [1, 2**20, 2**20 + 1, 3 * 2**20 - 1])
def test_room_is_reserved_by_writing_where_the_file_system_cannot_allocate(
    num_bytes: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse_with(code))
    descriptor = memory.private("ours")
    memory.reserve(descriptor, num_bytes)

    assert os.fstat(descriptor).st_size == num_bytes
    assert os.fstat(descriptor).st_blocks * 512 >= num_bytes, "pages are there, not only promised"
    os.close(descriptor)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM, errno.EIO])
def test_room_that_is_not_there_is_an_error_at_once(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse_with(code))
    descriptor = memory.private("ours")
    with pytest.raises(OSError, match=os.strerror(code)):
        memory.reserve(descriptor, 10)
    os.close(descriptor)


@needs_known_calls
@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "comm"),
    [
        (errno.EPERM, "shm"),
        pytest.param(errno.ENOSYS, "shm", marks=pytest.mark.long),
        pytest.param(errno.EPERM, "gloo", marks=pytest.mark.long),
    ],
)
def test_ranks_share_memory_in_a_sandbox_that_refuses_memfds(code: int, comm: str, tmp_path: Path) -> None:
    program, results = tmp_path / "refusing.py", tmp_path / "results"
    program.write_text(REFUSING)
    refused = (str(number) for number in (*MEMFD_CREATE[platform.machine()], code))
    train = ("ddp_train.py", *SMALL, "--comm", comm, "--results", results)
    ended = [rank.wait() for rank in warm.start_ranks(2, program, *refused, *train, folder=tmp_path)]

    assert [rank.returncode for rank in ended] == [0, 0], [rank.stderr for rank in ended]
    assert not any("Traceback" in rank.stderr for rank in ended)
    (record,) = map(read_record, results.glob("*.json"))
    assert (record.status, record.comm) == ("complete", comm)
