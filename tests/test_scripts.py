"""The scripts as people run them: what they say, and what they refuse before anything is spawned."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ddpbench.environment import usable_cores
from ddpbench.record import read_record
from tests import warm
from tests.conftest import ONE_CORE, PROJECT, has_gpu

pytestmark = pytest.mark.slow
Run = Callable[..., subprocess.CompletedProcess[str]]
SYNTHETIC = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "2")


def test_baseline_says_what_the_original_experiment_said(tmp_path: Path, run_script: Run) -> None:
    done = run_script("python", "baseline_train.py", *SYNTHETIC, "--results", tmp_path)

    assert done.returncode == 0, done.stderr
    assert "GPUs available: " in done.stdout
    assert re.search(r"^Finished Training in \d+\.\d\d seconds$", done.stdout, re.M)
    assert re.search(r"^Accuracy of the total: \d+\.\d\d%$", done.stdout, re.M)
    assert len(re.findall(r"^Accuracy of \d: \d+\.\d\d% \(\d+/\d+\)$", done.stdout, re.M)) == 10
    lines = done.stderr.splitlines()
    assert len(lines) == 2, "plain lines, no bars, where there is no terminal"
    assert lines[0].startswith("Epoch: 1/2: 100% 23/23 [")


def test_a_terminal_gets_the_original_bar(tmp_path: Path, run_script: Run) -> None:
    command = f"python baseline_train.py {' '.join(SYNTHETIC)} --results {tmp_path}"
    done = run_script("script", "--quiet", "--return", "--command", command, "/dev/null")

    assert done.returncode == 0
    assert re.search(r"Epoch: 1/2: 100%\|█+\| 23/23 \[00:\d\d<00:00, +[\d.]+batch/s, loss=\d\.\d{3}\]", done.stdout)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory, run_script: Run) -> tuple[Path, str]:
    """A baseline and a DDP run as a person starts them, with what torchrun sets. Returns the folder and the output."""
    folder, output = tmp_path_factory.mktemp("by-hand"), ""
    for command in (("python", "baseline_train.py"), ("torchrun", "--nproc_per_node=2", "ddp_train.py")):
        done = run_script(*command, *SYNTHETIC, "--results", folder, env={"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        output += done.stdout
    return folder, output


def test_ddp_under_plain_torchrun_composes_with_compare(by_hand: tuple[Path, str], run_script: Run) -> None:
    folder, output = by_hand
    judged = run_script("python", "compare.py", folder)

    assert output.count("Finished Training") == 2, "the baseline, and one rank"
    assert judged.returncode == 0, judged.stderr
    assert judged.stdout.startswith("CANNOT TELL"), "one run of each"
    assert "2 workers (DDP, shared memory) against one process" in judged.stdout.splitlines()[0]
    ddp = next(read_record(path) for path in folder.glob("*ddp*.json"))
    assert [rank.rank for rank in ddp.ranks] == [0, 1]
    assert min(min(rank.wait_s) for rank in ddp.ranks) == 0
    assert ddp.epochs[0].train_s == max(rank.train_s[0] for rank in ddp.ranks)


def test_threads_are_the_cores_of_a_rank_whatever_torchrun_sets(by_hand: tuple[Path, str]) -> None:
    threads = {record.kind: record.threads_per_rank for record in map(read_record, by_hand[0].glob("2*.json"))}

    assert threads == {"baseline": usable_cores(), "ddp": max(1, usable_cores() // 2)}


TORCHRUN = ("torchrun", "--nproc_per_node")


@pytest.mark.parametrize(
    ("command", "threads"),
    [
        (("python", "baseline_train.py"), 1),
        pytest.param((*TORCHRUN, "2", "ddp_train.py"), 1, marks=pytest.mark.long),
        pytest.param((*TORCHRUN, "2", "ddp_train.py", "--threads", "3"), 3, marks=pytest.mark.long),
    ],
    ids=["alone", "ranks", "told"],
)
def test_threads_are_the_cores_that_the_process_may_use(
    command: tuple[str, ...], threads: int, tmp_path: Path, run_script: Run
) -> None:
    done = run_script(*ONE_CORE, *command, *SYNTHETIC, "--results", tmp_path)
    (record,) = map(read_record, tmp_path.glob("*.json"))

    assert done.returncode == 0, done.stderr
    assert record.threads_per_rank == threads


def test_data_parallel_says_that_it_needs_gpus(tmp_path: Path) -> None:
    done = warm.run("baseline_train.py", *SYNTHETIC, "--data-parallel", "--results", tmp_path, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "with fewer than two it changes nothing but adds overhead" in done.stdout
    (record,) = map(read_record, tmp_path.glob("*.json"))
    assert record.kind == "data_parallel"


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_and_leaves_no_process(tmp_path: Path) -> None:
    plain, compiled = tmp_path / "plain", tmp_path / "compiled"
    for folder, flags in ((plain, []), (compiled, ["--compile"])):
        done = warm.run("baseline_train.py", *SYNTHETIC, *flags, "--results", folder, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    (one,), (other,) = (list(map(read_record, folder.glob("*.json"))) for folder in (plain, compiled))

    assert (one.kind, other.kind) == ("baseline", "compiled")
    assert other.epochs[-1].train_loss == pytest.approx(one.epochs[-1].train_loss, rel=1e-3)


def test_the_control_is_marked_and_offers_no_accuracy(tmp_path: Path) -> None:
    control = ("ddp_train.py", *SYNTHETIC, "--comm", "none", "--results", tmp_path)
    done, other = (rank.wait() for rank in warm.start_ranks(2, *control, folder=tmp_path))

    assert (done.returncode, other.returncode, other.stdout) == (0, 0, ""), done.stderr + other.stderr
    assert "A control: replicas that never communicate." in done.stdout
    assert "Accuracy of" not in done.stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["baseline_train.py", "--model", "vgg"], "--model must be one of cnn, cnn-small, mlp; got 'vgg'"),
        (["baseline_train.py", "--comm", "gloo"], "--comm is for ddp_train.py"),
        (["baseline_train.py", "--lr", "nan"], "--lr must be above 0 and at most 1e+30, got nan"),
        (
            ["baseline_train.py", "--dataset", "synthetic", "--results", "/dev/null/x"],
            "is not a folder we can write to",
        ),
        (["baseline_train.py", "--dataset", "synthetic", "--global-batch", "9999"], "is more than one epoch"),
        (["baseline_train.py", "--data-dir", "/dev/null"], "/dev/null is not a folder we can write to"),
        (["ddp_train.py"], "torchrun did not start this; use: torchrun --nproc_per_node=N ddp_train.py"),
        (["ddp_train.py", "--data-parallel"], "--data-parallel is for baseline_train.py"),
        (["ddp_train.py", "--epochs", "x"], "--epochs: invalid int value: 'x'"),
        (["ddp_train.py", "--timeout-s", "0"], "--timeout-s must be at least 1 and at most 86,400, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_script_refuses_in_one_line(command: list[str], said: str, tmp_path: Path) -> None:
    done = warm.run(*command, folder=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"{command[0]}: ")
    assert said in done.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"RANK": "x", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "1"},
        {"RANK": "2", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "1"},
        {"RANK": "0", "WORLD_SIZE": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "0", "MASTER_PORT": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
    ],
    ids=str,
)
def test_a_stale_environment_is_no_torchrun(env: dict[str, str], tmp_path: Path) -> None:
    done = warm.run("ddp_train.py", "--dataset", "synthetic", folder=tmp_path, env=env)

    assert done.returncode == 2
    assert done.stderr.startswith("ddp_train.py: torchrun did not start this")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        (["--model", "vgg"], {}, "--model must be one of cnn, cnn-small, mlp; got 'vgg'"),
        (["--wat"], {}, "unknown flag --wat"),
        (["--threads", "2"], {}, "--threads is set for each arm of a study"),
        (
            ["--global-batch", "255"],
            {"WORLD_SIZES": "2"},
            "--global-batch 255 does not divide over 2 ranks; use 254 or 256",
        ),
        ([], {"WORLD_SIZES": "two"}, 'WORLD_SIZES="two" must be whole numbers from 1 up'),
        ([], {"SEEDS": "-1"}, 'SEEDS="-1" must be whole numbers from 0 up'),
        ([], {"SEEDS": ""}, 'SEEDS is empty; give whole numbers, like SEEDS="0 1 2"'),
        (["sweep"], {"BATCHES": "0"}, 'BATCHES="0" must be whole numbers from 1 up'),
        pytest.param(
            ["sweep"],
            {"BATCHES": "255", "WORLD_SIZES": "2"},
            "--global-batch 255 does not divide over 2 ranks",
            marks=pytest.mark.long,
        ),
        pytest.param(
            ["sweep"], {"BATCHES": "9000"}, "--global-batch 9000 is more than one epoch", marks=pytest.mark.long
        ),
        (["--steps", "3"], {}, "unknown flag --steps"),
        (["--hook", "nowhere.py:x"], {}, "--hook must name a Python file, as in watch.py or watch.py:WORDS; got"),
        (["swep"], {}, "no command is called 'swep'; there are study, sweep, speed, run, check, predict, test, co"),
        (["--world-sizes", "two"], {}, "--world-sizes two must be whole numbers from 1 up"),
        (["--seeds"], {}, "--seeds: expected at least one argument"),
        (["--epochs", "0"], {}, "--epochs must be at least 1 and at most 999,999, got 0"),
        (["--results", "/dev/null"], {}, "/dev/null is not a folder we can write to"),
        pytest.param(
            ["--data-dir", "/dev/null", "--dataset", "mnist"],
            {},
            "/dev/null is not a folder we can write to",
            marks=pytest.mark.long,
        ),
    ],
    ids=str,
)
def test_launch_refuses_in_one_line_before_it_spawns(
    flags: list[str], env: dict[str, str], said: str, run_script: Run
) -> None:
    before = set((PROJECT / "results").glob("*"))
    verb, rest = (flags[:1], flags[1:]) if flags[0:1] and not flags[0].startswith("-") else ([], flags)
    done = run_script("bash", "launch.sh", *verb, "--dataset", "synthetic", *rest, env=env)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("launch.sh: ")
    assert said in done.stderr
    assert set((PROJECT / "results").glob("*")) == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--comm", "nccl"), "--comm nccl needs a CUDA GPU"), (("--device", "cuda"), "torch sees no CUDA GPU")],
)
def test_cuda_without_a_gpu_is_refused_once_for_all_ranks(flags: tuple[str, str], said: str, tmp_path: Path) -> None:
    if has_gpu():
        pytest.skip("has a CUDA GPU")
    ended = [rank.wait() for rank in warm.start_ranks(2, "ddp_train.py", *SYNTHETIC[:2], *flags, folder=tmp_path)]

    assert [rank.returncode for rank in ended] == [2, 2]
    (line,) = (rank.stderr for rank in ended if rank.stderr)
    assert line.startswith(f"ddp_train.py: {flags[0]}")
    assert line.count("\n") == 1
    assert said in line


def test_a_batch_that_the_ranks_cannot_share_is_refused_once(tmp_path: Path) -> None:
    ended = [rank.wait() for rank in warm.start_ranks(3, "ddp_train.py", *SYNTHETIC, folder=tmp_path)]

    assert [rank.returncode for rank in ended] == [2, 2, 2]
    assert [rank.stderr for rank in ended if rank.stderr] == [
        "ddp_train.py: --global-batch 256 does not divide over 3 ranks; use 255 or 258\n"
    ]


@pytest.mark.parametrize("script", ["baseline_train.py", "ddp_train.py"])
def test_the_page_of_help_is_no_failure(
    script: str, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_script("python", script, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "--accumulate N" in done.stdout
