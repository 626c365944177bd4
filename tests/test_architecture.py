"""The laws of the house, in one table: which room may import which, and what only a few files may do."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT

PACKAGE = PROJECT / "ddpbench"
SCRIPTS = ("baseline_train.py", "ddp_train.py", "compare.py")
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(PROJECT / name for name in SCRIPTS)])
GROUND = "ground"  # the files of ddpbench/ itself


@dataclass(frozen=True)
class Law:
    """What the files of a room may import: of our rooms, beside their own and the ground, and of large libraries."""

    rooms: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()


LARGE = {"torch", "torchvision", "numpy", "scipy", "matplotlib", "jinja2", "safetensors", "tqdm"}
LAWS = {
    GROUND: Law(),
    "setup": Law(),
    "study": Law(rooms=frozenset({"hosts"})),
    "hosts": Law(),
    # On several hosts it is ranks that exchange data, over the line of these hosts.
    "check": Law(rooms=frozenset({"comm", "hosts", "tasks", "train"}), libraries=frozenset({"torch"})),
    "comm": Law(libraries=frozenset({"torch"})),
    "tasks": Law(libraries=frozenset({"torch", "torchvision"})),
    "train": Law(rooms=frozenset({"comm", "tasks", "hosts"}), libraries=frozenset({"torch", "safetensors", "tqdm"})),
    "judge": Law(libraries=frozenset({"scipy", "numpy"})),
    # It has numbers, words and a picture of its own: nothing that a study shows needs it.
    "predict": Law(rooms=frozenset({"judge", "show"}), libraries=frozenset({"numpy", "matplotlib"})),
    "show": Law(rooms=frozenset({"judge"}), libraries=frozenset({"matplotlib", "numpy", "jinja2"})),
    "baseline_train.py": Law(rooms=frozenset({"train", "tasks"}), libraries=frozenset({"torch"})),
    "ddp_train.py": Law(rooms=frozenset({"train", "tasks", "comm"})),
    "compare.py": Law(rooms=frozenset({"judge", "show"})),
    "__main__.py": Law(rooms=frozenset({"study", "check", "predict", "hosts"})),
}
# What only these files do, by a pattern of their text.
FEW = {
    "torch.distributed": (
        r"import torch\.distributed|from torch\.distributed|from torch import distributed",
        # The hooks of fp16, bf16 and powersgd are torch's own; they lie in its package of that name.
        {"train/agent.py", "train/world.py", "train/store.py", "comm/compressed.py", "comm/between.py"},
    ),
    "reading the environment": (
        r"os\.environ|os\.getenv",
        {
            *("__main__.py", "notes.py", "variables.py", "setup/install.py", "setup/packages.py", "setup/venv.py"),
            *("show/charts/isolation.py", "study/main.py", "study/runner.py", "study/several.py", "study/warm.py"),
            *("hosts/joining.py", "processes.py", "train/agent.py", "train/life.py", "train/world.py"),
        },
    ),
    "handling signals": (
        r"signal\.signal\(",
        {
            *("__main__.py", "processes.py", "setup/install.py", "study/runner.py"),
            *("train/agent.py", "train/life.py", "train/watchdog.py"),
        },
    ),
    "replacing a file": (r"\.replace\(path\)|os\.replace|\.rename\(", {"files.py"}),
    "reading the notes of a run": (r"\bnotes\.read\(", {"study/runner.py", "study/notebook.py"}),
    "ending another process": (
        r"os\.kill\((?!os\.getpid)",
        {"comm/peers.py", "processes.py", "train/watchdog.py"},
    ),
}
MOST_SIBLINGS, MOST_PARAMETERS = 8, 7


def name_of(path: Path) -> str:
    """Return a source's path within the package, or the name of a script."""
    return str(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else PROJECT))


def room_of(path: Path) -> str:
    """Return the room of a source. A script, and the table of commands, are rooms of their own."""
    name = name_of(path)
    if name in LAWS:
        return name
    return name.split("/")[0] if "/" in name else GROUND


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file names in import statements, in full, wherever these stand in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> Path | None:
    """Return the file of ours that an imported name stands for, or stands in; None for another's."""
    if name.split(".")[0] != "ddpbench":
        return None
    place = PROJECT.joinpath(*name.split("."))
    for each in (place.with_suffix(".py"), place / "__init__.py", place.parent.with_suffix(".py")):
        if each.is_file():
            return each
    return place.parent / "__init__.py"


