"""The script behind the action of docs/ci.md, on made-up studies: what it measures, what it says, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from ddpbench import errors
from ddpbench.turns import Launch
from docs.ci import gate
from tests.judge.studies import faster, launches
from tests.records import MACHINE, put

SUMMARY = "**FASTER** 2 workers (DDP, shared memory) against one process (2 threads)"
FAST, SLOW = launches(5, faster(1.25)), launches(5, faster(1.1))


class Launcher:
    """Stands in for launch.sh: puts a made-up study where the gate wants one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, **studies: list[Launch]) -> None:
        self.studies, self.code, self.calls = studies, 0, list[list[str]]()
        self.monkeypatch, self.folder = monkeypatch, folder
        monkeypatch.setattr(gate.subprocess, "run", self.run)
        for name in ("old", "new"):
            (folder / name).mkdir()
            (folder / name / "task.py").touch()

    def run(self, words: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        self.calls.append(words)
        results = Path(words[words.index("--results") + 1])
        store(results / "20261124-000000", self.studies[results.name])
        return subprocess.CompletedProcess(words, self.code)

    def gate(self, *words: str) -> int:
        """Run the gate in this process. Returns its exit code."""
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", ["gate.py", "--task", "task.py", "--head", "new", *words])
        try:
            errors.run(gate.main, name="gate.py")
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    @property
    def page(self) -> str:
        return (self.folder / "gate/gate.md").read_text()


def store(folder: Path, study: list[Launch]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    put(folder, *study)
    (folder / "summary.md").write_text(SUMMARY + "\n")


def test_a_slower_commit_fails_and_the_page_says_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher(monkeypatch, tmp_path, base=FAST, head=SLOW)

    assert launcher.gate("--base", "old") == 1
    assert launcher.page.startswith("**Training has become slower.**\n\n````text\nSLOWER THAN BEFORE   2 workers")
    assert "12 % slower: 10 to 14 %" in launcher.page
    assert f"<details><summary>The study of the new code</summary>\n\n{SUMMARY}\n\n</details>" in launcher.page
    out, err = capfd.readouterr()
    assert launcher.page in out
    assert err == "gate.py: gate failed: a step takes 1.14 times as long as before\n"


@pytest.mark.parametrize(
    ("head", "margin", "said"),
    [
        (launches(5, faster(1.25), spread=0.002), "3%", "Training is as fast as before."),
        (launches(5, faster(1.4)), "3%", "Training has become faster."),
        (launches(5, faster(1.2), spread=0.1), "3%", "It cannot be told whether training has become slower: more minu"),
        (SLOW, "20%", "Training is as fast as before."),
    ],
)
def test_what_is_not_slower_passes(
    head: list[Launch], margin: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Launcher(monkeypatch, tmp_path, base=launches(5, faster(1.25), spread=0.002), head=head)

    assert launcher.gate("--base", "old", "--margin-speed", margin) == 0
    assert launcher.page.startswith(f"**{said}")


@pytest.mark.parametrize(
    ("minutes", "order", "each"),
    [
        ("6", ["base", "head", "head --more", "base --more"], "1.5"),
        ("1", ["base", "head"], "0.5"),
        ("0.1", ["base", "head"], "0.1"),
    ],
)
def test_old_and_new_take_turns_on_one_machine(
    minutes: str, order: list[str], each: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = Launcher(monkeypatch, tmp_path, base=FAST, head=FAST)
    launcher.gate("--base", "old", "--minutes", minutes, "--", "--world-sizes", "2")
    named = [Path(words[words.index("--results") + 1]).name for words in launcher.calls]
    more = [" --more" * (words[-1] == "--more") for words in launcher.calls]

    assert [name + word for name, word in zip(named, more, strict=True)] == order
    for name, words in zip(named, launcher.calls, strict=True):
        assert words[words.index("--minutes") + 1] == each
        assert words[words.index("--task") + 1] == str(tmp_path / ("old" if name == "base" else "new") / "task.py")
        assert [word for word in words if word != "--more"][-2:] == ["--world-sizes", "2"]


def test_code_may_differ_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SLOW[0].settings, task_sha256="f" * 64, model="Wide")
    changed = [replace(each, settings=settings, parameters=99_999) for each in SLOW]
    launcher = Launcher(monkeypatch, tmp_path, base=FAST, head=changed)

    assert launcher.gate("--base", "old") == 1
    assert "The file of the task, or a file beside it that it imports, has changed." in launcher.page
    assert "The network has 99,999 parameters, before it had 56,826." in launcher.page


def test_a_stored_study_of_this_machine_is_compared_and_one_of_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher(monkeypatch, tmp_path, head=SLOW)
    store(tmp_path / "stored", FAST)
    store(tmp_path / "other", [replace(each, environment=replace(MACHINE, cpu_model="Other")) for each in FAST])

    assert launcher.gate("--stored", "stored") == 1
    assert len(launcher.calls) == 1
    assert launcher.gate("--stored", "other") == 2
    assert launcher.page.startswith("**No answer.** other and 20261124-000000: environment.cpu_model differs (Other, ")
    assert launcher.gate("--stored", "none") == 2
    assert len(launcher.calls) == 2, "what cannot be read is refused before anything is measured"
    assert "cannot read none" in capfd.readouterr().err.splitlines()[-1]


def test_a_new_task_is_measured_and_compared_with_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Launcher(monkeypatch, tmp_path, head=SLOW)
    (tmp_path / "old/task.py").unlink()

    assert launcher.gate("--base", "old") == 0
    assert launcher.page.startswith("The old code has no such task, so there is nothing to compare with.\n\n<details>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --base or --stored"),
        (("--base", "old", "--stored", "old"), "give --base or --stored"),
        (("--base", "old", "--task", "no.py"), "--task no.py: new has no such file"),
        (("--base", "old", "--task", "/task.py"), "give its path inside the checkouts"),
        (("--base", "old", "--minutes", "0"), "--minutes must be between 0.1 and 1,440, got 0"),
        (("--base", "old", "--margin-speed", "x"), "--margin-speed must be between 0.1% and 100%, as in 3%; got 'x'"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    launcher = Launcher(monkeypatch, tmp_path, base=FAST, head=FAST)

    assert launcher.gate(*words) == 2
    assert launcher.calls == []
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_study_that_fails_gives_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    launcher = Launcher(monkeypatch, tmp_path, base=FAST, head=FAST)
    launcher.code = 4

    assert launcher.gate("--base", "old") == 4
    assert launcher.page == "**No answer.** the study of base ended with exit code 4; the lines above say why\n"
