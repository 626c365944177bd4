"""A whole study, by `launch.sh`: what it runs, what it leaves, and what a person sees, in a hostile environment."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddpbench import variables
from ddpbench.environment import usable_cores
from ddpbench.record import Record, read_record
from tests import warm
from tests.conftest import ONE_CORE, PROJECT

pytestmark = pytest.mark.slow
SYNTHETIC = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "2")
# Each of these, alone, once stopped a study or changed its answer without a word; see docs/faults.md, H1 to H8.
HOSTILE = {
    "ONEDNN_VERBOSE": "1",  # a library prints on standard output
    "OMP_PROC_BIND": "close",  # binds the main thread to one core when torch is imported
    "OMP_NUM_THREADS": "7",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as Jupyter exports it
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "PYTHONSAFEPATH": "1",
    "CDPATH": "/",
    "PYTHONWARNINGS": "error",
}


@dataclass(frozen=True)
class Launched:
    """A study that was launched, and what it left."""

    out: str
    err: str
    folder: Path
    records: list[Record]
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """One study by `sh launch.sh`, with everything in its environment that can go wrong."""
    results = tmp_path_factory.mktemp("launched")
    command = ["sh", "launch.sh", *SYNTHETIC, "--world-sizes", "2", "--target-accuracy", "0.5", "--results", results]
    done = subprocess.run(
        [*map(str, command)],
        cwd=PROJECT,
        env=with_python(HOSTILE | {"SEEDS": "3"}),
        capture_output=True,
        text=True,
        encoding="ascii",
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = results.iterdir()
    records = [read_record(path) for path in sorted(folder.glob("2*.json"))]
    events = [json.loads(line) for line in (folder / "study.jsonl").read_text().splitlines()]
    return Launched(done.stdout, done.stderr, folder, records, events)


def with_python(chosen: dict[str, str]) -> dict[str, str]:
    """Return an environment in which our Python comes first, and of what a study drops there is only `chosen`."""
    own = dict(os.environ)
    variables.drop(own)
    own.pop("SEEDS", None)
    return own | chosen | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"}


def test_every_arm_runs_and_the_comparison_ends_it(launched: Launched) -> None:
    whole = [r for r in launched.records if r.settings.steps is None]

    assert len(whole) == len({(r.kind, r.threads_per_rank, r.comm) for r in whole}) >= 3
    assert {(r.kind, r.settings.global_batch) for r in launched.records if r.settings.steps} == {
        ("baseline", 128),
        ("baseline", 512),
        ("ddp", 512),
    }
    assert {r.seed for r in launched.records} == {3}
    assert {r.study for r in launched.records} == {launched.folder.name}
    assert all(r.status == "complete" for r in launched.records)
    assert "\nVerdict " in launched.out
    assert launched.out.splitlines()[-1].startswith("took ")
    told = json.loads((launched.folder / "summary.json").read_text())
    assert [term["seconds"] is not None for term in told["breakdown"]] == [True] * 8, "the controls are used"
    names = {path.name for path in launched.folder.iterdir()}
    assert {"report.html", "summary.md", "comparison.png", "breakdown.png"} <= names


def test_a_hostile_environment_changes_nothing_and_is_named(launched: Launched) -> None:
    cores = {record.environment.cores for record in launched.records}

    assert cores == {usable_cores()}
    assert {record.threads_per_rank for record in launched.records if record.kind == "baseline"} >= {1, usable_cores()}
    first, second, *_ = launched.err.splitlines()
    assert first == "launch.sh: ignoring from the environment: OMP_NUM_THREADS OMP_PROC_BIND ONEDNN_VERBOSE"
    assert second == 'launch.sh: SEEDS="3" is read from the environment; --seeds 3 says the same'
    assert "Traceback" not in launched.out + launched.err
    assert all(record.environment.variables == [] for record in launched.records)


def test_a_log_has_one_line_a_run_and_an_estimate_before_the_first(launched: Launched) -> None:
    count = len(launched.records)
    lines = [line for line in launched.err.splitlines() if line.startswith("[")]

    assert re.search(rf"^{count} runs, about \d+ (s|min); Ctrl-C is safe", launched.err, re.M)
    assert [line.split("]")[0] for line in lines] == [f"[{number}/{count}" for number in range(1, count + 1)]
    assert re.fullmatch(
        r"\[1/\d\] baseline, 1 thread, seed 3 +\d\.\d\d s an epoch +\d\d\.\d\d% +about \d+ s left", lines[0]
    )
    assert sum("%" in line for line in lines) == sum(
        r.settings.steps is None and r.comm != "none" for r in launched.records
    )
    assert max(map(len, launched.err.splitlines()[2:])) <= 96
    assert len(launched.err.splitlines()) <= count + 12
    assert "Accuracy of 0" not in launched.out + launched.err


def test_what_a_run_prints_is_in_its_log_whole_and_not_on_the_screen(launched: Launched) -> None:
    logs = sorted((launched.folder / "logs").iterdir())

    assert len(logs) == len(launched.records)
    assert logs[0].name == "001-baseline-1x1-seed3.log"
    text = logs[0].read_text()
    for said in (
        "GPUs available: ",
        "Epoch: 1/2: 100% 23/23",
        "Finished Training in ",
        "Accuracy of the total: ",
        "Accuracy of 9: ",
    ):
        assert said in text


def test_the_events_tell_the_whole_story_and_the_orchestrator_stays_small(launched: Launched) -> None:
    kinds = [event["event"] for event in launched.events]
    count = len(launched.records)

    assert (kinds[0], kinds[-1]) == ("began", "ended")
    assert kinds.count("run_began") == kinds.count("run_ended") == kinds.count("attempt_ended") == count
    noted = [event["note"]["what"] for event in launched.events if event["event"] == "note"]
    assert noted.count("complete") == noted.count("begun") == count
    assert launched.events[-1]["peak_rss_bytes"] <= 60e6
    since = [event["since_start_s"] for event in launched.events]
    assert since == sorted(since)


def test_a_study_that_is_complete_is_judged_again_and_no_run_is_repeated(
    launched: Launched, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The flags say the same in other words: `--epochs=2`, and the default that is given."""
    words = ["--dataset=synthetic", "--device=cpu", "--model=mlp", "--epochs=2", "--optimizer", "adamw"]
    more = ["--seeds", "3", "--world-sizes", "2", "--target-accuracy", "0.50"]
    done = run_script("bash", "launch.sh", "--resume", *words, *more, "--results", launched.folder.parent)

    assert done.returncode == 0, done.stderr
    assert f"going on with {launched.folder}: {len(launched.records)} runs of {len(launched.records)}" in done.stderr
    assert [read_record(path) for path in sorted(launched.folder.glob("2*.json"))] == launched.records
    assert "\nVerdict " in done.stdout


