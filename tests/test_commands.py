"""Every command of README.md and docs/*.md is run: here, shortened, or by the test that the table names.

The table has one row for each command. What stands in no row fails. Where a command cannot be run here, the row says
why, and tests/test_site.py lets the program's own parser read it all the same.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

import compare
from ddpbench import __main__ as program
from ddpbench import errors
from ddpbench.study import main as study_main
from ddpbench.study import options, study
from ddpbench.study.draft import Draft
from ddpbench.study.inquiry import Inquiry
from ddpbench.study.runner import Stop
from docs import refresh
from tests import warm
from tests.conftest import PROJECT
from tests.test_docs import functions
from tests.test_site import commands, prose


@dataclass(frozen=True)
class Run:
    """It is run here with these flags added, and ends with this exit code."""

    added: str = ""
    code: int = 0


@dataclass(frozen=True)
class By:
    """This test runs it, perhaps with flags that make it shorter."""

    test: str


@dataclass(frozen=True)
class Not:
    """It cannot be run where the tests run."""

    why: str


PLAN = Run("--plan --dataset synthetic")  # MNIST may have to be downloaded
OWN = Run("--plan --set folder=pictures")  # the task of docs/own-task.md, and pictures for it
OWN_RUN = Run("--set folder=pictures --epochs 1")
TINY = Run("--dataset synthetic --epochs 1")
COLLECTED = Run("--collect-only -q tests/test_front_door.py")
JUDGED = Run("--no-charts")
SHELL = Not("it is the reader's shell that does it, in a folder of the reader's")
BASELINE = By("tests/test_scripts.py::test_baseline_says_what_the_original_experiment_said")
TORCHRUN = By("tests/test_scripts.py::test_ddp_under_plain_torchrun_composes_with_compare")
SUPERVISED = By("tests/faults/test_ranks.py::test_a_run_survives_its_ranks_and_learns_the_same_to_the_bit")
GATE = By("tests/test_user_ci.py::test_the_action_fails_a_commit_that_was_slowed_on_purpose")
STORED = By("tests/test_gate.py::test_a_stored_study_of_this_machine_is_compared_and_one_of_another_is_refused")
STUDY = By("tests/test_launch.py::test_two_arms_train_whole_runs_and_the_answer_ends_it")
RESUMED = By("tests/test_launch.py::test_a_study_that_is_complete_is_judged_again_and_nothing_is_repeated")
INSTALLED = By("tests/setup/test_package.py::test_a_study_works_where_one_stands_and_leaves_nothing_elsewhere")
FINISHED = By("tests/faults/test_disk.py::test_a_run_whose_last_write_fails_is_finished_later_to_the_same_bits")
HOSTS = By("tests/hosts/test_jobs.py::test_nothing_is_lost_by_failures_a_signal_to_another_host_and_another_folder")
SLURM = By("tests/hosts/test_slurm.py::test_a_job_that_loses_its_nodes_saves_and_goes_on_when_it_has_nodes_again")
TORCHX = By("tests/hosts/test_torchx.py::test_torchx_starts_the_hosts_of_a_job_and_each_knows_which_it_is")
SSH = By("tests/hosts/test_ssh.py::test_both_hosts_train_with_one_secret_and_a_signal_lets_both_save")
KUBERNETES = Not("Kubernetes is not where the tests run; tests/hosts/test_manifests.py reads what it is given")
FORETOLD = By("tests/predict/test_predict.py::test_the_answer_fits_a_screen_and_is_kept")
REFRESHED = By("tests/test_docs.py::test_what_the_pages_show_of_commands_is_what_these_print")

TABLE: dict[str, Run | By | Not] = {
    # a study
    "bash launch.sh": STUDY,
    "bash launch.sh --plan": By("tests/test_launch.py::test_a_plan_is_printed_with_commands_to_paste_and_nothing_runs"),
    "bash launch.sh sweep": PLAN,
    "bash launch.sh sweep --batches 64 256 1024": PLAN,
    "bash launch.sh speed": PLAN,
    "bash launch.sh speed --within 1% --minutes 10": PLAN,
    "bash launch.sh --price-per-hour 0.80": PLAN,
    "bash launch.sh --price-per-hour 1.20": PLAN,
    "bash launch.sh --more": PLAN,
    "bash launch.sh --resume": By(
        "tests/test_launch.py::test_a_study_that_is_complete_is_judged_again_and_nothing_is_repeated"
    ),
    "bash launch.sh --model mlp --global-batch 16 --epochs 10": PLAN,
    "bash launch.sh --world-sizes 2 4 --seeds 0 1 2 3 4": PLAN,
    "bash launch.sh --comms shm gloo powersgd": PLAN,
    "bash launch.sh --task language": Run("--plan"),
    "bash launch.sh --task my_task.py": OWN,
    "bash launch.sh --task my_task.py --plan": Run("--set folder=pictures"),
    "bash launch.sh --task my_task.py --set width=64": OWN,
    "bash launch.sh --task my_task.py --set width=64 --set classes=5": OWN,
    "ddpbench --minutes 2": By(
        "tests/setup/test_package.py::test_a_study_works_where_one_stands_and_leaves_nothing_elsewhere"
    ),
    "ddpbench sweep --batches 64 256": PLAN,
    # the other commands of launch.sh
    "bash launch.sh run --ranks 2 --epochs 3": SUPERVISED,
    "bash launch.sh run --ranks 2 --restarts 5": SUPERVISED,
    "bash launch.sh predict --hosts 1 2 4 --bandwidth 1gbit --latency-ms 0.2": FORETOLD,
    "bash launch.sh --layouts 1x2 2x1 2x2": By("tests/hosts/test_study.py::test_layouts_over_two_hosts_take_turns"),
    "bash launch.sh check": By("tests/check/test_check.py::test_it_measures_this_machine_and_leaves_nothing"),
    "bash launch.sh test": COLLECTED,
    "bash launch.sh test -m 'not slow'": COLLECTED,
    "bash launch.sh test -m long": COLLECTED,
    # the judge
    "python compare.py": JUDGED,
    "python compare.py results/STUDY": JUDGED,
    "python compare.py --explain": Run(),
    "python compare.py laptop/ server/": JUDGED,
    "python compare.py OLD NEW --fail-if-slower": JUDGED,
    "bash launch.sh compare": Run("--no-charts results/STUDY"),
    "bash launch.sh compare --explain": Run("results/STUDY"),
    "bash launch.sh compare OLD NEW --fail-if-slower": Run("--no-charts"),
    "python -m pip install PACKAGE": Not("it would change the environment of the tests"),
    "python compare.py --fail-below-speedup 1.2 --fail-if-accuracy-lost 0.3": Run("--no-charts", code=1),
    "ddpbench compare --explain": Run("results/STUDY"),
    # the two training scripts
    "python baseline_train.py": BASELINE,
    "python baseline_train.py --epochs 3": BASELINE,
    "python baseline_train.py --help": By("tests/test_scripts.py::test_the_page_of_help_is_no_failure"),
    "python baseline_train.py --resume": By(
        "tests/faults/test_disk.py::test_a_run_whose_last_write_fails_is_finished_later_to_the_same_bits"
    ),
    "python baseline_train.py --task my_task.py --set width=64": Run(
        "--set folder=pictures --epochs 1 --global-batch 8"
    ),
    "python baseline_train.py --model cnn-small --epochs 2 --label-smoothing 0.2 --target-accuracy 0.99": TINY,
    "torchrun --nproc_per_node=2 ddp_train.py": TORCHRUN,
    "torchrun --nproc_per_node=2 ddp_train.py --epochs 3": TORCHRUN,
    # continuous integration
    "git worktree add ../old 'HEAD^1'": GATE,
    "python ../ddpbench/docs/ci/gate.py --task task.py --base ../old --head . --minutes 6": GATE,
    "python ../ddpbench/docs/ci/gate.py --task task.py --stored bench/stored --head .": STORED,
    # several hosts
    "NNODES=2 NODE_RANK=0 MASTER_ADDR=node1 bash launch.sh run --ranks 2": HOSTS,
    "sbatch docs/hosts/slurm.sh": SLURM,
    "sbatch --nodes=4 docs/hosts/slurm.sh run --ranks 2": SLURM,
    "srun --ntasks-per-node=1 --kill-on-bad-exit=0 bash launch.sh run --ranks 2": SLURM,
    "torchx run --scheduler slurm docs/hosts/component.py:hosts --count 2 -- run --ranks 2": TORCHX,
    "bash docs/hosts/ssh.sh node1 node2 -- run --ranks 2": SSH,
    "kubectl apply -f docs/hosts/jobset.yaml": KUBERNETES,
    "kubectl create secret generic ddpbench '--from-literal=secret=$(head -c 24 /dev/urandom | base64)'": KUBERNETES,
    "export 'DDPBENCH_SECRET=$(head' -c 24 /dev/urandom '|' 'base64)'": SHELL,
    # around it
    "diff baseline_train.py ddp_train.py": REFRESHED,
    "python -m benchmarks.looks": Not("it simulates for minutes and rewrites a file; here it is imported"),
    "python -m tests.faults.soak --faults 500": Not("it breaks 500 runs; here it is imported"),
    "python -m tests.hosts.soak 100": Not("it breaks jobs for an hour; here it is imported"),
    "pip install .": By(
        "tests/setup/test_package.py::test_a_study_works_where_one_stands_and_leaves_nothing_elsewhere"
    ),
    "git clone ADDRESS ddpbench": Not("its address is on another machine"),
    "cd ddpbench": SHELL,
    "mkdir -p results": SHELL,
    "source .venv/bin/activate": SHELL,
}
DOCKER = re.compile(r"docker (build|run) ")  # none of them can be run: Docker is not on every machine that tests
INLINE = re.compile(r"`((?:bash|python|torchrun|docker|ddpbench|diff|pip|git|source) [^`]+)`")
PLACEHOLDER = re.compile(r"FLAGS|\.\.\. ")


AS_IT_STANDS = ("bash launch.sh test", "bash launch.sh compare", "ddpbench compare")
RUNS = {command: row for command, row in TABLE.items() if isinstance(row, Run)}


def shown() -> list[str]:
    """Return every command that README.md or a page of docs/ shows, in a block or within a sentence, each once."""
    inline = [shlex.join(shlex.split(each)) for page in refresh.PAGES for each in INLINE.findall(prose(page))]
    every = dict.fromkeys([*(text for _, text in commands()), *inline])
    return [each for each in every if not PLACEHOLDER.search(each) and not DOCKER.match(each)]


def test_every_command_has_a_row_and_every_row_a_command() -> None:
    assert [command for command in shown() if command not in TABLE] == []
    assert [command for command in TABLE if command not in shown()] == []


def test_the_tests_that_run_the_others_are_there() -> None:
    for path, name in {tuple(row.test.split("::")) for row in TABLE.values() if isinstance(row, By)}:
        assert name in functions(PROJECT / path), (path, name)


def test_what_takes_too_long_is_at_least_there() -> None:
    for command, row in TABLE.items():
        if isinstance(row, Not) and command.startswith(("python -m benchmarks", "python -m tests")):
            assert find_spec(command.split()[2]) is not None, command


@dataclass(frozen=True)
class Place:
    """A folder with all that the commands name, and the process that plans ask about torch."""

    folder: Path
    inquiry: Inquiry

    def words_of(self, command: str) -> list[str]:
        """Return the words of a row, with paths that do not depend on where a program stands."""
        names = {name: str(self.folder / name) for name in ("my_task.py", "OLD", "NEW", "results/STUDY")}
        names["folder=pictures"] = f"folder={self.folder}/pictures"
        return [names.get(word, word) for word in shlex.split(f"{command} {RUNS[command].added}")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("reader")
    page = (PROJECT / "docs/own-task.md").read_text()
    (folder / "my_task.py").write_text(re.findall(r"```python\n(.*?)```", page, re.S)[0])
    for part in ("train", "val"):
        for name in ("cats", "dogs"):
            (folder / "pictures" / part / name).mkdir(parents=True)
            for number in range(64):
                Image.new("RGB", (8, 8)).save(folder / "pictures" / part / name / f"{number}.png")
    for name in ("OLD", "NEW", "laptop", "server", "results/STUDY"):
        shutil.copytree(PROJECT / "docs/example", folder / name, ignore=shutil.ignore_patterns("*.png", "*.html"))
    with Inquiry(Stop()) as inquiry:
        yield Place(folder, inquiry)


@pytest.fixture
def standing(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Stand in the reader's folder. What a command does to the environment ends with the test."""
    monkeypatch.chdir(place.folder)
    monkeypatch.setattr(study_main, "Inquiry", lambda _stop: nullcontext(place.inquiry))
    monkeypatch.setattr(Stop, "listen", lambda _stop: None)
    with mock.patch.dict(os.environ):
        yield place


