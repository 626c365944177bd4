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
    """An arm of the old study and one of the new. They are not paired: they were measured at different times."""

    before: TurnArm
    turn: TurnArm  # of the new study
    old_step_s: Estimate
    new_step_s: Estimate
    times_as_fast: Estimate  # the new study against the old one
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed from the old study to the new one."""

    old: Judgement
    new: Judgement
    fastest: ArmChange  # the fastest way to train in parallel of each: two arms where another one has become it
    arms: list[ArmChange]  # of both studies, each with itself, the fastest of the new study first

    @property
    def outcome(self) -> Outcome:
        """Whether the fastest way to train in parallel has become slower or faster."""
        return self.fastest.outcome


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
    """Compare two studies. Of a sweep the largest batch of the new study counts.

    Raises UserError where their machine or settings differ, or where one of them has not what is fastest in the other.
    """
    different = fairness.differences([old.study.newest, new.study.newest])
    if different:
        raise UserError(f"{old.study.name} and {new.study.name}: {fairness.describe(different)}; compare equal studies")
    batch = new.sweep.points[-1].global_batch if new.sweep else new.study.newest.settings.global_batch
    was, now = (_fastest(each, batch) for each in (old, new))
    for other, fastest, mine in ((new, now, old), (old, was, new)):
        if fastest not in mine.timing.turns:
            what = f"{fastest.label} at batch {batch}, the fastest way of {other.study.name} to train in parallel"
            raise UserError(f"{mine.study.name} has not measured {what}; run the same study twice")
    shared = sorted((turn for turn in new.timing.turns if turn in old.timing.turns), key=lambda turn: turn != now)
    return Change(old, new, _arm_change(old, was, new, now), [_arm_change(old, turn, new, turn) for turn in shared])


def _fastest(judgement: Judgement, batch: int) -> TurnArm:
    found = judgement.timing.parallel(batch)
    if found is None:
        what = f"{judgement.study.name} has nothing that trains in parallel at batch {batch}"
        raise UserError(f"{what}; compare studies of several ranks")
    return found


def _arm_change(old: Judgement, before: TurnArm, new: Judgement, turn: TurnArm) -> ArmChange:
    was_s, is_s = old.timing.of(before), new.timing.of(turn)
    logs = stats.apart(_logs(is_s), _logs(was_s), new.timing.error)
    if logs is None or logs.low is None or logs.high is None:
        ratio = Estimate(math.exp(_mean(_logs(was_s)) - _mean(_logs(is_s))), None, None, min(len(was_s), len(is_s)))
    else:
        ratio = Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.n)
    outcome = outcome_of(ratio, new.criteria.speed)
    return ArmChange(before, turn, old.timing.step_s(before), new.timing.step_s(turn), ratio, outcome)


def _logs(values: Sequence[float]) -> list[float]:
    return [math.log(value) for value in values]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
