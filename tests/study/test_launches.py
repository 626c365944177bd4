"""The launches of a study: when another one follows, with which arms, and what goes on; with fake processes."""

import io
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.notes import AnyNote, Complete, Failed, Launch
from ddpbench.questions import Machine
from ddpbench.study import designs, forecast, options
from ddpbench.study.designs import Resources
from ddpbench.study.draft import Draft
from ddpbench.study.launches import Launches
from ddpbench.study.plan import Job, Pending, Plan, Request
from ddpbench.study.reporter import Reporter
from ddpbench.study.runner import Program, Spawn, Stop, Stopped
from ddpbench.study.runs import Runs
from ddpbench.study.screen import Screen
from ddpbench.turns import Look, Pair, Question, TurnArm
from tests.records import MACHINE, SETTINGS, make_launch
from tests.study.test_runner import FakeChild

DONE: tuple[list[Sequence[AnyNote]], int] = ([[Complete()]], 0)
LAUNCH_S = 20.0


def pair(global_batch: int = 256, *, is_known: bool = False) -> Pair:
    parallel, reference = (
        TurnArm(arm=arm, global_batch=global_batch) for arm in (Arm("ddp", 2, 1, "shm"), Arm("baseline", 1, 2, None))
    )
    return Pair(parallel, reference, 0.01, 0.01, 1.0, 0.9, 1.1, "cannot_tell", is_known, 0.03)


def draft(*argv: str, design: Any = "comparison", launches: int = 0, batches: Sequence[int] = ()) -> Draft:
    """Make a draft on two cores, with so many launches that are there already."""
    settings = replace(SETTINGS, global_batch=256)
    resources = Resources(2, 2, 0)
    if batches:
        turns = designs.sweep([2], resources, "shm", batches)
    else:
        turns = designs.turns([2], resources, ["gloo", "shm"], 256, 60_000)
    request = Request(design=design, seeds=[0], world_sizes=[2], batches=[*batches], settings=settings, injected=None)
    machine = Machine(MACHINE, settings, "cpu", "shm", 0, 50_000, 60_000, 10_000, start_s=2.0)
    there = [make_launch(number, truth=dict.fromkeys(turns, 0.01)) for number in range(launches)]
    return Draft(options.read(design, argv, {}), machine, Plan(request=request, turns=turns), None, there, "")


@dataclass
class Bench:
    """Fake launches: each takes LAUNCH_S seconds of a fake clock, and is judged as `answer` says."""

    folder: Path
    answer: Callable[[int], Look]  # how many launches there are -> what they say
    attempts: list[tuple[list[Sequence[AnyNote]], int]] = field(default_factory=list)  # of the launches; then DONE
    stop: Stop = field(default_factory=Stop)
    now_s: float = 0.0
    count: int = 0
    asked: list[Question] = field(default_factory=list)
    screen: io.StringIO = field(default_factory=io.StringIO)

    def carry_out(self, drafted: Draft) -> tuple[int, Launches]:
        self.count = len(drafted.launches)
        reporter = Reporter(self.folder, Screen(self.screen), drafted.options.restarts)
        with reporter.events:
            launches = Launches(
                drafted, reporter, self.stop, lambda: self.answer(self.count), self._spawn, lambda: self.now_s
            )
            return launches.carry_out(), launches

    def _spawn(self, program: Program) -> Spawn:
        assert program.command[1:3] == ["-m", "ddpbench.train.agent"]
        self.asked.append(msgspec.json.decode(program.command[-1], type=Question))

        def start(launch: Launch) -> FakeChild:
            script, code = self.attempts.pop(0) if self.attempts else DONE
            self.now_s += LAUNCH_S
            self.count += code == 0
            return FakeChild(list(script), code, launch)

        return start

    @property
    def numbers(self) -> list[int]:
        return [question.number for question in self.asked]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "study.jsonl").read_text().splitlines()]


def known_from(number: int) -> Callable[[int], Look]:
    return lambda count: Look([pair(is_known=count >= number)], None)


