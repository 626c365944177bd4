"""The action that docs/ci.md offers to users, its example, and what the page says. Its script: test_gate.py."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.ci import gate
from tests.conftest import PROJECT

ACTION = PROJECT / ".github/actions/study"
EXAMPLE = PROJECT / "docs/ci/example"
PAGE = (PROJECT / "docs/ci.md").read_text()
WORKFLOWS = [*(PROJECT / ".github/workflows").glob("*.yml"), *(EXAMPLE / ".github/workflows").glob("*.yml")]
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")  # as an action runs `shell: bash`


def action() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text())
    return read


def steps_of(path: Path) -> list[dict[str, Any]]:
    read = yaml.safe_load(path.read_text())
    return [step for job in read["jobs"].values() for step in job["steps"]] if "jobs" in read else read["runs"]["steps"]


STEPS = [step for path in (*WORKFLOWS, ACTION / "action.yml") for step in steps_of(path)]


class Runner:
    """Runs the shell steps of the action as a code host would, in a repository of two commits."""

    def __init__(self, folder: Path, edit: tuple[str, str]) -> None:
        self.temp, self.workspace = folder / "temp", folder / "work"
        self.temp.mkdir()
        shutil.copytree(EXAMPLE, self.workspace)
        self.git("init", "--quiet")
        self.commit()
        task = self.workspace / "task.py"
        task.write_text(task.read_text().replace(*edit))
        self.commit()

    def git(self, *words: str) -> None:
        own = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *own, *words], cwd=self.workspace, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "a change")

    def run(self, event: str = "pull_request", **given: str) -> int:
        """Run the shell steps but the comment, until one fails. Returns the exit code."""
        inputs = {name: each.get("default", "") for name, each in action()["inputs"].items()} | given
        files = {name: str(self.temp / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for step in action()["runs"]["steps"]:
            if "run" not in step or step["name"] == "Comment":
                continue
            env = os.environ | files | {"RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(ACTION)}
            env |= {"GITHUB_EVENT_NAME": event, "PYTHON": sys.executable}
            env |= {name: self.value(text, inputs) for name, text in step.get("env", {}).items()}
            done = subprocess.run([*BASH, step["run"]], cwd=self.workspace, env=env, check=False)
            if done.returncode != 0:
                return done.returncode
        return 0

    def value(self, text: str, inputs: Mapping[str, str]) -> str:
        name = text.removeprefix("${{ ").removesuffix(" }}")
        if name.startswith("steps.set-up.outputs."):
            outputs = dict(line.split("=", 1) for line in (self.temp / "GITHUB_OUTPUT").read_text().splitlines())
            return outputs[name.rpartition(".")[2]]
        return inputs[name.removeprefix("inputs.")]


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_the_action_fails_a_commit_that_was_slowed_on_purpose(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two real studies of the example's task. The second commit sleeps in the loss, far longer than a step takes."""
    slow = ("    pictures, labels = batch\n", '    pictures, labels = batch\n    __import__("time").sleep(0.02)\n')
    runner = Runner(tmp_path, slow)
    code = runner.run(task="task.py", minutes="0.2", flags="--device cpu --world-sizes 2")

    assert code == 1, capfd.readouterr().err
    page, out = (tmp_path / "temp/GITHUB_STEP_SUMMARY").read_text(), tmp_path / "temp/ddpbench/study/results"
    assert page == (out / "gate.md").read_text()
    assert page.startswith("**Training has become slower.**")
    assert "The file of the task, or a file beside it that it imports, has changed." in page
    assert {path.parent.parent.name for path in out.glob("*/*/report.html")} == {"base", "head"}
    assert "gate.py: gate failed: a step takes " in capfd.readouterr().err


