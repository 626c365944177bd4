"""The shape of the house: who may import whom, and how large a room may grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT

SCRIPTS = ("baseline_train.py", "ddp_train.py", "compare.py")
SOURCES = sorted([*(PROJECT / "ddpbench").rglob("*.py"), *PROJECT.glob("*.py")])


def imports(path: Path) -> set[str]:
    """Return the modules a file names in import statements, in full."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_only_world_and_the_agent_talk_to_torch_distributed() -> None:
    mention = re.compile(r"import torch\.distributed|from torch\.distributed|from torch import distributed")
    users = {path.name for path in SOURCES if mention.search(path.read_text())}

    assert users == {"world.py", "agent.py"}


def test_few_read_the_environment() -> None:
    """What torchrun and a supervisor hand over; what a study drops, reads and hands on; what set-up asks of pip."""
    readers = {str(path.relative_to(PROJECT)) for path in SOURCES if "os.environ" in path.read_text()}

    assert readers <= {
        "ddpbench/__main__.py",
        "ddpbench/train/agent.py",
        "ddpbench/setup/install.py",
        "ddpbench/show/charts/isolation.py",
        "ddpbench/notes.py",
        "ddpbench/setup/packages.py",
        "ddpbench/train/process.py",
        "ddpbench/study/main.py",
        "ddpbench/study/one.py",
        "ddpbench/study/runner.py",
        "ddpbench/variables.py",
        "ddpbench/setup/venv.py",
        "ddpbench/train/world.py",
    }


def test_the_orchestrator_never_imports_torch_nor_what_makes_it_large() -> None:
    code = (
        "import sys; from ddpbench.study import main, one;"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'matplotlib'} & {*sys.modules}))"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_only_parents_decide_that_a_run_is_started_again() -> None:
    """Children report: no process of a run kills its parent, and only the orchestrator reads notes."""
    assert [path.name for path in SOURCES if "os.getppid(), signal" in path.read_text()] == []
    readers = {path.name for path in SOURCES if re.search(r"\bnotes\.read\(", path.read_text())}
    assert readers == {"runner.py"}


def test_judging_and_the_record_never_import_torch() -> None:
    code = (
        "import sys; from ddpbench import record, config, files, errors; from ddpbench.setup import needs;"
        "from ddpbench.show import outputs, report; from ddpbench.judge import study; from ddpbench.tasks import fetch;"
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_training_and_judging_meet_only_in_the_record() -> None:
    for path in SOURCES:
        judges = bool({"judge", "show"} & {*path.parts}) or path.name == "compare.py"
        theirs = (
            ("ddpbench.train", "ddpbench.comm", "ddpbench.tasks") if judges else ("ddpbench.judge", "ddpbench.show")
        )
        assert not any(name.startswith(theirs) for name in imports(path)), path


def test_the_engine_knows_no_ranks() -> None:
    assert not re.search(
        r"\brank\b(?!s)|\.size\b",
        re.sub(r'""".*?"""', "", (PROJECT / "ddpbench/train/engine.py").read_text(), flags=re.S),
    )


def test_the_window_is_small_enough_to_look_through() -> None:
    lengths = {name: len((PROJECT / name).read_text().splitlines()) for name in ("launch.sh", *SCRIPTS)}

    assert lengths["launch.sh"] <= 45
    assert all(lengths[name] <= 60 for name in SCRIPTS)


def test_the_two_scripts_differ_in_distribution_alone(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """The diff is documentation: every line of it names what is distributed, or the script itself."""
    lines = run_script("diff", "baseline_train.py", "ddp_train.py").stdout.splitlines()
    changed = [line[2:].strip() for line in lines if line[:1] in "<>"]
    about = re.compile(r"world|parallel|ddp|refuse|process\.run|Train |Batches|baseline_train|comm", re.I)

    assert len(changed) <= 24
    assert [line for line in changed if not about.search(line)] == []


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("shellcheck", "launch.sh", ".ci/run"),
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_the_tools_find_nothing(
    command: tuple[str, ...], run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_script(*command)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_help_page_names_every_flag_and_fits_a_screen(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """All but --inject, which is for tests."""
    from dataclasses import fields

    from ddpbench.config import TrainConfig, flag_name
    from ddpbench.study.options import ARM_FLAGS, LISTS

    page = run_script("bash", "launch.sh", "--help").stdout

    assert [
        f.name for f in fields(TrainConfig) if f.name not in {*ARM_FLAGS, "inject"} and flag_name(f.name) not in page
    ] == []
    assert [name for name in LISTS if flag_name(name) not in page or LISTS[name][0] not in page] == []
    assert len(page.splitlines()) <= 44
    assert max(map(len, page.splitlines())) <= 96
