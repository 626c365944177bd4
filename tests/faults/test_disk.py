"""Disks that are full, failing or read-only: one line says so, nothing old is lost, and the run can be finished."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ddpbench.train import checkpoint
from tests import records
from tests.conftest import PROJECT
from tests.faults.launching import Clean, Ended, alone, nothing_left, partial_files, run, start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here: apt-get install strace")
needs_prlimit = pytest.mark.skipif(shutil.which("prlimit") is None, reason="no prlimit here")

# Of the network that these runs train: what is on the disk beside its 5 KB record.
WEIGHTS, CHECKPOINT = 410_000, 1_230_000


@pytest.fixture(name="clean")
def clean_single(clean: Clean) -> Ended:
    """The same run on a good disk."""
    return clean("single")


class Disk:
    """A file system of its own, that can become larger, full or read-only under a run."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def be(self, options: str) -> None:
        """Change what the file system is like: mount options of tmpfs."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True, capture_output=True)

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), (self.place / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "test", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def strace(command: list[str], log: Path, *inject: str) -> list[str]:
    """Return a command that makes system calls of another command fail; which did is in `log`, with paths.

    Only its own, not its children's: one of them is git, and it must not fail in the repository that we are in.
    """
    calls = sorted({each.split(":")[0] for each in inject} | {"fsync"})
    told = [word for each in inject for word in ("-e", f"inject={each}")]
    return ["strace", "-qq", "-y", "-s", "0", "-e", f"trace={','.join(calls)}", *told, "-o", str(log), *command]


def injected(log: Path) -> list[str]:
    """Return what strace has made fail: call and path. So that a fault that never fired proves nothing."""
    found = [line for line in log.read_text().splitlines() if "(INJECTED)" in line]
    return [re.sub(r'^(\w+)\((?:\d+<|")?([^">,)]*).*', r"\1 \2", line) for line in found]


def with_limit(command: list[str], num_bytes: int) -> list[str]:
    """Return a command whose files may not grow beyond so many bytes: a write is cut short, and the next fails."""
    return ["prlimit", f"--fsize={num_bytes}", *command]


def cautions(ended: Ended) -> list[str]:
    return [line for line in ended.err.splitlines() if line.startswith("caution: ")]


def require_refused(ended: Ended, said: str) -> None:
    assert ended.code == 2, ended.err
    assert re.fullmatch(f"baseline_train.py: {said}\n", ended.err), ended.err


def require_final_write_failed(ended: Ended, why: str) -> None:
    """Everything is trained, and what could be saved is there; the last line says what to do."""
    assert ended.code == 4, ended.err
    assert re.fullmatch(
        rf"baseline_train.py: cannot write .*: {why}; all is trained: mend that, and finish with --resume", ended.cause
    ), ended.err
    assert all(f": {why}; training goes on" in line for line in cautions(ended))
    assert "Traceback" not in ended.err
    assert not partial_files(ended.results)
    assert not [*ended.results.glob("*.safetensors")]


def require_finished(resumed: Ended, clean: Ended) -> None:
    assert resumed.code == 0, resumed.err
    assert resumed.weights == clean.weights
    assert resumed.learnt == clean.learnt
    assert (resumed.record.status, resumed.record.attempts) == ("complete", 2)
    assert not partial_files(resumed.results)
    assert not [*resumed.results.glob(f"*{checkpoint.SUFFIX}")]


# Before training.

BAD: dict[str, tuple[Callable[[Disk], None], str]] = {
    "full": (Disk.fill, "cannot write .*json: No space left on device"),
    "no inodes": (
        lambda disk: disk.be("nr_inodes=1"),
        ".* is not a folder we can write to: No space .*; choose another",
    ),
    "read-only": (lambda disk: disk.be("ro"), ".* is not a folder we can write to: Read-only .*; choose another"),
}


@needs_root
@pytest.mark.parametrize(
    "how",
    ["full", pytest.param("no inodes", marks=pytest.mark.long), pytest.param("read-only", marks=pytest.mark.long)],
)
def test_a_disk_that_is_bad_from_the_start_is_refused_before_training(how: str, disk: Disk) -> None:
    spoil, said = BAD[how]
    spoil(disk)
    ended = run(alone(disk.place), disk.place)

    require_refused(ended, said)
    assert ended.out.count("\n") <= 2, "nothing is trained"


# While it trains.


@needs_root
@pytest.mark.long
def test_a_disk_with_room_for_one_checkpoint_and_a_half_loses_nothing_but_the_saving(disk: Disk, clean: Ended) -> None:
    disk.be(f"size={CHECKPOINT * 3 // 2}")
    ended = run(alone(disk.place), disk.place)

    assert ended.code == 0, ended.err
    assert len(cautions(ended)) > 20
    assert all(
        re.fullmatch(
            r"caution: cannot write .*\.checkpoint/\d{6}-\d{8}: No space left on device; "
            r"training goes on, and the checkpoint before stays",
            line,
        )
        for line in cautions(ended)
    ), ended.err
    assert (ended.weights, ended.learnt) == (clean.weights, clean.learnt)
    assert ended.record.attempts == 1
    assert not partial_files(disk.place)


@needs_root
@pytest.mark.parametrize(
    ("bad", "good", "saves"),
    [
        (f"size={CHECKPOINT + WEIGHTS // 2}", "size=64m", True),
        pytest.param(f"size={WEIGHTS // 2}", "size=64m", False, marks=pytest.mark.long),
        pytest.param("nr_inodes=3", "nr_inodes=99", False, marks=pytest.mark.long),
        pytest.param("nr_inodes=4", "nr_inodes=99", True, marks=pytest.mark.long),
    ],
)
def test_a_run_whose_last_write_fails_is_finished_later_to_the_same_bits(
    bad: str, good: str, saves: bool, disk: Disk, clean: Ended
) -> None:
    disk.be(bad)
    failed = run(alone(disk.place), disk.place)
    saved = [path.name for path in disk.place.glob("*.checkpoint/*")]
    (record,) = disk.place.glob("*.json")
    disk.be(good)
    require_final_write_failed(failed, "No space left on device")
    assert bool(saved) == saves, saved
    assert failed.record.status in {"running", "failed"}
    resumed = run(alone(disk.place, "--resume"), disk.place)
    assert f"attempt 2 goes on with {record.stem} " in resumed.err
    require_finished(resumed, clean)


@needs_root
@pytest.mark.long
def test_a_disk_that_becomes_read_only_under_a_run_is_no_loss_either(disk: Disk, tmp_path: Path) -> None:
    """As ext4 does of itself after an error."""
    long = ("--epochs", "20", "--checkpoint-every", "100")
    with nothing_left(disk.place) as mark:
        process = start(alone(disk.place, *long), mark)
        wait_for(lambda: [*disk.place.glob("*.checkpoint/0*")])
        wait_for(lambda: became_read_only(disk, process))
        out, err = process.communicate(timeout=60)
    failed = Ended.of(process.returncode, out, err, disk.place)
    saved = sorted(path.name for path in disk.place.glob("*.checkpoint/*"))
    require_final_write_failed(failed, "Read-only file system")
    assert cautions(failed)
    assert saved
    disk.be("rw")
    resumed = run(alone(disk.place, *long, "--resume"), disk.place)
    clean = run(alone(tmp_path / "clean", *long), tmp_path / "clean")
    require_finished(resumed, clean)
    assert resumed.record.epochs[0].resumed is False, "it went on with what was saved"


def became_read_only(disk: Disk, process: "subprocess.Popen[str]") -> bool:
    """Try, while the run holds still: it is refused where a file is just being written."""
    process.send_signal(signal.SIGSTOP)
    try:
        disk.be("ro")
        return True
    except subprocess.CalledProcessError:
        return False
    finally:
        process.send_signal(signal.SIGCONT)


# System calls that fail, one by one. A record that is written makes two fsyncs, its own and the folder's; a
# checkpoint too. A run of 3 epochs without any within an epoch thus makes 2 + 3 * 4 before its weights.

PER_EPOCH = ("--checkpoint-every", "1000")
BEFORE_WEIGHTS = 2 + 3 * 4


@needs_strace
@pytest.mark.parametrize(
    ("inject", "path", "said"),
    [
        ("fsync:error=EIO:when=3", r"\.checkpoint/\.000001-00000010\.\d+\.partial", "Input/output error"),
        *(
            pytest.param(*values, marks=pytest.mark.long)
            for values in [
                ("fsync:error=EIO:when=4", r"\.checkpoint", "Input/output error"),
                ("fsync:error=EDQUOT:when=3..7", r"\.checkpoint.*", "Disk quota exceeded"),
                ("rename:error=ENOSPC:when=2", r"\.checkpoint/\.000001-00000010\.\d+\.partial", "No space left .*"),
                ("rename:error=EROFS:when=3", r"\.checkpoint/\.000001-00000020\.\d+\.partial", "Read-only file system"),
                ("unlink:error=EIO:when=1..5", r"\.checkpoint/00000\d-000000\d\d", "Input/output error"),
            ]
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_a_caution_and_the_next_one_is_written(
    inject: str, path: str, said: str, clean: Ended, tmp_path: Path
) -> None:
    results, log = tmp_path / "results", tmp_path / "log"
    ended = run(strace(alone(results), log, inject), results)

    assert ended.code == 0, ended.err
    assert injected(log)
    assert all(re.search(f"{path}$", line) for line in injected(log)), injected(log)
    assert cautions(ended)
    assert all(re.search(f": {said}; training goes on, and the checkpoint", line) for line in cautions(ended)), (
        ended.err
    )
    assert (ended.weights, ended.learnt) == (clean.weights, clean.learnt)
    assert not partial_files(results)


@needs_strace
@pytest.mark.long
def test_a_write_that_fails_in_the_middle_of_a_checkpoint_is_a_caution_too(clean: Ended, tmp_path: Path) -> None:
    """Which write it is, of all that the process makes, a first run tells."""
    first, second = tmp_path / "first", tmp_path / "second"
    run(strace(alone(first), tmp_path / "first.log", "write:delay_enter=0:when=9999"), first)
    writes = [line for line in (tmp_path / "first.log").read_text().splitlines() if line.startswith("write(")]
    number = next(at for at, line in enumerate(writes, start=1) if "/.000002-00000077." in line)
    ended = run(strace(alone(second), tmp_path / "log", f"write:error=ENOSPC:when={number}"), second)

    assert ended.code == 0, ended.err
    assert any("/.000002-00000077." in line for line in injected(tmp_path / "log")), injected(tmp_path / "log")
    (line,) = cautions(ended)
    assert "000002-00000077: No space left on device; training goes on" in line
    assert (ended.weights, ended.learnt) == (clean.weights, clean.learnt)


@needs_strace
@pytest.mark.long
@pytest.mark.parametrize(
    ("inject", "code"),
    [
        ("fsync:error=EIO:when=1", 2),  # the record, before training
        (f"fsync:error=EIO:when={BEFORE_WEIGHTS + 1}+", 4),  # the weights
        (f"fsync:error=EIO:when={BEFORE_WEIGHTS + 3}+", 4),  # the record, that all is complete
        ("rename:error=ENOSPC:when=2+", 4),  # all but the first record
    ],
)
def test_what_cannot_be_done_without_ends_the_run_and_resume_finishes_it(
    inject: str, code: int, clean: Ended, tmp_path: Path
) -> None:
    results, log = tmp_path / "results", tmp_path / "log"
    why = "Input/output error" if "EIO" in inject else "No space left on device"
    failed = run(strace(alone(results, *PER_EPOCH), log, inject), results)
    assert injected(log)
    if code == 2:
        require_refused(failed, f"cannot write .*json: {why}")
        assert not [*results.iterdir()]
        return
    assert failed.code == 4, failed.err
    assert failed.cause.endswith(f": {why}; all is trained: mend that, and finish with --resume")
    assert not partial_files(results)
    resumed = run(alone(results, *PER_EPOCH, "--resume"), results)
    require_finished(resumed, clean)


@needs_strace
@pytest.mark.long
@pytest.mark.parametrize(
    "inject",
    [
        *(f"fsync:signal=KILL:when={count}" for count in (1, 2, 3, 4, 5, 6, BEFORE_WEIGHTS + 40)),
        *(f"rename:signal=KILL:when={count}" for count in (1, 2, 3, 11)),
        "unlink:signal=KILL:when=1",
    ],
)
def test_a_run_that_is_killed_while_it_writes_is_finished_to_the_same_bits(
    inject: str, clean: Ended, tmp_path: Path
) -> None:
    """That every generation it leaves is whole, `nothing_left` has seen."""
    results = tmp_path / "results"
    killed = run(strace(alone(results), tmp_path / "log", inject), results)
    had_record, left = bool([*results.glob("*.json")]), partial_files(results)
    resumed = run(alone(results, "--resume"), results)

    assert killed.code in {-signal.SIGKILL, 128 + signal.SIGKILL}, killed.err
    assert bool(left) == (re.search("fsync.*=[135]$|rename", inject) is not None), left
    assert resumed.code == 0, resumed.err
    assert resumed.record.attempts == 1 + had_record
    assert (resumed.weights, resumed.learnt) == (clean.weights, clean.learnt)
    assert not partial_files(results)


# File systems that lack a call. Python reads sitecustomize.py first of all.

LACKING = {
    "fsync": """
