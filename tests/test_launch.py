"""A whole study, by `launch.sh`: what it runs, what it leaves, and what a person sees, in a hostile environment."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddpbench import variables
from ddpbench.arm import arm_of
from ddpbench.environment import usable_cores
from ddpbench.record import Record, read_record
from ddpbench.train.turns import FULL_EVERY
from ddpbench.turns import FIRST_LOOK, Launch, read_launches
from tests import warm
from tests.conftest import ONE_CORE, PROJECT

pytestmark = pytest.mark.slow
SYNTHETIC = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "1")
SHORT = ("--minutes", "0.1")  # three short launches
ANSWERS = {"FASTER", "SLOWER", "NO DIFFERENCE THAT MATTERS", "CANNOT TELL"}
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
    launches: list[Launch]
    records: list[Record]
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """One study by `sh launch.sh`, with everything in its environment that can go wrong."""
    results = tmp_path_factory.mktemp("launched")
    command = ["sh", "launch.sh", *SYNTHETIC, *SHORT, "--world-sizes", "2", "--results", results]
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
    return Launched(done.stdout, done.stderr, folder, read_launches(folder), records, events)


def with_python(chosen: dict[str, str]) -> dict[str, str]:
    """Return an environment in which our Python comes first, and of what a study drops there is only `chosen`."""
    own = dict(os.environ)
    variables.drop(own)
    own.pop("SEEDS", None)
    return own | chosen | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"}


def test_all_arms_take_turns_in_every_launch(launched: Launched) -> None:
    assert [launch.number for launch in launched.launches] == [*range(FIRST_LOOK)], "the budget is over"
    for launch in launched.launches:
        rounds, arms = len(launch.order), len(launch.visits)
        assert rounds >= 1
        assert all(sorted(order) == [*range(arms)] for order in launch.order[::FULL_EVERY]), (
            "these rounds have all arms"
        )
        assert all(len(order) == 2 for order in launch.order if len(order) < arms), "the others have the two in focus"
        assert len(launch.round_s) == len(launch.stolen_s) == rounds
        assert launch.study == launched.folder.name
        assert {visits.turn.arm.comm for visits in launch.visits} == {None, "gloo", "shm", "none", "nothing"}
        for index, visits in enumerate(launch.visits):
            size, taken = visits.turn.arm.world_size, sum(index in order for order in launch.order)
            assert [len(ranks) for ranks in visits.block_s] == [size] * taken


def test_two_arms_train_whole_runs_and_the_answer_ends_it(launched: Launched) -> None:
    arms = {arm_of(record) for record in launched.records}
    plan = json.loads((launched.folder / "plan.json").read_text())

    assert sorted(arm.kind for arm in arms) == ["baseline", "ddp"]
    assert {(arm_of(record), record.seed) for record in launched.records} == {(arm, 3) for arm in arms}
    assert len(launched.records) == len(plan["jobs"]) == 2
    assert {record.study for record in launched.records} == {launched.folder.name}
    assert all(record.status == "complete" for record in launched.records)
    assert launched.out.split("   ")[0].strip() in ANSWERS
    assert launched.out.splitlines()[-1].startswith("took ")
    names = {path.name for path in launched.folder.iterdir()}
    assert {"report.html", "summary.json", "summary.md", "comparison.png"} <= names


def test_a_hostile_environment_changes_nothing_and_is_named(launched: Launched) -> None:
    cores = {record.environment.cores for record in launched.records}

    assert cores == {usable_cores()}
    alone = [v.turn.arm for v in launched.launches[0].visits if v.turn.arm.kind == "baseline"]
    assert {arm.threads_per_rank for arm in alone} >= {1, usable_cores()}
    first, second, *_ = launched.err.splitlines()
    assert first == "launch.sh: ignoring from the environment: OMP_NUM_THREADS OMP_PROC_BIND ONEDNN_VERBOSE"
    assert second == 'launch.sh: SEEDS="3" is read from the environment; --seeds 3 says the same'
    assert "Traceback" not in launched.out + launched.err
    assert all(each.environment.variables == [] for each in (*launched.launches, *launched.records))


def test_a_log_has_one_line_for_each_launch_and_run_and_an_estimate_before_the_first(launched: Launched) -> None:
    lines = [line for line in launched.err.splitlines() if re.match(r"(speed|learning)  ", line)]

    assert re.search(r"^speed: about \d+ s: 5 launches, the fewest, take longer than --minutes$", launched.err, re.M)
    assert re.search(
        r"^learning: then 2 whole runs; their time is estimated after the first launch$", launched.err, re.M
    )
    assert [line.split()[:3] for line in lines] == [
        *(["speed", "launch", str(number)] for number in range(1, FIRST_LOOK + 1)),
        *(["learning", "run", f"{number}/2"] for number in (1, 2)),
    ]
    ratio, left = r"ddp 2 x 1, (shm|gloo)  \d\.\d\dx( \(\d\.\d\d - \d\.\d\d\))?", r"(about|at most) \d+ (s|min) left"
    assert all(re.fullmatch(rf"speed     launch \d    {ratio} +{left}", line) for line in lines[:FIRST_LOOK])
    run = r"learning  run 1/2     (baseline|ddp)\b.*, seed 3 +\d\.\d\d s an epoch +\d\d\.\d\d %"
    assert re.fullmatch(rf"{run} +{left}", lines[FIRST_LOOK])
    assert max(map(len, launched.err.splitlines()[2:])) <= 96
    assert len(launched.err.splitlines()) <= len(lines) + 15
    assert "Accuracy of 0" not in launched.out + launched.err


def test_what_a_run_prints_is_in_its_log_whole_and_not_on_the_screen(launched: Launched) -> None:
    logs = sorted(path.name for path in (launched.folder / "logs").iterdir())

    assert logs[2:] == [f"turns-{number:03}.log" for number in range(FIRST_LOOK)]
    assert re.fullmatch(r"001-baseline-1x\d+-seed3\.log", logs[0])
    text = (launched.folder / "logs" / logs[0]).read_text()
    for printed in (
        "GPUs available: ",
        "Epoch: 1/1: 100% 23/23",
        "Finished Training in ",
        "Accuracy of the total: ",
        "Accuracy of 9: ",
    ):
        assert printed in text


def test_the_events_tell_the_whole_story_and_the_orchestrator_stays_small(launched: Launched) -> None:
    kinds = [event["event"] for event in launched.events]

    assert (kinds[0], kinds[-1]) == ("began", "ended")
    assert kinds.count("launch_began") == kinds.count("launch_ended") == FIRST_LOOK
    assert kinds.count("run_began") == kinds.count("run_ended") == 2
    assert kinds.count("attempt_ended") == FIRST_LOOK + 2
    noted = [event["note"]["what"] for event in launched.events if event["event"] == "note"]
    assert noted.count("complete") == noted.count("begun") == FIRST_LOOK + 2
    assert launched.events[-1]["peak_rss_bytes"] <= 60e6
    since = [event["since_start_s"] for event in launched.events]
    assert since == sorted(since)


def test_a_study_that_is_complete_is_judged_again_and_nothing_is_repeated(
    launched: Launched, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The flags say the same in other words: `--epochs=1`, and the default that is given."""
    words = ["--dataset=synthetic", "--device=cpu", "--model=mlp", "--epochs=1", "--optimizer", "adamw"]
    more = ["--seeds", "3", "--world-sizes", "2", "--results", launched.folder.parent]
    done = run_script("bash", "launch.sh", "--resume", *words, *more)

    assert done.returncode == 0, done.stderr
    assert f"going on with {launched.folder}: 5 launches, 2 runs of 2 complete" in " ".join(done.stderr.split())
    assert [read_record(path) for path in sorted(launched.folder.glob("2*.json"))] == launched.records
    assert read_launches(launched.folder) == launched.launches
    assert done.stdout.split("   ")[0].strip() in ANSWERS


