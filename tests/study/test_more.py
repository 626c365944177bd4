"""A study that --more has begun: what it says where it is stopped goes on, whatever it was doing."""

import dataclasses
import io
import signal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ddpbench.notes import Complete, Failed, Launch
from ddpbench.study import judging
from ddpbench.study.desk import Desk
from ddpbench.study.plan import Job
from ddpbench.study.reporter import Reporter
from ddpbench.study.runner import Program, Spawn, Stop
from ddpbench.study.screen import Screen
from ddpbench.study.study import Study
from ddpbench.turns import Look
from tests.study.test_draft import make, start
from tests.study.test_launches import draft, pair
from tests.study.test_runner import FakeChild

AGAIN = "the same command goes on"
INSTEAD = "the same command with --resume instead of --more goes on"
PROGRAMS = {"launch": "ddpbench.train.turns", "run": "baseline_train.py"}


@pytest.mark.parametrize(("flags", "seeds"), [([], ""), (["--seeds", "5", "7"], " --seeds 5 7")])
def test_what_it_says_finds_the_study_again(flags: list[str], seeds: str, tmp_path: Path) -> None:
    """Once runs have begun it is --resume, which looks for a study with the seeds of its own command."""
    folder = start(tmp_path, "1", *flags)
    more, new = make(tmp_path, "--more")[0], make(tmp_path)[0]

    assert more.goes_on(is_measured=False) == AGAIN
    assert more.goes_on(is_measured=True) == INSTEAD.replace(" instead", f"{seeds} instead")
    assert make(tmp_path, *f"--resume{seeds}".split())[0].folder == folder
    said = {new.goes_on(is_measured=is_measured) for is_measured in (False, True)}
    assert said == {"the same command with --resume goes on"}


@pytest.mark.parametrize(("stopped_in", "said"), [("launch", AGAIN), ("run", INSTEAD)])
@pytest.mark.parametrize("is_failure", [False, True])
def test_a_stop_and_a_failure_say_how_to_go_on(
    stopped_in: str, said: str, is_failure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted, stop, written = draft("--more", "--restarts", "0", launches=5), Stop(), io.StringIO()
    arms = (pair().reference.arm, pair().parallel.arm)
    request = replace(drafted.plan.request, seeds=drafted.options.seeds)
    jobs = [Job(arm=arm, seed=0) for arm in arms]
    plan = replace(drafted.plan, request=request, jobs=jobs, is_measured=True)
    drafted = dataclasses.replace(drafted, plan=plan, folder=tmp_path)

    def spawn(program: Program) -> Spawn:
        ends = any(PROGRAMS[stopped_in] in word for word in program.command)
        if ends and not is_failure:
            stop.signal = signal.SIGINT
        note = Failed(why="host 1 is lost", code=4, rank=-1, is_final=True) if ends else Complete()

        def child(launch: Launch) -> Any:
            return FakeChild([[note]] if is_failure or not ends else [[]], int(ends), launch)

        return child

    monkeypatch.setattr(judging, "look", lambda *_: Look([pair(is_known=True)], None))
    screen = Screen(written)
    desk = Desk(screen, stop, on_all=lambda _: spawn)  # type: ignore[arg-type]
    code = Study(drafted, Reporter(tmp_path, screen, 0), desk).carry_out(["what is measured"])
    shown = " ".join(written.getvalue().split())

    assert code == (4 if is_failure else 75)
    assert f"Ctrl-C is safe, and {AGAIN}; all output is in" in shown
    assert f"finished launches and runs are in {tmp_path}" in shown
    assert shown.endswith(said)
    assert "command with --resume goes on" not in shown