@pytest.mark.parametrize(("known", "launches"), [(1, 5), (5, 5), (7, 7)])
def test_launches_go_on_until_the_answer_is_known_and_there_are_at_least_five(
    known: int, launches: int, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, known_from(known))
    code, done = bench.carry_out(draft())

    assert (code, bench.numbers) == (0, [*range(launches)])
    assert {question.path for question in bench.asked} == {
        str(tmp_path / f"turns-{number:03}.json") for number in range(launches)
    }
    assert [each.is_known for each in done.pairs()] == [True]
    kinds = [event["event"] for event in bench.events]
    assert kinds == ["launch_began", "attempt_began", "note", "attempt_ended", "launch_ended"] * launches
    lines = bench.screen.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["speed"] * launches
    assert lines[0].split("launch 1")[1].strip().startswith("ddp 2 x 1, shm  1.00x (0.90 - 1.10)")


@pytest.mark.parametrize(("minutes", "launches"), [("2", 6), ("0.3", 5)])
def test_launches_end_where_another_would_exceed_the_minutes(minutes: str, launches: int, tmp_path: Path) -> None:
    bench = Bench(tmp_path, known_from(99))

    assert bench.carry_out(draft("--minutes", minutes))[0] == 0
    assert len(bench.asked) == launches
    assert {question.seconds for question in bench.asked} == {min(forecast.ROUNDS_S, 60 * float(minutes) / 8)}


def test_launches_that_are_there_count_and_are_never_written_again(tmp_path: Path) -> None:
    some, enough = Bench(tmp_path, known_from(5)), Bench(tmp_path, known_from(5))

    assert (some.carry_out(draft(launches=4))[0], some.numbers) == (0, [4])
    assert (enough.carry_out(draft(launches=5))[0], enough.numbers) == (0, [])


def test_more_adds_five_launches_and_then_goes_on_by_the_same_rule(tmp_path: Path) -> None:
    known, unknown = Bench(tmp_path, known_from(3)), Bench(tmp_path, known_from(99))

    known.carry_out(draft("--more", launches=6))
    unknown.carry_out(draft("--more", "--minutes", "2", launches=6))
    assert known.numbers == [6, 7, 8, 9, 10]
    assert unknown.numbers == [6, 7, 8, 9, 10, 11], "the minutes begin anew"


def test_where_steps_are_long_every_other_launch_has_only_the_arms_that_a_user_could_choose(tmp_path: Path) -> None:
    def answer(count: int, round_s: float) -> Look:
        return Look([pair(is_known=count >= 5)], None, round_s=round_s)

    heavy = Bench(tmp_path / "heavy", lambda count: answer(count, 0.51 * forecast.ROUNDS_S))
    light = Bench(tmp_path / "light", lambda count: answer(count, 0.49 * forecast.ROUNDS_S))
    for bench in (heavy, light):
        bench.folder.mkdir()
        bench.carry_out(draft("--minutes", "0.1"))  # however short a launch is to be

    chosen = ["baseline, 1 thread", "baseline, 2 threads", "ddp 2 x 1, gloo", "ddp 2 x 1, shm"]
    arms = [[turn.label for turn in question.arms] for question in heavy.asked]
    assert arms[1] == arms[3] == chosen
    assert arms[0] == arms[2] == arms[4] == [turn.label for turn in light.asked[0].arms]
    assert len({len(question.arms) for question in light.asked}) == 1


def test_a_sweep_has_all_its_arms_however_long_their_steps_are(tmp_path: Path) -> None:
    pairs = [pair(batch, is_known=True) for batch in (64, 256)]
    bench = Bench(tmp_path, lambda _: Look(pairs, None, round_s=99.0))
    bench.carry_out(draft(design="sweep", batches=[64, 256]))

    assert {len(question.arms) for question in bench.asked} == {6}


def test_a_sweep_checks_its_prediction_in_three_short_launches_at_that_batch_alone(tmp_path: Path) -> None:
    def answer(count: int) -> Look:
        pairs = [pair(batch, is_known=True) for batch in (64, 256)]
        return Look(pairs, 192 if count == 5 else None)

    bench = Bench(tmp_path, answer)
    assert bench.carry_out(draft(design="sweep", batches=[64, 256]))[0] == 0

    assert [{turn.global_batch for turn in question.arms} for question in bench.asked] == [{64, 256}] * 5 + [{192}] * 3
    assert [question.seconds for question in bench.asked] == [forecast.ROUNDS_S] * 5 + [
        pytest.approx(forecast.ROUNDS_S / 3)
    ] * 3
    assert [turn.arm for turn in bench.asked[-1].arms] == [turn.arm for turn in bench.asked[0].arms[:3]]
    assert "--global-batch 64" in " ".join(bench.asked[-1].flags), "all launches of a study have the same settings"


