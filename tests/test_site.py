"""The pages: every link leads somewhere, every command is known with its flags, and the site builds."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import compare
from ddpbench import __main__ as program
from ddpbench import config
from ddpbench.check import main as check
from ddpbench.hosts import place
from ddpbench.predict import options as predict
from ddpbench.study import options
from docs import refresh
from tests.conftest import PROJECT
from tests.show import browser

PAGES = [*refresh.PAGES, *(PROJECT / name for name in ("benchmarks/README.md", "results/README.md"))]
PAGES += [PROJECT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
PATH = re.compile(r"`((?:ddpbench|tests|docs|benchmarks)/[\w./-]*)`")
IN_SENTENCES = re.compile(r"`((?:bash launch\.sh|python (?:compare|baseline_train)\.py)(?: [^`]+)?)`")
MISSING = "sphinx, myst-parser and furo are not installed: pip install .[docs]"


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@cache
def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that a code host and the site give to the headings of a page."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset([*found, *re.findall(r"<a (?:id|name)=\"([^\"]+)\"", page.read_text())])


def broken(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere."""
    for target in filter(None, (a or b for a, b in LINK.findall(re.sub(r"`[^`]*`", "", prose(page))))):
        place, _, anchor = target.partition("#")
        path = (page.parent / place).resolve() if place else page
        if re.match(r"(https?|mailto):", target):
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", refresh.PAGES, ids=name_of)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    assert [path for path in PATH.findall(prose(page)) if not (PROJECT / path).exists()] == []