@pytest.mark.slow
def test_the_action_refuses_what_cannot_be_right(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runner = Runner(tmp_path, ("batch, epochs = 256, 1", "batch, epochs = 256, 2"))

    assert runner.run("pull_request_target", task="task.py") == 2
    assert "use on: pull_request" in capfd.readouterr().out
    assert runner.run(task="task.py", base="HEAD^7") == 2
    assert "fetch-depth: 2" in capfd.readouterr().out


GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$LOG"
for word in "$@"; do case $word in body=@*) cp "${word#body=@}" "$LOG.body" ;; esac; done
case "$*" in *--jq*) printf '%s' "$IDS" ;; *) exit "$CODE" ;; esac
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ids", "code", "call"),
    [
        ("", 0, "--method POST repos/a/b/issues/7/comments "),
        ("12\n13\n", 0, "--method PATCH repos/a/b/issues/comments/12 "),
        ("", 1, "--method POST repos/a/b/issues/7/comments "),
    ],
    ids=["first", "again", "from a fork"],
)
def test_one_comment_is_kept_and_a_token_that_may_not_write_is_no_failure(
    ids: str, code: int, call: str, tmp_path: Path
) -> None:
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "page.md").write_text("**Training is as fast as before.**\n")
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "LOG": str(tmp_path / "log"), "IDS": ids}
    env |= {"CODE": str(code), "NAME": "study", "PULL_REQUEST": "7", "GITHUB_REPOSITORY": "a/b", "GH_TOKEN": "none"}
    words = ["bash", str(ACTION / "comment.sh")]
    done, nothing = (
        subprocess.run([*words, str(tmp_path / page)], env=env, capture_output=True, text=True, check=False)
        for page in ("page.md", "missing.md")
    )

    asked, sent = (tmp_path / "log").read_text().splitlines()
    assert "repos/a/b/issues/7/comments --jq" in asked
    assert call in sent
    assert (tmp_path / "log.body").read_text() == "<!-- ddpbench: study -->\n**Training is as fast as before.**\n"
    assert (done.returncode, nothing.returncode) == (0, 0)
    assert ("::notice::the summary could not be put" in done.stdout) == (code == 1)
    assert "there is no page" in nothing.stdout


def test_no_input_is_pasted_into_a_shell() -> None:
    shells = [step["run"] for step in STEPS if "run" in step]

    assert len(shells) > 5
    assert [text for text in shells if "${{" in text] == []


def test_every_action_of_others_is_named_by_its_commit() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    ours = r"\./\.github/actions/study|OWNER/ddpbench/\.github/actions/study@COMMIT"

    assert len(used) > 5
    assert [name for name in used if not re.fullmatch(rf"actions/[\w-]+@[0-9a-f]{{40}}|{ours}", name)] == []


def test_every_input_is_used_and_documented_and_no_other_is_given() -> None:
    text, inputs = (ACTION / "action.yml").read_text(), action()["inputs"]
    given = {name for step in STEPS if "actions/study" in step.get("uses", "") for name in step["with"]}
    rows = dict(re.findall(r"^\| `([\w-]+)` \| .* \| (.*) \|$", PAGE, re.M))
    defaults = {name: each.get("default", "it is needed") or "none" for name, each in inputs.items()}
    defaults |= {"base": "`HEAD^1`: what the pull request will be merged into", "stored": "the base is measured"}

    assert {*re.findall(r"\$\{\{[^}]*?inputs\.([\w-]+)", text)} == {*inputs}
    assert given <= {*inputs}
    assert rows == defaults


def test_no_job_gets_a_token_that_may_do_more_than_it_needs() -> None:
    needed = {
        "ci.yml": {"contents": "read"},
        "long.yml": {"contents": "read"},
        "speed.yml": {"contents": "read", "pull-requests": "write"},
    }

    for path in WORKFLOWS:
        read = yaml.safe_load(path.read_text())
        assert read["permissions"] == needed[path.name]
        assert "pull_request_target" not in str(read[True]), "yaml reads `on` as true"
        checkouts = [step for step in steps_of(path) if step.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.slow
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    paths = [ACTION / "comment.sh"]
    for number, step in enumerate(step for step in STEPS if "run" in step):
        paths.append(tmp_path / f"{number}.sh")
        paths[-1].write_text(f"#!/bin/bash\nset -eo pipefail\n{step['run']}\n")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "shellcheck"), *map(str, paths)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_shows_the_workflow_of_the_example_and_commands_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    text = PAGE + (EXAMPLE / "README.md").read_text() + str(gate.__doc__)
    commands = re.findall(r"^(python \S*docs/ci/gate\.py .*?)(?:   .*)?$", text, re.M)

    assert shown == (EXAMPLE / ".github/workflows/speed.yml").read_text()
    assert len((EXAMPLE / "task.py").read_text().splitlines()) == int(re.findall(r"a task of (\d+) lines", PAGE)[0])
    assert len(commands) == 6
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command)[1:])
        assert gate.parse().task == "task.py"
    for link in re.findall(r"\]\((?!http)([^)#]+)", PAGE):
        assert (PROJECT / "docs" / link).exists(), link
