"""Ranks that die, hang or go wrong: the run goes on from its newest checkpoint, to the bits of a clean one."""

import re
from pathlib import Path

import pytest

from ddpbench import notes
from ddpbench.record import read_record
from tests import warm
from tests.faults.launching import SAVING, SHORT, Clean, ddp, run, supervised

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
MISSED = "did not bring its gradients: its process has ended"
STOPPED = "did not bring its gradients within 3 s: its process is stopped (SIGSTOP)"
KILLED = "was killed by SIGKILL"
FLIPPED = "before epoch 2, step 47 the weights of 1 rank (1) are not those of rank 0"
HUNG = "made no step within --timeout-s"
long = pytest.mark.long


# Each kind once, with the comm and the rank that has most to lose.
@pytest.mark.parametrize(
    ("comm", "fault", "attempts", "said"),
    [
        ("shm", "kill=0@37,corrupt=0@121#1", 3, f"rank 0 at epoch 1, step 37 {KILLED}"),
        ("gloo", "stop=1@100,flip=1@137#1", 3, f"rank 0 at epoch 2, step 7: rank 1 {STOPPED}"),
        pytest.param("shm", "hang=0@100", 2, f"rank 0 at epoch 2, step 7 {HUNG}", marks=long),
        pytest.param("shm", "flip=1@137", 2, FLIPPED, marks=long),
        pytest.param("gloo", "kill=0@37", 2, f"rank 0 at epoch 1, step 37 {KILLED}", marks=long),
        pytest.param("shm", "kill=1@37,kill=1@120*", 3, f"rank 1 at epoch 2, step 27 {KILLED}", marks=long),
        pytest.param("shm", "stop=0@7", 2, f"rank 1 at epoch 1, step 7: rank 0 {STOPPED}", marks=long),
        pytest.param("gloo", "hang=1@100", 2, f"rank 1 at epoch 2, step 7 {HUNG}", marks=long),
        pytest.param("gloo", "hang=0@100,hang=1@100", 2, "in _happen", marks=long),
        pytest.param("shm", "hold=1@150", 2, f"rank 1 at epoch 2, step 57 {HUNG}", marks=long),
        pytest.param(
            "gloo",
            "raise=1@200",
            2,
            "rank 1 at epoch 3, step 14: RuntimeError: a fault that was asked for (fau",
            marks=long,
        ),
        pytest.param("gloo", "raise=0@93,raise=1@93", 2, "RuntimeError: a fault that was asked for (fau", marks=long),
        pytest.param("shm", "abort=0@95", 2, "rank 0 at epoch 2, step 2 was killed by SIGABRT", marks=long),
        pytest.param("gloo", "exit=1@60", 2, f"rank 0 at epoch 1, step 60: rank 1 {MISSED}", marks=long),
        pytest.param("gloo", "flip=0@130", 2, "the weights of 1 rank (1) are not those of rank 0", marks=long),
        pytest.param("gloo", "kill=0@1,kill=1@279#1", 3, KILLED, marks=long),
    ],
)
def test_a_run_survives_its_ranks_and_learns_the_same_to_the_bit(
    comm: str, fault: str, attempts: int, said: str, clean: Clean, tmp_path: Path
) -> None:
    ended = run(ddp(tmp_path, "--comm", comm, "--hook", f"tests/hooks/faults.py:{fault}"), tmp_path)

    assert ended.code == 0, ended.err
    assert said in " ".join(ended.err.split())
    assert (FLIPPED in " ".join(ended.err.split())) == ("flip=" in fault)
    assert ended.weights == clean(comm).weights
    assert ended.learnt == clean(comm).learnt
    assert ended.record.attempts == attempts
    assert not any(tmp_path.glob("*.checkpoint"))


# What torchrun does for ranks alone, the supervisor does for every arm.
@pytest.mark.parametrize(
    ("fault", "attempts", "said"),
    [
        ("kill=0@37,hang=0@100#1", 3, "the process after epoch 1, step 93 made no step within --timeout-s"),
        pytest.param("kill=0@37,corrupt=0@121#1", 3, "after epoch 1, step 30 was killed by SIGKILL", marks=long),
        pytest.param("hold=0@100", 2, "made no step within --timeout-s", marks=long),
        pytest.param("raise=0@93", 2, "RuntimeError: a fault that was asked for", marks=long),
        pytest.param("abort=0@95", 2, "was killed by SIGABRT", marks=long),
        pytest.param("exit=0@60", 2, "it ended without reporting an error", marks=long),
        pytest.param("kill=0@1,kill=0@279#1", 3, "was killed by SIGKILL", marks=long),
    ],
)
def test_a_single_process_survives_as_ranks_do(
    fault: str, attempts: int, said: str, clean: Clean, tmp_path: Path
) -> None:
    ended = run(supervised(tmp_path, "--hook", f"tests/hooks/faults.py:{fault}"), tmp_path)

    assert ended.code == 0, ended.err
    assert said in " ".join(ended.err.split())
    assert (ended.weights, ended.learnt) == (clean("single").weights, clean("single").learnt)
    assert ended.record.attempts == attempts