def test_a_plan_is_printed_with_commands_to_paste_and_nothing_runs(
    tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_script("bash", "launch.sh", *SYNTHETIC, "--plan", "--seeds", "0", "--results", tmp_path / "new")
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]

    assert done.returncode == 0, done.stderr
    assert re.search(r"^arms that take turns: baseline, 1 thread \| ", done.stdout, re.M)
    assert re.search(r"^speed: \d+ s to 5 min, until \+- 3 % or the time is over \(--within", done.stdout, re.M)
    assert list((tmp_path / "new").iterdir()) == []
    pasted = run_script("bash", "-c", commands[0])
    assert pasted.returncode == 0, pasted.stderr
    first, ranks, *ddp = shlex.split(next(command for command in commands if command.startswith("torchrun")))
    assert (first, ranks) == ("torchrun", "--nproc_per_node=2")
    assert [rank.wait().returncode for rank in warm.start_ranks(2, *ddp, folder=tmp_path)] == [0, 0]
    assert sorted(read_record(path).kind for path in (tmp_path / "new").glob("2*.json")) == ["baseline", "ddp"]
    assert commands[-1] == f"python compare.py {tmp_path / 'new'}"


@pytest.mark.long
def test_more_adds_launches_and_seeds_and_keeps_what_is_there(
    launched: Launched, tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    shutil.copytree(launched.folder, tmp_path / launched.folder.name)
    done = run_script("bash", "launch.sh", "--more", *SYNTHETIC, *SHORT, "--world-sizes", "2", "--results", tmp_path)
    folder = tmp_path / launched.folder.name

    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    launches = read_launches(folder)
    assert launches[:FIRST_LOOK] == launched.launches
    assert [launch.number for launch in launches] == [*range(len(launches))]
    assert len(launches) > FIRST_LOOK
    records = [read_record(path) for path in sorted(folder.glob("2*.json"))]
    assert records[:2] == launched.records
    assert [(arm_of(record) in map(arm_of, records[:2]), record.seed) for record in records[2:]] == [
        *((True, 4), (True, 4), (True, 5), (True, 5))
    ]
    assert [job["seed"] for job in json.loads((folder / "plan.json").read_text())["jobs"]] == [3, 3, 4, 4, 5, 5]


def test_a_sweep_lets_the_arms_of_every_batch_take_turns(
    tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """On one core, where it has the fewest arms."""
    words = ["--world-sizes", "1", "--batches", "64", "256"]
    done = run_script(*ONE_CORE, "bash", "launch.sh", "sweep", *SYNTHETIC, *SHORT, *words, "--results", tmp_path)

    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    launches = read_launches(folder)
    assert len(launches) == FIRST_LOOK, "two batches predict nothing, so there is nothing to check"
    for launch in launches:
        assert {(v.turn.arm.kind, v.turn.global_batch) for v in launch.visits} == {
            (kind, batch) for kind in ("baseline", "ddp") for batch in (64, 256)
        }
    assert list(folder.glob("2*.json")) == [], "a sweep has no whole runs"
    assert re.search(r"^speed     launch 1    \d of 2 batches known +at most", done.stderr, re.M)
    assert (folder / "sweep.png").exists()


def test_bad_input_is_one_line_before_anything_starts(
    tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_script("bash", "launch.sh", "speed", "--within", "0", "--results", tmp_path / "none")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "launch.sh: --within must be between 0.1% and 100%, as in 3%; got '0'\n"
    assert not (tmp_path / "none").exists()
