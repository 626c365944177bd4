"""The launches of a study: in each, all arms take turns. They go on until the answer is known, or the time is spent."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from ddpbench import config
from ddpbench.errors import Preempted
from ddpbench.study import designs, forecast
from ddpbench.study.draft import Draft
from ddpbench.study.forecast import Left, Rule
from ddpbench.study.launch_line import result
from ddpbench.study.reporter import Reporter
from ddpbench.study.runner import Notebook, Program, Spawn, Stop, supervise
from ddpbench.turns import FIRST_LOOK, Look, Pair, Question, TurnArm, path_of

CHECKS = 3  # launches that check the prediction of a sweep
CHECK_SHARE = 1 / 3  # of the rounds of a launch: the check of a sweep has few arms


@dataclass
class Launches:
    """The launches of one study, those that are there and those that follow."""

    draft: Draft
    reporter: Reporter
    stop: Stop
    look: Callable[[], Look]  # asks what the launches so far say
    spawn: Callable[[Program], Spawn]  # starts the processes of a launch
    clock: Callable[[], float] = time.monotonic
    latest: Look | None = None  # the answer to the newest look
    _longest_s: float = field(default=0.0, init=False)  # of the launches that were carried out

    def __post_init__(self) -> None:
        """Sort the launches that are there into those of the study's own arms, and checks of a sweep's prediction."""
        own = set(self.draft.plan.turns)
        is_check = [own.isdisjoint(visits.turn for visits in launch.visits) for launch in self.draft.launches]
        self._count = is_check.count(False)  # of launches with the study's own arms
        checks = [launch for launch, checks in zip(self.draft.launches, is_check, strict=True) if checks]
        self._checks, self._checked_batch = len(checks), checks[0].visits[0].turn.global_batch if checks else None
        self._next_number = max((launch.number + 1 for launch in self.draft.launches), default=0)

    def carry_out(self) -> int:
        """Carry out launches until they are enough. Returns 0, or the exit code of the launch that ends the study.

        Raises what `look` raises.
        """
        is_more = self.draft.options.is_more
        if self._checks == 0 or is_more:
            code = self._until_known(FIRST_LOOK + (self._count if is_more else 0))
            if code != 0:
                return code
        return self._check_prediction() if self.draft.plan.request.design == "sweep" else 0

    def pairs(self) -> list[Pair]:
        """Return what the newest look says about the batches that the study asks about."""
        batches = self.draft.plan.batches
        return [pair for pair in (self.latest.pairs if self.latest else []) if pair.reference.global_batch in batches]

    def _until_known(self, least: int) -> int:
        budget_s = 60 * self.draft.options.minutes
        rule, begin_s = Rule(least, budget_s), self.clock()
        self._longest_s = 0.0
        if self._count > 0:
            self.latest = self.look()
        while (left := self._left(rule, self.clock() - begin_s)) is not None:
            rounds_s = forecast.rounds_s(budget_s)
            code = self._carry_out_one(self._turns(), rounds_s, left)
            if code != 0:
                return code
            self._count += 1
            self.latest = self.look()
            if self._next_number == 1:
                self.reporter.checked(self.latest.findings)
            left = self._left(rule, self.clock() - begin_s) or self._with_runs(Left(0.0, is_most=False))
            self.reporter.launch_judged(self._next_number, result(self.pairs()), left)
        return 0

    def _turns(self) -> list[TurnArm]:
        """Return the arms of the next launch: all, or those that a user could choose.

        Where a round of all takes most of a usual launch, because steps are long, every other launch has only the
        latter: the rounds that remain tell more about the answer than about its causes.
        """
        turns = self.draft.plan.turns
        is_heavy = self.latest is not None and self.latest.round_s > forecast.ROUNDS_S / 2
        if self.draft.plan.request.design == "sweep" or not is_heavy or self._count % 2 == 0:
            return turns
        return designs.choices(turns, self.draft.plan.batches[0])

    def _left(self, rule: Rule, spent_s: float) -> Left | None:
        """Return the time that is left where another launch follows; None where the launches are enough."""
        pairs = self.pairs()
        next_s = self._longest_s or forecast.launch_s(rule.budget_s, self.draft.machine)
        if rule.is_enough(self._count, pairs, spent_s, next_s):
            return None
        return self._with_runs(rule.left(self._count, pairs, spent_s, next_s))

    def _check_prediction(self) -> int:
        """Carry out launches at the batch where a sweep predicts that both ways are equally fast."""
        batch = self._checked_batch or (self.latest.next_batch if self.latest else None)
        if batch is None:
            return 0
        arms = list(dict.fromkeys(turn.arm for turn in self.draft.plan.turns))
        rounds_s = forecast.rounds_s(60 * self.draft.options.minutes) * CHECK_SHARE
        for launches_left in range(CHECKS - self._checks, 0, -1):
            before, left = (
                Left(count * (rounds_s + forecast.start_s(self.draft.machine)) + forecast.JUDGE_S, is_most=False)
                for count in (launches_left, launches_left - 1)
            )
            code = self._carry_out_one(designs.at(arms, batch), rounds_s, before)
            if code != 0:
                return code
            self.reporter.launch_judged(self._next_number, f"checks the prediction at batch {batch}", left)
        return 0

    def _carry_out_one(self, turns: Sequence[TurnArm], rounds_s: float, left: Left) -> int:
        """Carry out one launch. Returns 0 where its record is there, otherwise the exit code that ends the study."""
        if self.stop.signal is not None:
            self.reporter.stopped()
            return Preempted.exit_code
        number, begin_s = self._next_number, self.clock()
        program = self._program(number, turns, rounds_s)
        line = self.reporter.launch_began(number, program.command, result(self.pairs()) if self.pairs() else "", left)
        restarts = self.draft.options.restarts
        with Notebook() as notebook:
            end = supervise(
                self.spawn(program),
                notebook,
                self.stop,
                line,
                restarts=restarts,
                has_ranks=True,
                goes_on=self.reporter.goes_on,
            )
        line.launch_ended(end)
        self.reporter.ended(f"launch {number + 1}", end)
        if end.outcome == "complete":
            self._next_number, self._longest_s = number + 1, max(self._longest_s, self.clock() - begin_s)
        return end.exit_code

    def _program(self, number: int, turns: Sequence[TurnArm], rounds_s: float) -> Program:
        folder = self.reporter.folder
        batch = self.draft.plan.batches[0]  # the same in all launches, which are comparable then; each arm has its own
        cfg = replace(self.draft.options.train, global_batch=batch, results=folder, resume=False)
        path = str(path_of(folder, number))
        question = Question(config.to_flags(cfg), list(turns), self._focus(turns), number, rounds_s, path)
        words = ["-m", "ddpbench.train.turns", msgspec.json.encode(question).decode()]
        return Program(
            [sys.executable, "-m", "ddpbench.train.agent", str(designs.ranks_of(turns)), *words],
            self.reporter.logs / f"turns-{number:03}.log",
        )

    def _focus(self, turns: Sequence[TurnArm]) -> list[TurnArm]:
        """Return the arms that the answer is about: in every round, so that it is known sooner.

        Before the first look they are the expected ones. In a sweep every arm is one of them.
        """
        if self.draft.plan.request.design == "sweep":
            return list(turns)
        pairs = self.pairs()
        if pairs:
            return [pairs[0].reference, pairs[0].parallel]
        return designs.at(designs.expected_arms(turns), self.draft.plan.batches[0])

    def _with_runs(self, left: Left) -> Left:
        """Return the time that is left with that of the whole runs, as far as it is known, and of judging."""
        plan, runs_s = self.draft.plan, 0.0
        for pair in self.pairs()[:1]:
            jobs = designs.runs(plan, [pair], is_more=self.draft.options.is_more)
            left_jobs = [job for job in jobs if job not in plan.jobs]
            runs_s = sum(forecast.job_estimates_s(left_jobs, pair, plan.request.settings, self.draft.machine).values())
        return left._replace(seconds=left.seconds + runs_s + forecast.JUDGE_S)