def test_a_plan_is_printed_with_commands_to_paste_and_nothing_runs(
    tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_script("bash", "launch.sh", *SYNTHETIC, "--plan", "--seeds", "0", "--results", tmp_path / "new")
    commands = [line.split("#")[0].strip() for line in done.stdout.splitlines() if line.startswith("  ")]

    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d+ runs, about \d+ (s|min)\. By hand, in this order:$", done.stdout, re.M)
    assert list((tmp_path / "new").iterdir()) == []
    pasted = run_script("bash", "-c", commands[0])
    assert pasted.returncode == 0, pasted.stderr
    first, ranks, *ddp = shlex.split(next(command for command in commands if command.startswith("torchrun")))
    assert (first, ranks) == ("torchrun", "--nproc_per_node=2")
    assert [rank.wait().returncode for rank in warm.start_ranks(2, *ddp, folder=tmp_path)] == [0, 0]
    assert sorted(read_record(path).kind for path in (tmp_path / "new").glob("2*.json")) == ["baseline", "ddp"]
    assert commands[-1] == f"python compare.py {tmp_path / 'new'}"


@pytest.mark.long
def test_several_seeds_are_interleaved(
    tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_script("bash", "launch.sh", *SYNTHETIC, "--seeds", "3", "4", "--results", tmp_path)
    records = [read_record(path) for path in sorted(tmp_path.glob("*/2*.json"))]

    assert done.returncode == 0, done.stderr
    half = len(records) // 2
    assert [record.seed for record in records] == [3] * half + [4] * half


def test_a_sweep_runs_every_batch_and_says_where_it_pays(
    tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """On one core, where it has the fewest arms."""
    words = ["--seeds", "0", "--world-sizes", "1", "--batches", "64", "256"]
    done = run_script(*ONE_CORE, "bash", "launch.sh", "sweep", *SYNTHETIC, *words, "--results", tmp_path)

    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    records = [read_record(path) for path in folder.glob("2*.json")]
    assert all(record.settings.steps for record in records)
    assert {record.settings.global_batch for record in records} >= {64, 256}
    told = json.loads((folder / "summary.json").read_text())
    assert told["verdict"] is None
    assert [point["global_batch"] for point in told["sweep"]][:1] == [64]
    assert (folder / "sweep.png").exists()