def begun(place: Place, words: list[str]) -> None:
    """Leave a study behind with which --more can go on."""
    asked = [word for word in words if word not in ("--more", "--plan")]
    study.folder_of(Draft.make(options.read("comparison", asked, {}), place.inquiry))


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each, row in RUNS.items() if "--plan" in f"{each} {row.added}"])
def test_a_study_is_planned(command: str, standing: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """By the program's own main function and a real probe, which all plans share: it takes two seconds to start."""
    words = standing.words_of(command)[2 if command.startswith("bash ") else 1 :]
    if "--more" in words:
        begun(standing, words)
    with mock.patch.object(sys, "argv", ["ddpbench", *words]):
        assert program.main() == RUNS[command].code
    out, err = capsys.readouterr()

    assert "arms that take turns: baseline, 1 thread" in out
    assert not any(line.startswith("launch.sh: ") and "caution" not in line for line in err.splitlines()), err
    if "--more" in words:
        assert "then 10 whole runs" in out, "four more than the six of the study that it goes on with"


@pytest.mark.parametrize("command", [each for each in RUNS if each.startswith("python compare.py")])
def test_a_study_is_judged(command: str, standing: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code = 0
    with mock.patch.object(sys, "argv", standing.words_of(command)[1:]):
        try:
            errors.run(compare.main)
        except SystemExit as end:
            code = int(end.code or 0)
    out, err = capsys.readouterr()

    assert code == RUNS[command].code, err
    assert "ddp 2 x 1, shm" in out


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in RUNS if each.startswith("python baseline_train.py")])
def test_one_run_is_trained(command: str, place: Place, tmp_path: Path) -> None:
    done = warm.run(*place.words_of(command)[1:], "--results", tmp_path, folder=tmp_path)

    assert done.returncode == RUNS[command].code, done.stderr
    assert len([*tmp_path.glob("2*.json")]) == 1


@pytest.mark.parametrize("command", [each for each in RUNS if each.startswith(AS_IT_STANDS)])
def test_the_rest_is_started_as_it_stands(
    command: str, place: Place, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = place.words_of(command)
    if words[0] == "ddpbench":
        words = ["python", "-m", *words]
    done = run_script(*words)

    assert done.returncode == RUNS[command].code, done.stdout + done.stderr
    assert re.search(r"^tests/test_front_door.py::|^A step of ddp 2 x 1, shm takes|^FASTER ", done.stdout, re.M)


def test_every_run_has_its_test() -> None:
    programs = ("bash launch.sh", "ddpbench", "python compare.py", "python baseline_train.py")
    planned = [each for each, row in RUNS.items() if "--plan" in f"{each} {row.added}"]

    assert all(command.startswith(programs) for command in RUNS)
    assert [each for each in planned if not each.startswith(programs[:2])] == []
    others = (*AS_IT_STANDS, *programs[2:])
    assert [each for each in RUNS if each not in planned and not each.startswith(others)] == []
