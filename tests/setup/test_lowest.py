"""Training and judging work with the lowest versions that pyproject.toml promises, and not only with today's."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ddpbench.record import Record, read_record
from ddpbench.setup import needs
from tests.conftest import PROJECT
from tests.faults.launching import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1800),  # the environment takes gigabytes
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="the lowest versions have no wheels for this Python"),
]
SMALL = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "1")


class Lowest:
    """An environment of its own with the lowest version of every requirement."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "bin"
        self.versions = dict(each.split(">=") for each in needs.required(needs.PROJECT.read_text(), dev=False))
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = [f"{name}=={version}" for name, version in self.versions.items()]
        pip = [self._bin / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", "--prefer-binary"]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def start(self, program: str, *words: str | Path) -> "subprocess.Popen[str]":
        """Start a program of this environment in the project's folder."""
        ours = {name: value for name, value in os.environ.items() if name not in {"OMP_NUM_THREADS", "PYTHONPATH"}}
        env = ours | {"PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"}
        command = [self._bin / program, *words]
        return subprocess.Popen(command, cwd=PROJECT, env=env, stdout=-1, stderr=-1, text=True)

    def run(self, program: str, *words: str | Path) -> str:
        """Run a program, require that it ends well and without a traceback, and return what it says."""
        return ended_well(self.start(program, *words))


def ended_well(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out


@pytest.fixture(scope="module")
def lowest() -> Iterator[Lowest]:
    folder = Path(tempfile.mkdtemp(prefix="ddpbench-lowest-"))  # pytest would keep those of three sessions
    try:
        yield Lowest(folder)
    finally:
        shutil.rmtree(folder)


def records(folder: Path) -> list[Record]:
    return [read_record(path) for path in sorted(folder.glob("*-seed*.json"))]


def rank_of(torchrun: int, rank: int) -> psutil.Process:
    """Return the process of a rank that torchrun has started."""
    ranks = [each for each in psutil.Process(torchrun).children() if "ddp_train.py" in each.cmdline()]
    return next(each for each in ranks if each.environ().get("RANK") == str(rank))


def test_the_environment_has_the_lowest_versions(lowest: Lowest) -> None:
    """Else the tests below prove nothing."""
    listed = json.loads(lowest.run("python", "-m", "pip", "list", "--format=json"))
    there = {each["name"].lower(): needs.numbers(each["version"]) for each in listed}

    for name, version in lowest.versions.items():
        bound = needs.numbers(version)
        assert there[name.lower()][: len(bound)] == bound
        assert not any(there[name.lower()][len(bound) :])


def test_every_arm_trains_and_is_judged(lowest: Lowest, tmp_path: Path) -> None:
    flags = (*SMALL, "--results", tmp_path)
    lowest.run("python", "baseline_train.py", *flags)
    for comm in ("gloo", "shm", "none"):
        lowest.run("torchrun", "--nproc_per_node=2", "ddp_train.py", *flags, "--comm", comm)
    said = lowest.run("python", "compare.py", tmp_path)

    assert {(each.comm, each.status) for each in records(tmp_path)} == {
        (comm, "complete") for comm in (None, "gloo", "shm", "none")
    }
    assert {each.environment.torch.split("+")[0] for each in records(tmp_path)} == {f"{lowest.versions['torch']}.0"}
    assert re.match("(FASTER|SLOWER|NO DIFFERENCE|CANNOT TELL)", said)
    assert {"report.html", "summary.json", "comparison.png"} <= {path.name for path in tmp_path.iterdir()}


def test_ranks_are_restarted_by_torchrun_after_one_is_killed(lowest: Lowest, tmp_path: Path) -> None:
    """With --standalone torchrun takes a port that is free."""
    flags = (*SMALL, "--epochs", "30", "--checkpoint-every", "20", "--results", tmp_path)
    torchrun = lowest.start(
        "torchrun", "--standalone", "--nproc_per_node=2", "--max-restarts=2", "ddp_train.py", *flags
    )
    wait_for(lambda: [*tmp_path.glob("*.checkpoint/0*")] or torchrun.poll() is not None)
    assert torchrun.poll() is None, torchrun.communicate()[1]
    rank_of(torchrun.pid, 1).kill()
    _, err = torchrun.communicate(timeout=300)
    (record,) = records(tmp_path)

    assert torchrun.returncode == 0, err
    assert (record.status, record.attempts, len(record.epochs)) == ("complete", 2, 30)