def test_a_broken_link_and_a_wrong_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](#one-two) [b](#one) [c](none.md) [d](page.md#three) `[e](f)`\n<img src='x'>")

    assert list(broken(page)) == ["#one", "none.md", "page.md#three"]


def commands() -> Iterator[tuple[str, str]]:
    """Yield every command that a page shows, in a block for a shell or within a sentence, with the name of the page."""
    for page in refresh.PAGES:
        yield from ((name_of(page), command) for command in IN_SENTENCES.findall(prose(page)) if "FLAGS" not in command)
        for _, language, body in FENCE.findall(page.read_text()):
            for line in body.replace("\\\n", " ").splitlines() if language in ("bash", "sh", "console") else ():
                for part in re.split(r"\s(?:&&|;)\s", line):
                    if words := shlex.split(part.removeprefix("$ "), comments=True):
                        yield name_of(page), shlex.join(words)


def launch(words: list[str]) -> None:
    """Read the words after launch.sh as the program does."""
    if {"--help", "--version"} & {*words} or words[:1] == ["test"]:
        return
    _, words = place.take(words, {})
    command = words.pop(0) if words and not words[0].startswith("-") else "study"
    if command == "run":
        options.read_run(words)
    elif command == "compare":
        judge(words)
    elif command == "check":
        check.read(words)
    elif command == "predict":
        predict.read(words)
    else:
        options.read(program.DESIGNS[command], words, {}, hosts=2 if "--layouts" in words else 1)


def judge(words: list[str]) -> None:
    """Read the words after compare.py as the program does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["compare.py", *words])
        compare.parse()


def train(words: list[str]) -> None:
    """Read the words after a training script as the program does."""
    if words != ["--help"]:
        config.parse(words)


# How a command is tried, by how it begins.
TRIED: dict[str, Callable[[list[str]], None]] = {
    r"(?:'?[A-Z_]+=[\w ]*'? )*bash launch\.sh": launch,
    r"ddpbench": launch,
    r"python baseline_train\.py": train,
    r"torchrun --nproc_per_node=\d+ ddp_train\.py": train,
    r"python compare\.py": judge,
    r"(?:sbatch (?:--[\w-]+=\S+ )*docs/hosts/slurm\.sh|srun (?:--[\w-]+=\S+ )*bash launch\.sh)": launch,
    r"(?:torchx run .*? docs/hosts/component\.py:hosts .*?|bash docs/hosts/ssh\.sh [\w ]+) --": launch,
    r"docker run .*? ddpbench(?::cuda)?(?= |$)": lambda words: launch([word.removeprefix("/task/") for word in words]),
}
# Commands that are known and not tried here, and why.
LEFT_OUT = {
    r"python docs/refresh\.py|python -m docs\.reference": "tests/test_docs.py runs it",
    r"python -m sphinx": "tests/test_site.py runs it",
    r"python -m benchmarks": "tests/test_docs.py runs one part of it, and the whole takes an hour",
    r"diff baseline_train\.py ddp_train\.py": "tests/test_architecture.py runs it",
    r"(python -m )?pip install": "tests/setup/test_package.py installs",
    r"python \.\./ddpbench/docs/ci/gate\.py": "tests/test_user_ci.py runs it",
    r"kubectl (?:apply|create)": "tests/hosts/test_manifests.py reads what it is given",
    r"docker build": "Docker is not on every machine that runs the tests",
    r"git clone|git worktree|cd|mkdir|source|export": "it is the reader's shell that does it",
}


def test_the_tests_that_run_what_is_left_out_are_there() -> None:
    files = [path for why in LEFT_OUT.values() for path in re.findall(r"tests/[\w/]+\.py", why)]

    assert len(files) == 7
    assert [path for path in files if not (PROJECT / path).exists()] == []


@pytest.mark.parametrize(("page", "command"), dict.fromkeys(commands()), ids=str)
def test_every_command_is_known_and_its_flags_are(
    page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags are read as the programs read them, beside the task of the page that explains tasks."""
    source = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/own-task.md").read_text(), re.S)[0]
    (tmp_path / "my_task.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    known = [(match, start) for start in (*TRIED, *LEFT_OUT) if (match := re.match(rf"(?:{start})(?![\w.])", command))]

    assert len(known) == 1, f"{page} shows a command that neither TRIED nor LEFT_OUT knows"
    match, start = known[0]
    if start in TRIED:
        TRIED[start](shlex.split(command[match.end() :]))


def test_an_unknown_flag_is_found() -> None:
    for tries, words in ((launch, ["sweep", "--bathces", "64"]), (train, ["--epoch", "3"]), (judge, ["--explian"])):
        with pytest.raises(Exception, match=r"unknown flag|unrecognized arguments"):
            tries(words)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(map(find_spec, ("sphinx", "myst_parser", "furo"))):
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("site")
    words = ["-W", "--keep-going", "-q", "-c", "docs", ".", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_its_search_knows_every_page(site: Path) -> None:
    pages = {page.with_suffix("").relative_to(PROJECT).as_posix() for page in (PROJECT / "docs").glob("*.md")}
    names = re.search(r'"?docnames"?:\[(.*?)\]', (site / "searchindex.js").read_text())
    assert names is not None
    assert pages <= {*re.findall(r'"([^"]+)"', names[1])}
    menu = (site / "docs/index.html").read_text()
    assert [page for page in pages if f'href="{page.removeprefix("docs/")}.html"' not in menu] == ["docs/index"]
    assert 'url=docs/index.html"' in (site / "index.html").read_text()
    assert " in --results<" in (site / "docs/commands.html").read_text(), "the two dashes of a flag stay two"


@pytest.mark.slow
def test_the_site_fits_a_phone_and_a_screen_and_paper(site: Path, tmp_path: Path) -> None:
    """On a phone code scrolls within its block; on a screen nothing scrolls; on paper all of it is there."""
    widest = (
        "return Math.max(0, ...[...document.querySelectorAll(arguments[0])].map(e => e.scrollWidth - e.clientWidth))"
    )
    with browser.opened(site / "docs/commands.html", tmp_path) as page:
        for name in ("commands", "faults", "own-task"):
            page.get((site / f"docs/{name}.html").as_uri())
            for width in (375, 1440):
                browser.resize(page, width)
                assert page.execute_script("return document.documentElement.scrollWidth") <= width, (name, width)
            assert page.execute_script(widest, "pre, .table-wrapper") <= 0, name
            browser.emulate(page, media="print")
            browser.resize(page, 700)
            assert page.execute_script(widest, "article pre") <= 0, name
            browser.emulate(page)
