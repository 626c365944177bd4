"""The package: what a wheel holds, and the command `ddpbench` in a folder that is no checkout."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from ddpbench import __main__ as program
from ddpbench import __version__
from ddpbench.config import FLAGS, flag_name
from ddpbench.record import read_record
from ddpbench.setup import needs
from ddpbench.study import options
from ddpbench.turns import read_launches
from tests.conftest import PROJECT

pytest.importorskip("pip", reason="pip is not installed: python -m ensurepip")
pytestmark = pytest.mark.slow
SCRIPTS = ("baseline_train.py", "ddp_train.py", "compare.py")
# What a checkout holds and git does not, and what no wheel needs and has many bytes.
LEFT = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "data", "results", "example", "_build", "build")
SMALL = ("--dataset", "synthetic", "--model", "mlp", "--device", "cpu", "--epochs", "1", "--seeds", "0")
CHECKOUT = re.compile(r"launch\.sh|python \w+\.py|torchrun --")  # words that mean nothing to who has the package alone


@dataclass
class Installed:
    """An environment that has the package, and otherwise what this one has. It lies in a repository of its user's."""

    place: Path
    stands_in: Path  # the folder in which its commands are run

    @property
    def python(self) -> Path:
        return self.place / "venv/bin/python"

    def run(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a program of this environment with a home and a folder for temporary files of its own.

        matplotlib keeps a list of fonts, which is not ours, in a third one.
        """
        folders = {name: str(self.place / name.lower()) for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")}
        env = {"PATH": f"{self.python.parent}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **folders}
        return subprocess.run(
            [*map(str, words)],
            cwd=self.stands_in,
            env=env,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def files(self) -> set[Path]:
        """Return every file that its commands could leave outside the folder in which they are run."""
        return {path for name in ("venv", "home", "tmpdir") for path in (self.place / name).rglob("*")}


def well(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what a program printed; it must have ended well."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def pip(*words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    well(subprocess.run(command, capture_output=True, text=True, check=False, cwd="/"))


def has_builder() -> bool:
    """Whether this environment can build a wheel by itself. Otherwise pip installs what builds it."""
    try:
        return needs.numbers(version("setuptools")) >= (77,)
    except PackageNotFoundError:
        return False


def build(source: Path, folder: Path) -> Path:
    """Build a wheel of a folder, or of an sdist, into another folder. Returns the wheel."""
    pip("wheel", "--no-deps", *["--no-build-isolation"] * has_builder(), "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: building leaves files beside what is built."""
    place = tmp_path_factory.mktemp("source") / "checkout"
    return Path(shutil.copytree(PROJECT, place, ignore=shutil.ignore_patterns(*LEFT, "dist", "*.egg-info")))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel in an environment that sees the packages of this one: a torch of its own would take gigabytes.

    The folder in which its commands are run has a module that must not be imported, from Python 3.11 on.
    """
    place = tmp_path_factory.mktemp("installed")
    for name in ("home", "tmpdir", "mplconfigdir", "here"):
        (place / name).mkdir()
    if sys.version_info >= (3, 11):
        (place / "here/torch.py").write_text("raise SystemExit('imported from the folder where one stands')\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--no-verify", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", "-C", place, *words], check=True)
    made = Installed(place, place / "here")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    (packages,) = (place / "venv/lib").glob("python*/site-packages")
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "ours.pth").write_text("\n".join(ours) + "\n")
    pip("--python", made.python, "install", "--no-deps", "--no-index", wheel)
    yield made
    shutil.rmtree(place)


def test_the_wheel_holds_the_program_and_nothing_else(source: Path, wheel: Path) -> None:
    """Every file of the package is there, so that none is forgotten, but for the set-up that launch.sh needs."""
    found = content(wheel)
    about = f"ddpbench-{__version__}.dist-info/"
    package = {str(path.relative_to(source)) for path in (source / "ddpbench").rglob("*") if path.is_file()}
    package = {name for name in package if not name.startswith("ddpbench/setup/")}
    scripts = {f"ddpbench/scripts/{name}": (source / name).read_bytes() for name in SCRIPTS}

    assert wheel.name == f"ddpbench-{__version__}-py3-none-any.whl"
    assert {name for name in found if not name.startswith(about)} == package | {*scripts}
    assert {name: found[name] for name in scripts} == scripts
    assert {name.removeprefix(about) for name in found if name.startswith(about)} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    }


def test_the_sdist_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    if not has_builder():
        pytest.skip("setuptools 77 or later is not installed: pip install setuptools")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    well(subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False))
    (sdist,) = tmp_path.glob("*.tar.gz")
    again, first = content(build(sdist, tmp_path)), content(wheel)

    assert {name for name in again if again[name] != first.get(name)} == set()
    assert again.keys() == first.keys()


def test_the_page_of_help_has_the_words_of_the_package(installed: Installed) -> None:
    page, version = (well(installed.run("ddpbench", word)) for word in ("--help", "--version"))

    assert version == f"ddpbench {__version__}\n"
    assert not CHECKOUT.search(page)
    verbs = re.findall(r"^ddpbench (\w+)", page, re.M)
    assert {*verbs} == {*program.COMMANDS} - {"study", "test"}
    assert [
        flag.name for flag in FLAGS if flag.name not in options.ARM_FLAGS and flag_name(flag.name) not in page
    ] == []
    for verb, flag in (("run", "--ranks"), ("compare", "--fail-if-slower")):
        of_verb = well(installed.run("ddpbench", verb, "--help"))
        assert of_verb.startswith(f"usage: ddpbench {verb} [-h] ")
        assert flag in of_verb
        assert not re.search(r"launch\.sh|python \w+\.py", of_verb)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "0"], "--epochs must be at least 1 and at most 999,999, got 0"),
        (["swep"], f"no command is called 'swep'; there are {', '.join(program.COMMANDS)}, see --help"),
        (["test", "-x"], "this is the installed package, and the tests are in a checkout; there: bash launch.sh test"),
        (["--batches", "64"], "--batches is for a sweep: ddpbench sweep --batches 64 256; or use --global-batch N"),
        (["compare"], "cannot read results: No such file or directory"),
        (["compare", "."], "no records in .; run: ddpbench"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_leaves_nothing(words: list[str], said: str, installed: Installed) -> None:
    before = {*installed.stands_in.iterdir()}
    done = installed.run("ddpbench", *words)
    name = "ddpbench compare" if "compare" in words else "ddpbench"

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{name}: {said}\n"
    assert {*installed.stands_in.iterdir()} == before


def test_a_plan_names_commands_that_work(installed: Installed) -> None:
    plan = well(installed.run("ddpbench", "--plan", *SMALL, "--world-sizes", "2", "--results", "planned"))
    alone, ranks, compare = (shlex.split(line) for line in plan.splitlines() if line.startswith("  "))

    assert not CHECKOUT.search(plan)
    assert alone[:2] == ranks[:2] == ["ddpbench", "run"]
    assert compare == ["ddpbench", "compare", "planned"]
    assert options.read_run(ranks[2:]).ranks == 2
    well(installed.run(*alone))
    (path,) = (installed.stands_in / "planned").glob("*.json")
    assert (read_record(path).kind, read_record(path).status) == ("baseline", "complete")


def test_a_study_works_where_one_stands_and_leaves_nothing_elsewhere(installed: Installed) -> None:
    elsewhere, here = installed.files(), {*installed.stands_in.iterdir()}
    results = installed.stands_in / "results"
    done = installed.run("ddpbench", *SMALL, "--minutes", "0.1", "--world-sizes", "2")
    printed = well(done) + done.stderr
    (study,) = results.iterdir()
    again = well(installed.run("ddpbench", "compare", "--no-charts"))

    assert {*installed.stands_in.iterdir()} - here == {results}
    assert installed.files() - elsewhere == set()
    assert {path.name for path in study.iterdir()} >= {"report.html", "summary.json", "summary.md", "comparison.png"}
    assert printed.startswith(again)
    for text in (printed, (study / "report.html").read_text(), (study / "summary.md").read_text()):
        assert not CHECKOUT.search(text)
    measured = [*map(read_record, study.glob("2*.json")), *read_launches(study)]
    assert len(measured) >= 2 + 5
    assert {each.environment.commit for each in measured} == {None}, "the repository around it is its user's"


def test_a_strict_type_checker_sees_the_types(installed: Installed, tmp_path: Path) -> None:
    lines = (
        "from pathlib import Path",
        "from ddpbench.record import read_record",
        "reveal_type(read_record(Path()).settings.epochs)",
    )
    (tmp_path / "user.py").write_text("\n".join(lines))
    flags = ("--strict", "--config-file=", f"--cache-dir={tmp_path}", f"--python-executable={installed.python}")
    command = [sys.executable, "-m", "mypy", *flags, "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)

    assert re.search(r'Revealed type is "(builtins\.)?int"', done.stdout), done.stdout
    assert done.returncode == 0, done.stdout


def test_what_the_program_says_takes_its_commands_from_one_place() -> None:
    """A text that names launch.sh or a script is wrong in an installed package, where nobody has them."""
    found = []
    for path in sorted((PROJECT / "ddpbench").rglob("*.py")):
        name = str(path.relative_to(PROJECT / "ddpbench"))
        if name in ("__main__.py", "command.py") or name.startswith("setup/"):
            continue
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose]
        found += [f"{name}:{node.lineno}" for node in texts if re.search(r"launch\.sh|python \w+\.py", str(node.value))]

    assert found == []