def test_a_check_that_was_interrupted_goes_on_with_the_launches_that_it_lacks(tmp_path: Path) -> None:
    drafted = draft(design="sweep", batches=[64, 256], launches=3)
    check = make_launch(3, truth=dict.fromkeys(designs.at([drafted.plan.turns[0].arm], 192), 0.01))
    drafted.launches.append(check)
    bench = Bench(tmp_path, lambda _: Look([], None))

    assert bench.carry_out(drafted)[0] == 0
    assert bench.numbers == [4, 5]
    assert {turn.global_batch for question in bench.asked for turn in question.arms} == {192}


def test_the_batch_of_a_check_is_not_one_that_the_study_asks_about(tmp_path: Path) -> None:
    drafted = draft("--more", design="sweep", batches=[64, 256], launches=3)
    for number in (3, 4, 5):
        drafted.launches.append(make_launch(number, truth={designs.at([drafted.plan.turns[0].arm], 192)[0]: 0.01}))
    pairs = [pair(64, is_known=True), pair(192), pair(256, is_known=True)]
    bench = Bench(tmp_path, lambda _: Look(pairs, None))

    assert bench.carry_out(drafted)[0] == 0
    assert bench.numbers == [6, 7, 8, 9, 10]


def test_a_launch_that_fails_begins_again_and_then_ends_the_study_with_its_cause(tmp_path: Path) -> None:
    once = Bench(tmp_path, known_from(1), [([[]], -signal.SIGKILL)])
    code, _ = once.carry_out(draft())
    assert (code, once.numbers) == (0, [0, 1, 2, 3, 4])
    assert "start 2 of 4 begins again" in " ".join(once.screen.getvalue().split())

    final = Bench(tmp_path, known_from(1), [([[Failed(why="no such file", code=2, is_final=True)]], 1)])
    code, _ = final.carry_out(draft())
    assert (code, final.numbers) == (2, [0])
    assert final.screen.getvalue().splitlines()[-1] == "launch.sh: launch 1: rank 0: no such file"


def test_a_signal_during_a_launch_ends_the_study_and_resume_goes_on(tmp_path: Path) -> None:
    stopped: list[Sequence[AnyNote]] = [[Failed(why="stopped by SIGTERM", code=75, is_final=True)]]
    bench = Bench(tmp_path, known_from(1), [(stopped, 75)])
    code, _ = bench.carry_out(draft())

    assert (code, bench.numbers) == (75, [0])
    assert "the same command with --resume goes on" in bench.screen.getvalue()


def test_a_signal_between_two_launches_starts_no_other(tmp_path: Path) -> None:
    def answer(_: int) -> Look:
        bench.stop.signal = signal.SIGTERM
        return Look([pair()], None)

    bench = Bench(tmp_path, answer)
    assert (bench.carry_out(draft())[0], bench.numbers) == (75, [0])


def test_what_stops_a_look_is_passed_on(tmp_path: Path) -> None:
    def answer(_: int) -> Look:
        raise Stopped

    with pytest.raises(Stopped):
        Bench(tmp_path, answer).carry_out(draft())


def test_a_scheduler_that_stops_a_study_between_two_runs_is_told_to_start_it_again(tmp_path: Path) -> None:
    """All runs so far are complete, so --resume goes on: 75, as after a run that was saved."""
    bench, drafted = Bench(tmp_path, known_from(1)), draft(launches=1)
    jobs = [Pending(Job(arm=arm, seed=0), has_begun=False) for arm in (pair().reference.arm, pair().parallel.arm)]

    def complete_and_stop(_: Program) -> Spawn:
        bench.stop.signal = signal.SIGTERM
        return lambda launch: FakeChild([[Complete()]], 0, launch)

    reporter = Reporter(tmp_path, Screen(bench.screen), 0)
    plan = replace(drafted.plan, jobs=[job for job, _ in jobs])
    with reporter.events:
        code = Runs(drafted, plan, reporter, bench.stop, complete_and_stop).carry_out(jobs, pair())

    assert bench.stop.exit_code(code) == 75
    assert "--resume" in bench.screen.getvalue()
