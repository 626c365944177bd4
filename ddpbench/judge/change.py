"""Whether a study has become slower than a stored one of the same machine and settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.command import COMPARE
from ddpbench.errors import UserError
from ddpbench.judge import fairness, stats
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Outcome, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.turns import TurnArm


@dataclass(frozen=True, slots=True)
class ArmChange:
    """One arm in two studies. The two are not paired: they were measured at different times."""

    turn: TurnArm
    old_step_s: Estimate
    new_step_s: Estimate
    times_as_fast: Estimate  # the new study against the old one
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed from the old study to the new one."""

    old: Judgement
    new: Judgement
    arms: list[ArmChange]  # of both studies, that of the new study's answer first

    @property
    def outcome(self) -> Outcome:
        """Whether the arm of the new study's answer has become slower or faster."""
        return self.arms[0].outcome


def between(judgements: Sequence[Judgement], *, is_required: bool) -> Change | None:
    """Return the change where two comparable studies are given, the old one first. None where they are not that.

    Raises UserError where a change `is_required` and cannot be told.
    """
    if len(judgements) != 2:
        if is_required:
            raise UserError(f"--fail-if-slower needs two studies: {COMPARE} OLD NEW --fail-if-slower")
        return None
    try:
        return change(*judgements)
    except UserError:
        if is_required:
            raise
        return None


def change(old: Judgement, new: Judgement) -> Change:
    """Compare two studies. Raises UserError where their machine or settings differ, or where they share no arm."""
    different = fairness.differences([old.study.newest, new.study.newest])
    if different:
        raise UserError(f"{old.study.name} and {new.study.name}: {fairness.describe(different)}; compare equal studies")
    found = [each for turn in new.timing.turns if (each := _arm_change(old, new, turn)) is not None]
    if not found:
        raise UserError(f"{old.study.name} and {new.study.name} share no arm; run the same study twice")
    main = new.parallel.turn if new.parallel else None
    return Change(old, new, sorted(found, key=lambda each: each.turn != main))


def _arm_change(old: Judgement, new: Judgement, turn: TurnArm) -> ArmChange | None:
    before, after = old.timing.of(turn), new.timing.of(turn)
    if not before or not after:
        return None
    logs = stats.apart(_logs(after), _logs(before), new.timing.error)
    if logs is None or logs.low is None or logs.high is None:
        ratio = Estimate(math.exp(_mean(_logs(before)) - _mean(_logs(after))), None, None, min(len(before), len(after)))
    else:
        ratio = Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.n)
    outcome = outcome_of(ratio, new.criteria.speed)
    return ArmChange(turn, old.timing.step_s(turn), new.timing.step_s(turn), ratio, outcome)


def _logs(values: Sequence[float]) -> list[float]:
    return [math.log(value) for value in values]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