import os, stat
of = os.fsync
def fsync(file):
    if stat.S_ISDIR(os.fstat(file).st_mode):
        raise OSError(22, os.strerror(22))
    return of(file)
os.fsync = fsync
""",
    "flock": """
import fcntl, os
def flock(*_):
    raise OSError(37, os.strerror(37))
fcntl.flock = flock
""",
}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("fsync", "cannot flush a folder (Invalid argument): after a power cut, a file written last may be missing"),
        pytest.param(
            "flock", "has no locks (No locks available): nothing keeps a second writer", marks=pytest.mark.long
        ),
    ],
)
def test_a_file_system_that_lacks_a_call_is_one_caution_and_the_same_run(
    call: str, said: str, clean: Ended, tmp_path: Path
) -> None:
    results, site = tmp_path / "results", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(LACKING[call])
    ended = run(alone(results), results, PYTHONPATH=str(site))

    assert ended.code == 0, ended.err
    (line,) = cautions(ended)
    assert line.startswith(f"caution: the file system of {results} {said}")
    assert (ended.weights, ended.learnt) == (clean.weights, clean.learnt)
    assert not partial_files(results)


# Files that may not grow: a write is cut short.


@needs_prlimit
@pytest.mark.parametrize(
    ("limit", "code"),
    [
        (WEIGHTS * 2, 0),
        pytest.param(WEIGHTS // 2, 4, marks=pytest.mark.long),
        pytest.param(1_000, 2, marks=pytest.mark.long),
    ],
)
def test_a_write_that_is_cut_short_is_a_write_that_failed(limit: int, code: int, clean: Ended, tmp_path: Path) -> None:
    ended = run(with_limit(alone(tmp_path), limit), tmp_path)

    assert ended.code == code, ended.err
    if code == 0:
        assert cautions(ended)
        assert all("File too large; training goes on" in line for line in cautions(ended))
        assert (ended.weights, ended.learnt) == (clean.weights, clean.learnt)
    elif code == 2:
        require_refused(ended, "cannot write .*json: File too large")
    else:
        require_final_write_failed(ended, "File too large")
        resumed = run(alone(tmp_path, "--resume"), tmp_path)
        assert "goes on with" in resumed.err
        assert "from its start: there is no checkpoint" in resumed.err
        require_finished(resumed, clean)
    assert not partial_files(tmp_path)


# The judge.


@needs_root
def test_a_judgement_that_finds_no_room_leaves_every_old_file_as_it_was(disk: Disk) -> None:
    records.put(disk.place, *(make(seed=seed) for seed in range(2) for make in (records.make_record, records.ddp)))
    command = [sys.executable, "compare.py", str(disk.place)]
    whole = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert whole.returncode == 0, whole.stderr
    before = {path: path.read_bytes() for path in disk.place.iterdir()}
    disk.fill()
    full = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)

    assert full.returncode == 2
    assert re.fullmatch(rf"compare.py: cannot write {disk.place}/.*: No space left on device\n", full.stderr)
    assert {path: path.read_bytes() for path in disk.place.iterdir() if path.name != "filler"} == before
    assert {"report.html", "summary.json", "comparison.png"} <= {path.name for path in before}
