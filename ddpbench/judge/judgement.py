"""All that is concluded from one study, in one value. Every output is made from it."""

from dataclasses import dataclass

from ddpbench.judge import cautions, scaling, sweep
from ddpbench.judge.arms import ArmResult, compare_arms, main_parallel, reference_of
from ddpbench.judge.breakdown import Breakdown, break_down
from ddpbench.judge.comparison import Comparison, compare
from ddpbench.judge.outcome import Outcome
from ddpbench.judge.scaling import LargerBatch, Row
from ddpbench.judge.study import Study
from ddpbench.judge.sweep import Sweep

MARGIN = 0.003  # the smallest difference in accuracy (0 to 1) that matters, unless the user names another


@dataclass(frozen=True, slots=True)
class Judgement:
    """The conclusions from one study. None, or an empty list, where something was not measured."""

    study: Study
    results: list[ArmResult]  # of every arm
    comparison: Comparison | None  # of the main parallel arm with the reference
    breakdowns: list[Breakdown]  # of every ddp arm, the main one first
    scaling: list[Row]
    larger_batch: LargerBatch | None
    sweep: Sweep | None  # only of a study that has no whole runs
    cautions: list[str]

    @property
    def reference(self) -> ArmResult | None:
        """The arm that speedups are relative to: the fastest single process."""
        return reference_of(self.results)

    @property
    def parallel(self) -> ArmResult | None:
        """The arm that the verdict is about."""
        return main_parallel(self.results)

    @property
    def outcome(self) -> Outcome | None:
        """Whether the main parallel arm pays. None for a sweep, which has an outcome for every batch."""
        if self.sweep is not None:
            return None
        return self.comparison.outcome if self.comparison else "cannot_tell"

    @property
    def main_breakdown(self) -> Breakdown | None:
        """The breakdown of the arm that the verdict is about."""
        return self.breakdowns[0] if self.breakdowns else None


def judge(study: Study, *, margin: float = MARGIN) -> Judgement:
    """Judge a study. `margin` is the smallest difference in accuracy, 0 to 1, that matters."""
    results = compare_arms(study.records)
    parallel = main_parallel(results)
    ddp = [result for result in results if result.arm.kind == "ddp" and not result.arm.is_control]
    ddp.sort(key=lambda result: result is not parallel)
    breakdowns = [break_down(study, result.arm) for result in ddp if result.arm.world_size > 1]
    swept = None if study.records else sweep.analyse(study)
    return Judgement(
        study=study,
        results=results,
        comparison=compare(results, margin),
        breakdowns=breakdowns,
        scaling=[row for result in ddp for row in scaling.rows(study, result.arm)],
        larger_batch=scaling.larger_batch(study, parallel),
        sweep=swept,
        cautions=cautions.find(study, results, breakdowns, swept),
    )