def ours(path: Path) -> set[Path]:
    """Return the files of the package that a file imports."""
    return {module for name in imports(path) if (module := module_of(name)) is not None} - {path}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_imports_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    rooms = {room_of(module) for module in ours(path)}
    libraries = {name.split(".")[0] for name in imports(path)} & LARGE

    assert rooms <= {room, GROUND} | LAWS[room].rooms
    assert libraries <= LAWS[room].libraries


def test_every_room_says_what_it_is_for() -> None:
    rooms = {path.parent.name: ast.get_docstring(ast.parse(path.read_text())) for path in PACKAGE.glob("*/__init__.py")}

    assert {*rooms} == {*LAWS} - {GROUND, *SCRIPTS, "__main__.py"}
    assert [room for room, text in rooms.items() if "may import" not in (text or "")] == []
    assert [room for room in rooms if f"{room}/" not in (PACKAGE / "__init__.py").read_text()] == []


def test_no_import_goes_in_a_circle() -> None:
    left = {path: ours(path) for path in SOURCES}
    while free := [path for path, modules in left.items() if not modules & {*left}]:
        for path in free:
            del left[path]

    assert sorted(map(name_of, left)) == []


def test_no_file_needs_many_others_and_no_function_many_values() -> None:
    siblings = {
        name_of(path): sum(room_of(module) == room_of(path) for module in ours(path))
        for path in SOURCES
        if path.name != "__init__.py"
    }
    functions = [
        (name_of(path), node.name, node.args)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    parameters = {
        f"{name}: {function}": len([arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs) if arg.arg != "self"])
        for name, function, a in functions
    }

    assert {name: count for name, count in siblings.items() if count > MOST_SIBLINGS} == {}
    assert {name: count for name, count in parameters.items() if count > MOST_PARAMETERS} == {}


def test_no_global_of_a_module_changes() -> None:
    """No `global` statement, and no global that holds a collection and is named as a variable."""
    changing = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        changing += [f"{name_of(path)}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in tree.body:  # a private name in small letters is one that the module itself changes
            targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            changing += [f"{name_of(path)}: {name}" for name in names if re.match("_[a-z]", name)]

    assert changing == []


@pytest.mark.parametrize("what", FEW)
def test_only_a_few_files_do(what: str) -> None:
    pattern, files = FEW[what]
    found = {name_of(path) for path in SOURCES if re.search(pattern, path.read_text())}

    assert found <= files


def test_the_orchestrator_never_imports_torch_nor_what_makes_it_large() -> None:
    code = (
        "import sys; from ddpbench.study import main;"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'matplotlib'} & {*sys.modules}))"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_no_format_needs_a_newer_python_than_ours() -> None:
    """The option `z` of a format, which drops the minus of a zero, came with 3.11. Neither ruff nor mypy know that."""
    newer = re.compile(r"(.?[<>=^])?[-+ ]?z")
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(), feature_version=(3, 10))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)]
        for node in nodes:
            parts = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
            form = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
            found += [f"{name_of(path)}:{node.lineno}: {form}"] if newer.match(form) else []

    assert found == []


def test_no_process_of_a_run_kills_its_parent() -> None:
    """Only parents decide that a run is started again: their children report."""
    assert [path.name for path in SOURCES if "os.getppid(), signal" in path.read_text()] == []


def test_the_engine_knows_no_ranks() -> None:
    code = re.sub(r'""".*?"""', "", (PACKAGE / "train/engine.py").read_text(), flags=re.S)

    assert not re.search(r"\brank\b(?!s)|\.size\b", code)


def test_the_window_is_small_enough_to_look_through() -> None:
    lengths = {name: len((PROJECT / name).read_text().splitlines()) for name in ("launch.sh", *SCRIPTS)}

    assert lengths["launch.sh"] <= 45
    assert all(lengths[name] <= 60 for name in SCRIPTS)


def test_the_two_scripts_differ_in_distribution_alone(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """The diff is documentation: every line of it names what is distributed, or the script itself."""
    lines = run_script("diff", "baseline_train.py", "ddp_train.py").stdout.splitlines()
    changed = [line[2:].strip() for line in lines if line[:1] in "<>" and line[2:].strip()]
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
    from ddpbench.config import FLAGS, flag_name
    from ddpbench.study.options import ARM_FLAGS, LISTS

    page = run_script("bash", "launch.sh", "--help").stdout

    assert [flag.name for flag in FLAGS if flag.name not in ARM_FLAGS and flag_name(flag.name) not in page] == []
    assert [name for name in LISTS if flag_name(name) not in page or LISTS[name][0] not in page] == []
    assert len(page.splitlines()) <= 44
    assert max(map(len, page.splitlines())) <= 96
