"""`bash launch.sh check`: what each finding means, by facts of machines that are not there; and one that is."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from ddpbench.check import asking, facts, judging, look, main, report
from ddpbench.check.facts import Cores, Data, Facts, Folder, Gpus, Load, Loopback, Memory, Shared, Space, Torch
from ddpbench.check.report import Report
from ddpbench.errors import UserError
from tests.conftest import PROJECT

GIB = 2**30
LOAD = Load(window_s=2.0, cores=4, busy_cores=0.1, stolen_share=0.0, load_1m=0.2)
MEMORY = Memory(free_bytes=8 * GIB, available_bytes=8 * GIB, total_bytes=16 * GIB)
FINE = Facts(
    python="3.12.1",
    driver=None,
    cores=Cores(usable=4, affinity=4, logical=4, physical=2),
    load=LOAD,
    memory=MEMORY,
    shared_memory=Space(free_bytes=GIB, total_bytes=GIB),
    results=Folder(path="results", free_bytes=9 * GIB, has_locks=True),
    temporary=Folder(path="/tmp", free_bytes=9 * GIB, has_locks=True),
    open_files=1024,
    data=Data(folder="data", missing=[], wrong=[]),
    torch=Torch(version="2.12.0", built_for="CPUs", import_s=2.0),
    gpus=Gpus(models=[]),
    loopback=Loopback(small_s=5e-5, large_s=0.02),
    shm=Shared(small_s=2e-5, large_s=0.01),
)
CUDA = Torch(version="2.12.0", built_for="CUDA 13.0", import_s=2.0)


def test_a_machine_with_nothing_wrong_is_ready() -> None:
    made = report.make(FINE, 5.0)

    assert {finding.level for finding in made.findings} == {"ok"}
    assert (made.verdict, made.exit_code) == ("ready", 0)


@pytest.mark.parametrize(
    ("changed", "name", "level", "words"),
    [
        ({"torch": Torch(problem="No module named 'torch'")}, "torch", "problem", "No module named 'torch'"),
        ({"torch": replace(CUDA, import_s=12.0)}, "torch", "warning", "import 12.0 s"),
        ({"driver": "NVIDIA driver 550.54"}, "GPUs", "problem", "built for CPUs"),
        ({"driver": "NVIDIA driver 550.54", "torch": CUDA}, "GPUs", "problem", "nvidia-smi"),
        ({"gpus": Gpus(models=["T4", "T4"])}, "GPUs", "ok", "2 x T4"),
        ({"gpus": Gpus(models=["K80"], problem="no kernel image")}, "GPUs", "problem", "no kernel image"),
        ({"cores": Cores(usable=1, affinity=1, logical=4, physical=2)}, "cores", "warning", "by affinity"),
        ({"cores": Cores(usable=2, affinity=4, logical=4, physical=2)}, "cores", "ok", "cgroup's quota"),
        ({"load": replace(LOAD, busy_cores=1.0)}, "load", "warning", "others use 1.0 of 4"),
        ({"load": replace(LOAD, busy_cores=2.0)}, "load", "problem", "end other programs"),
        ({"load": replace(LOAD, stolen_share=0.2)}, "load", "problem", "the host took 20.0%"),
        ({"load": replace(LOAD, stolen_share=0.05)}, "load", "warning", "virtual machine's host"),
        ({"load": replace(LOAD, stolen_share=None)}, "load", "ok", "not known"),
        ({"load": None}, "load", "unknown", "not measured"),
        ({"memory": replace(MEMORY, free_bytes=GIB)}, "memory", "warning", "left by the cgroup's limit"),
        ({"memory": replace(MEMORY, free_bytes=GIB // 4)}, "memory", "problem", "256.0 MiB"),
        ({"shared_memory": Space(free_bytes=2**26, total_bytes=2**26)}, "/dev/shm", "warning", "64.0 MiB free"),
        ({"shared_memory": None}, "/dev/shm", "warning", "not there"),
        ({"loopback": Loopback(problem="Network is unreachable")}, "loopback", "problem", "ip link set lo up"),
        ({"loopback": Loopback(small_s=0.01, large_s=0.02)}, "loopback", "warning", "4 KiB in 10 ms"),
        ({"shm": Shared(problem="it needs Linux")}, "shm", "warning", "--comms gloo"),
        ({"shm": Shared(small_s=1e-5, large_s=0.5)}, "shm", "warning", "25 MiB in 500 ms"),
        ({"shm": Shared(small_s=1e-5, large_s=0.01, is_wrong=True)}, "shm", "problem", "wrong"),
        ({"results": Folder(path="r", problem="Read-only file system")}, "results", "problem", "--results DIR"),
        ({"results": replace(FINE.results, has_locks=False)}, "results", "warning", "one at a time"),
        ({"results": replace(FINE.results, free_bytes=2**20)}, "results", "problem", "1.0 MiB free"),
        ({"results": replace(FINE.results, free_bytes=2**28)}, "results", "warning", "256.0 MiB free"),
        ({"temporary": Folder(path="/tmp", problem="No space left")}, "temp", "warning", "TMPDIR"),
        ({"open_files": 128}, "files", "warning", "ulimit"),
        ({"open_files": None}, "files", "ok", "no limit"),
        ({"data": Data(folder="data", missing=["a"], wrong=[])}, "data", "warning", "without a network"),
        ({"data": Data(folder="data", missing=[], wrong=["b"])}, "data", "problem", "b is not the file"),
        ({"torch": None, "shm": None, "gpus": None, "ended": "ended by SIGILL"}, "torch", "problem", "SIGILL"),
        ({"torch": None, "shm": None, "gpus": None, "ended": "ended by SIGILL"}, "shm", "unknown", "not measured"),
        ({"gpus": None, "ended": "no answer within 30 s"}, "GPUs", "problem", "no answer"),
        ({"torch": Torch(problem="x"), "shm": None, "gpus": None}, "shm", "unknown", "torch cannot be imported"),
    ],
)
def test_each_finding_says_what_was_found_and_what_to_do(
    changed: dict[str, Any], name: str, level: str, words: str
) -> None:
    finding = {each.name: each for each in judging.judge(replace(FINE, **changed))}[name]

    assert finding.level == level
    assert words in f"{finding.found}; {finding.cure}"
    assert (finding.cure is not None) == (level in {"warning", "problem"})
    assert len(finding.cure or "") <= report.MOST_COLUMNS - report.LEVEL_WIDTH  # the screen cuts what is longer


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"open_files": 128}, 10),
        ({"load": replace(LOAD, busy_cores=3.0), "open_files": 128}, 20),
        ({"load": replace(LOAD, busy_cores=3.0), "results": Folder(path="r", problem="x")}, 30),
        ({"results": Folder(path="r", problem="x")}, 30),
    ],
)
def test_the_exit_code_says_whether_waiting_helps(changed: dict[str, Any], code: int) -> None:
    assert report.make(replace(FINE, **changed), 5.0).exit_code == code


def test_the_worst_machine_fits_a_screen() -> None:
    worst = replace(
        FINE,
        driver="NVIDIA driver 550.54.15",
        cores=Cores(usable=1, affinity=2, logical=128, physical=64),
        load=replace(LOAD, busy_cores=4.0, stolen_share=0.3, load_1m=99.9),
        memory=replace(MEMORY, free_bytes=2**20),
        shared_memory=None,
        results=Folder(path="/a" * 90, problem="Read-only file system"),
        temporary=Folder(path="/tmp", problem="Read-only file system"),
        open_files=32,
        data=Data(folder="data", missing=[], wrong=["train-images-idx3-ubyte"]),
        torch=replace(CUDA, version="2.12.0a0+git0123456789abcdef", import_s=99.0),
        loopback=Loopback(small_s=1.0, large_s=9.0),
        shm=Shared(small_s=1.0, large_s=9.0),
    )
    screen = [*report.lines(report.make(worst, 9.0))]

    assert len(screen) <= 24
    assert max(map(len, screen)) <= 80
    assert not any(line.startswith("ok") for line in screen)


def test_a_folder_that_takes_no_files_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert look.folder(Path("/proc/results")).problem is not None
    assert look.folder(tmp_path / "later/results").problem is None
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("import os; os.kill(os.getpid(), 4)", "ended by SIGILL"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("raise SystemExit(3)", "ended with exit code 3"),
    ],
)
def test_a_worker_that_tells_nothing_is_known_by_its_end(code: str, ended: str) -> None:
    answers = asking.ask(1, (sys.executable, "-S", "-c", code))

    assert (answers.ended, answers.torch, answers.loopback) == (ended, None, None)


@pytest.mark.parametrize("what", ["pipe", "fork"])
def test_a_worker_that_cannot_be_started_is_a_finding(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    before = len([*Path("/proc/self/fd").iterdir()])
    monkeypatch.setattr(*((os, "pipe") if what == "pipe" else (subprocess, "Popen")), refuse)
    answers = asking.ask(1)
    loopback = next(
        each for each in judging.judge(replace(FINE, loopback=None, ended=answers.ended)) if each.name == "loopback"
    )

    assert (loopback.level, loopback.found) == (
        "problem",
        "no process can be started for it: Resource temporarily unavailable",
    )
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_word_that_is_no_flag_is_refused() -> None:
    with pytest.raises(UserError, match="--jsno; did you mean --json"):
        main.read(["--jsno"])


@pytest.mark.slow
def test_the_check_never_imports_torch_itself() -> None:
    code = "import sys; from ddpbench.check import main; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_it_measures_this_machine_and_leaves_nothing(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = run_script("bash", "launch.sh", "check", "--json", "--results", tmp_path, "--data-dir", tmp_path)
    made = msgspec.json.decode(done.stdout, type=Report)

    assert done.returncode == made.exit_code != 0, done.stderr  # the data is not there
    assert made.facts.data.missing != []
    assert isinstance(made.facts.torch, Torch)
    assert made.facts.torch.problem is None
    for exchange in (made.facts.loopback, made.facts.shm):
        assert isinstance(exchange, facts.Exchange)
        assert exchange.small_s is not None
        assert not exchange.is_wrong
    assert made.facts.results.has_locks
    assert [*tmp_path.iterdir()] == []
