"""What a code host, a container and a notebook take from this repository: it is whole, and it says what is so."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddpbench import __version__
from ddpbench.study import options
from tests.conftest import PROJECT

TEMPLATES = PROJECT / ".github/ISSUE_TEMPLATE"
DOCKERFILE = (PROJECT / "docs/container/Dockerfile").read_text()
NOTEBOOK = PROJECT / "docs/notebook.ipynb"
CONTAINER = (PROJECT / "docs/container.md").read_text()


def read_yaml(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def test_the_citation_is_of_this_version() -> None:
    citation = read_yaml(PROJECT / "CITATION.cff")

    assert citation["version"] == __version__
    assert citation["authors"] == [{"name": "The ddpbench developers"}]
    assert citation.keys() >= {"cff-version", "message", "title"}, "the format requires them"


@pytest.mark.parametrize("name", ["bug.yml", "wrong-answer.yml"])
def test_a_template_is_a_form_that_asks_for_what_one_needs_to_judge(name: str) -> None:
    form = read_yaml(TEMPLATES / name)
    named = [each["id"] for each in form["body"]]

    assert form.keys() == {"name", "description", "body"}
    assert len({*named}) == len(named)
    assert {each["type"] for each in form["body"]} <= {"textarea", "input"}
    assert all(each["attributes"]["label"] for each in form["body"])
    assert sum(each.get("validations", {}).get("required", False) for each in form["body"]) >= 3
    assert {"bug.yml": "turns-000.json", "wrong-answer.yml": "summary.json"}[name] in str(form)


def test_templates_name_commands_and_files_that_exist() -> None:
    text = "".join(path.read_text() for path in [*TEMPLATES.iterdir(), *PROJECT.glob(".github/*.md")])

    assert "python compare.py" in text
    for name in re.findall(r"\b[\w-]+\.(?:py|sh|md)\b", text):
        assert (PROJECT / name).exists(), name


def test_the_image_is_made_of_files_that_exist_and_not_of_history_or_results() -> None:
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.M) for word in line.split()]

    assert len(copied) == 4
    assert all((PROJECT / word).exists() for word in copied)
    assert {".git", ".venv", "data", "results/*", "tests", "docs"} <= {*ignored}
    assert not {"ddpbench", "launch.sh", "compare.py", "pyproject.toml", "baseline_train.py"} & {*ignored}


def test_the_image_does_not_run_as_root_and_keeps_what_it_measures() -> None:
    last_user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.M)[-1]
    (volumes,) = re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.M)

    assert last_user not in ("root", "0")
    assert json.loads(volumes) == ["/ddpbench/results", "/ddpbench/data"]
    assert DOCKERFILE.rstrip().endswith('ENTRYPOINT ["bash", "launch.sh"]')


def test_every_command_of_the_container_page_names_an_image_that_it_builds_and_flags_that_exist() -> None:
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", CONTAINER, re.S)).replace("\\\n", " ")
    lines = [shlex.split(line) for line in shell.splitlines()]
    built = {words[words.index("-t") + 1] for words in lines if words[:2] == ["docker", "build"]}
    used = [words for words in lines if words[:2] == ["docker", "run"]]

    assert len(used) == 4
    for words in used:
        (image,) = [word for word in words if word in built]
        flags = words[words.index(image) + 1 :]
        if flags:
            assert flags == ["--task", "/task/my_task.py"]
        assert "--shm-size" in words or "--ipc=host" in words
    assert all((PROJECT / words[words.index("-f") + 1]).exists() for words in lines if words[:2] == ["docker", "build"])


def cells() -> list[str]:
    book = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_has_no_output_and_each_of_its_cells_is_python() -> None:
    book = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]

    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    for text in cells():
        compile(re.sub(r"^(\s*)!.*$", r"\1pass", text, flags=re.M), NOTEBOOK.name, "exec")


def test_the_notebook_asks_for_a_study_that_exists() -> None:
    (line,) = [line for text in cells() for line in text.splitlines() if "launch.sh" in line]
    chosen = options.read("comparison", shlex.split(line.partition("launch.sh")[2].lstrip('"')), {})

    assert (chosen.minutes, chosen.seeds, chosen.train.epochs) == (3, [0], 2)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_notebook_runs_and_shows_the_report(tmp_path: Path) -> None:
    """It needs nbclient and ipykernel, which the set-up does not install. The study is a short one."""
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    book = nbformat.read(NOTEBOOK, as_version=4)
    for cell in book.cells:
        flags = f"--minutes 0.1 --dataset synthetic --results '{tmp_path}'"
        cell.source = cell.source.replace("--minutes 3", flags).replace(
            'folder / "results"', f"Path({str(tmp_path)!r})"
        )
    nbclient.NotebookClient(book, timeout=800, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    *_, answer, report = [cell for cell in book.cells if cell.cell_type == "code"]

    assert "against" in answer.outputs[0]["data"]["text/markdown"]
    assert report.outputs[0]["data"]["text/html"].startswith('<div><iframe srcdoc="&lt;!doctype html&gt;')


@pytest.mark.slow
def test_shellcheck_finds_nothing_in_what_the_image_runs(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    steps = re.findall(r"^RUN (.*?)(?<!\\)\n", DOCKERFILE, re.M | re.S)
    script.write_text("#!/bin/sh\nTORCH_INDEX=https://example.org\n" + "\n".join(steps) + "\n")
    tool = str(Path(sys.executable).parent / "shellcheck")
    done = subprocess.run([tool, str(script)], capture_output=True, text=True, check=False)

    assert len(steps) == 2
    assert done.returncode == 0, done.stdout