@pytest.mark.parametrize(
    ("comm", "fault"),
    [
        ("gloo", "kill=1@37"),
        pytest.param("gloo", "kill=1@37,kill=0@120#1", marks=long),
        *(pytest.param("gloo", f"kill={step % 2}@{step}", marks=long) for step in range(20, 200, 19)),
        pytest.param("shm", "kill=1@37,kill=0@120#1", marks=long),
    ],
)
def test_plain_torchrun_starts_killed_ranks_again_and_they_meet_under_keys_of_their_own(
    comm: str, fault: str, clean: Clean, tmp_path: Path
) -> None:
    """torchrun keeps one store over all restarts: without a prefix, ranks find addresses of those that are dead."""
    torchrun = ["torchrun", "--max-restarts=3", "--nproc_per_node=2", f"--log-dir={tmp_path}/logs", "ddp_train.py"]
    flags = [
        *SHORT,
        *SAVING,
        "--comm",
        comm,
        "--hook",
        f"tests/hooks/faults.py:{fault}",
        "--results",
        str(tmp_path / "results"),
    ]
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}  # torch makes it, by default in the temporary folder
    ended = run([*torchrun, "--threads", "1", *flags], tmp_path / "results", **cache)

    assert ended.code == 0, ended.err
    assert "connectFullMesh" not in ended.err
    assert ended.record.attempts == 1 + fault.count("kill")
    assert (ended.weights, ended.learnt) == (clean(comm).weights, clean(comm).learnt)


def test_a_failure_that_repeats_itself_ends_the_run_at_once_with_one_line_at_the_end(tmp_path: Path) -> None:
    ended = run(ddp(tmp_path, "--hook", "tests/hooks/faults.py:raise=1@2*", restarts=9), tmp_path)

    assert ended.code == 4
    assert ended.err.count("Traceback") == 2, "two attempts, and not ten"
    said = "rank 1 at epoch 1, step 2, twice and without progress: RuntimeError: a fault that was asked for (faults.py:"
    assert ended.cause.startswith(f"launch.sh: {said}")
    assert ended.err.count("launch.sh: ") == 1


def test_a_gradient_that_is_no_number_never_reaches_the_weights_of_any_rank(tmp_path: Path) -> None:
    """And is not tried again: it would only be found again. That, the ranks tell their supervisor."""
    results, told = tmp_path / "results", tmp_path / "notes"
    flags = [*SHORT, *SAVING, "--threads", "1", "--comm", "shm", "--hook", "tests/hooks/faults.py:nan=1@100"]
    ranks = warm.start_ranks(2, "ddp_train.py", *flags, "--results", results, folder=tmp_path, told=told)

    assert [rank.wait().returncode for rank in ranks] == [5, 5]
    failures = [note for note in notes.read(told.read_bytes()) if isinstance(note, notes.Failed)]
    assert {(note.why, note.at, note.is_final) for note in failures} == {
        ("a gradient is not a finite number; use a lower --lr", (2, 7), True)
    }
    (path,) = results.glob("*.json")
    assert read_record(path).status == "failed"
    (folder,) = results.glob("*.checkpoint")
    assert [path.name for path in sorted(folder.iterdir())] == ["000002-00000000", "000002-00000007"]


@long
def test_a_rank_that_is_killed_for_good_is_named_with_its_signal(tmp_path: Path) -> None:
    ended = run(ddp(tmp_path, "--hook", "tests/hooks/faults.py:kill=1@37", restarts=0), tmp_path)

    assert ended.code == 4
    assert ended.cause == "launch.sh: rank 1 at epoch 1, step 37 was killed by SIGKILL (often: out of memory)"


@long
def test_a_rank_that_hangs_for_good_is_named_and_its_stack_shown(tmp_path: Path) -> None:
    ended = run(ddp(tmp_path, "--hook", "tests/hooks/faults.py:hold=1@37", restarts=0), tmp_path)

    assert ended.code == 6
    assert "in _happen" in ended.err
    assert "rank 1" in ended.cause


@long
def test_bad_input_that_every_rank_finds_is_one_line_and_no_restart(tmp_path: Path) -> None:
    ended = run(ddp(tmp_path, "--device", "cuda"), tmp_path, CUDA_VISIBLE_DEVICES="")

    assert ended.code == 2
    said = "launch[.]sh: rank [01]: --device cuda: torch sees no CUDA GPU here; use --device cpu\n"
    assert re.fullmatch(said, ended.err), "whichever said it first"
