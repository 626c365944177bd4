"""Runs that tests break: how they are started, and what must hold after each, however it ended."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from safetensors.torch import load_file

from ddpbench.record import Record, read_record
from ddpbench.train import checkpoint
from tests.conftest import PROJECT

# 279 steps of a millisecond, on data that needs no download; saved often, so that much can happen between.
SHORT = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "3", "--global-batch", "64")
SAVING = ("--checkpoint-every", "10", "--timeout-s", "3")
SHARED = Path("/dev/shm")  # where shared memory that has a name lies
MARK = "DDPBENCH_TEST"  # in the environment of every process that a test starts, so that none can hide
_started: dict[str, list["subprocess.Popen[str]"]] = {}
Answer = TypeVar("Answer")
ROOT_CAUSE = re.compile(r"^(launch\.sh|ddp_train\.py|baseline_train\.py): ", re.M)


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it left: its record and weights are read at once, the folder may go."""

    code: int
    out: str
    err: str
    results: Path
    found: tuple[Record | None, dict[str, bytes]]

    @classmethod
    def of(cls, code: int, out: str, err: str, results: Path) -> "Ended":
        """Read what the one run in `results` has left."""
        records = [read_record(path) for path in results.glob("*.json")]
        weights = [load_file(path) for path in results.glob("*.safetensors")]
        as_bytes = {name: value.numpy().tobytes() for name, value in weights[0].items()} if weights else {}
        return cls(code, out, err, results, (records[0] if records else None, as_bytes))

    @property
    def cause(self) -> str:
        """The last line on stderr: where a run fails, its root cause."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""

    @property
    def record(self) -> Record:
        """The one record there is."""
        assert self.found[0] is not None, self.err
        return self.found[0]

    @property
    def weights(self) -> dict[str, bytes]:
        """The weights of the one complete run, by name."""
        assert self.found[1], self.err
        return self.found[1]

    @property
    def learnt(self) -> list[tuple[float, list[float], float, list[int]]]:
        """What the run learnt by epoch: losses and accuracy."""
        epochs = self.record.epochs
        return [(each.train_loss, each.loss_curve, each.metric, each.metric_sums) for each in epochs]


Clean = Callable[[str], Ended]


def environment(mark: str, **more: str) -> dict[str, str]:
    """Return the environment of a run: marked, and with nothing of a launcher that may have started the tests."""
    env = {name: value for name, value in os.environ.items() if name not in {"OMP_NUM_THREADS", "DDPBENCH_LAUNCH"}}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    return env | {MARK: mark, "TMPDIR": str(temporary_folder(mark)), **more}


def temporary_folder(mark: str) -> Path:
    """Return the temporary folder of the processes with this mark. Nothing may be left in it."""
    return Path(tempfile.gettempdir()) / f"ddpbench-test-{mark}"


def ddp(results: Path, *flags: str, ranks: int = 2, restarts: int = 3) -> list[str]:
    """Return the command of a DDP run that is supervised as in a study."""
    return supervised(results, *flags, "--ranks", str(ranks), restarts=restarts)


def supervised(results: Path, *flags: str, restarts: int = 3) -> list[str]:
    """Return the command of a supervised run; of a single process unless --ranks is among the flags."""
    run = [sys.executable, "-m", "ddpbench", "run", "--threads", "1", "--restarts", str(restarts)]
    return [*run, *SHORT, *SAVING, "--results", str(results), *flags]


def alone(results: Path, *flags: str) -> list[str]:
    """Return the command of a single process as a person starts it."""
    return [sys.executable, "baseline_train.py", "--threads", "1", *SHORT, *SAVING, "--results", str(results), *flags]


def start(command: list[str], mark: str, **env: str) -> "subprocess.Popen[str]":
    """Start a run in a session of its own, as on a terminal."""
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment(mark, **env), stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    _started.setdefault(mark, []).append(process)
    return process


def run(command: list[str], results: Path, timeout_s: float = 100, **env: str) -> Ended:
    """Run a command to its end, and require that nothing is left behind."""
    with nothing_left(results) as mark:
        process = start(command, mark, **env)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:
            answers(marked(mark), psutil.Process.kill)
            process.communicate()
            raise
        return Ended.of(process.returncode, out, err, results)


def marked(mark: str) -> list[psutil.Process]:
    """Return every living process that has `mark` in its environment. Tests ask often: /proc is read as it is."""
    wanted = f"{MARK}={mark}\0".encode()
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, psutil.Error):  # it has just ended
            if wanted in (folder / "environ").read_bytes():  # a zombie's is empty
                processes.append(psutil.Process(int(folder.name)))
    return processes


def answers(processes: Iterable[psutil.Process], question: Callable[[psutil.Process], Answer]) -> list[Answer]:
    """Ask or tell each of these processes something. One that has ended meanwhile has no answer."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found.append(question(process))
    return found


def training(mark: str, script: str) -> list[psutil.Process]:
    """Return the processes that train, by a script, in the order of their ranks. Their watchdogs are none of them."""
    found = {}
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):  # it may just have ended
            words = process.cmdline()
            if process.name() != "watchdog" and any(word.endswith(script) for word in words[1:4]):
                found[int(process.environ().get("RANK", "0"))] = process
    return [process for _, process in sorted(found.items())]


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def abandoned_segments(but: Iterable[Path] = ()) -> set[Path]:
    """Return shared memory that has a name and that no living process holds: tests that run beside have some of theirs.

    A process holds what it has mapped, or has open.
    """
    new = set(SHARED.iterdir()) - set(but)
    for process in Path("/proc").glob("[0-9]*") if new else ():
        with contextlib.suppress(OSError):  # it has just ended
            maps = (process / "maps").read_text()
            new = {segment for segment in new if f" {segment}\n" not in maps}
            new = {segment for segment in new if not _has_open(process, segment)}
    return new


def _has_open(process: Path, segment: Path) -> bool:
    for file in (process / "fd").iterdir():
        with contextlib.suppress(OSError):  # it has just been closed
            if file.samefile(segment):
                return True
    return False


@contextmanager
def nothing_left(results: Path, within_s: float = 5, *, may_be_damaged: bool = False) -> Iterator[str]:
    """Require that what is started inside, with this mark, leaves no process, segment or half-written file.

    And that the checkpoints it leaves are whole, or the one to go on with. Sockets end with their processes.
    """
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    segments = set(SHARED.iterdir())
    temporary_folder(mark).mkdir()
    try:
        yield mark
        wait_for(lambda: not marked(mark), within_s)
    finally:
        answers(marked(mark), psutil.Process.kill)
        for process in _started.pop(mark, []):
            if process.returncode is None:
                print(*process.communicate())  # of a test that has failed: pytest shows it
    wait_for(lambda: not abandoned_segments(but=segments), within_s)
    temporary_folder(mark).rmdir()  # raises where something is left in it
    for folder in results.glob(f"**/*{checkpoint.SUFFIX}"):
        assert folder.stat().st_mode & 0o777 == 0o700
        for path in checkpoint.generations(folder):
            assert path.stat().st_mode & 0o777 == 0o600
            assert may_be_damaged or checkpoint.is_whole(path)
        checkpoint.newest(folder)  # raises where there is none to go on with


def partial_files(results: Path) -> list[Path]:
    """Return files that a writer left half-written. A killed one may; the next run removes them."""
    return [path for path in results.glob("**/.*") if path.name.endswith(".partial")]
