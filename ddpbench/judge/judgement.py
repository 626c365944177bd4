"""All that is concluded from one study, in one value: what every output shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ddpbench.errors import UserError
from ddpbench.judge import cautions, scaling
from ddpbench.judge import sweep as sweeps
from ddpbench.judge.arms import (
    ArmResult,
    final_accuracy,
    judge,
    main_parallel,
    pairs,
    per_seed,
    reference_of,
    run_epoch_s,
    speedup,
)
from ddpbench.judge.breakdown import Breakdown, break_down
from ddpbench.judge.stats import Equivalence, Estimate, equivalence, mean
from ddpbench.judge.study import Study
from ddpbench.record import Record

MARGIN = 0.003  # of accuracy: 0.3 points


@dataclass(frozen=True, slots=True)
class StartUp:
    """What starting the parallel arm costs. `break_even_epochs` is None where it never earns that back."""

    reference_s: Estimate
    parallel_s: Estimate
    break_even_epochs: float | None


@dataclass(frozen=True, slots=True)
class LargerBatch:
    """The speedup that was measured at a larger global batch, in short runs."""

    global_batch: int
    speedup: Estimate


@dataclass(frozen=True, slots=True)
class Judgement:
    """One study, judged. None and empty where something was not measured."""

    study: Study
    results: list[ArmResult]
    reference: ArmResult | None
    parallel: ArmResult | None  # the arm that the verdict is about
    accuracy: Equivalence | None
    ratios: list[float]  # reference time / parallel time, a pair of runs each
    breakdowns: list[Breakdown]  # of every ddp arm, the main one first
    startup: StartUp | None
    scaling: list[scaling.Row]
    larger_batch: LargerBatch | None
    sweep: sweeps.Sweep | None  # of a study of timed runs alone
    cautions: list[str]

    @property
    def ceiling(self) -> ArmResult | None:
        """The control of the main parallel arm."""
        if self.parallel is None:
            return None
        mine = self.parallel.arm
        same = (result for result in self.results if result.arm.is_control and result.arm.world_size == mine.world_size)
        return next(same, None)

    @property
    def main_breakdown(self) -> Breakdown | None:
        """The breakdown of the arm that the verdict is about."""
        return self.breakdowns[0] if self.breakdowns else None


def margin(points: float) -> float:
    """Return a margin of accuracy, 0..1, from points. Raises UserError for one that cannot be."""
    if not 0 < points < 100:
        raise UserError(f"--margin must be between 0 and 100 points, got {points:g}")
    return points / 100


def of(study: Study, *, margin: float = MARGIN) -> Judgement:
    """Judge a study. `margin` is the difference in accuracy, 0..1, that matters."""
    results = judge(study.records)
    reference, parallel = reference_of(results), main_parallel(results)
    ddp = [result for result in results if result.arm.kind == "ddp" and not result.arm.is_control]
    ddp.sort(key=lambda result: result is not parallel)
    breakdowns = [break_down(study, result.arm) for result in ddp if result.arm.world_size > 1]
    sweep = None if study.records else sweeps.sweep(study)
    both = reference is not None and parallel is not None
    return Judgement(
        study=study,
        results=results,
        reference=reference,
        parallel=parallel,
        accuracy=_accuracy(reference, parallel, margin) if both else None,
        ratios=[old / new for old, new in _paired(reference, parallel, run_epoch_s)] if both else [],
        breakdowns=breakdowns,
        startup=_startup(reference, parallel) if both else None,
        scaling=[row for result in ddp for row in scaling.rows(study, result.arm)],
        larger_batch=_larger_batch(study, parallel),
        sweep=sweep,
        cautions=cautions.find(study, results, breakdowns, sweep),
    )


def _paired(reference: ArmResult | None, parallel: ArmResult | None, figure) -> list[tuple[float, float]]:  # type: ignore[no-untyped-def]
    if reference is None or parallel is None:
        return []
    return pairs(per_seed(reference.runs, figure), per_seed(parallel.runs, figure))


def _accuracy(reference: ArmResult | None, parallel: ArmResult | None, margin: float) -> Equivalence | None:
    gains = [new - old for old, new in _paired(reference, parallel, final_accuracy)]
    return equivalence(gains, margin) if gains else None


def _startup(reference: ArmResult | None, parallel: ArmResult | None) -> StartUp | None:
    if reference is None or parallel is None:
        return None
    before, after = (mean([run.startup_s for run in result.runs]) for result in (reference, parallel))
    saved_s = fmean(map(run_epoch_s, reference.runs)) - fmean(map(run_epoch_s, parallel.runs))
    even = max(0.0, after.value - before.value) / saved_s if saved_s > 0 else None
    return StartUp(before, after, even)


def _larger_batch(study: Study, parallel: ArmResult | None) -> LargerBatch | None:
    """Return the speedup at the weak-scaling batch, where a single process was timed there too."""
    if parallel is None or parallel.arm.kind != "ddp":
        return None
    batch = parallel.runs[0].settings.global_batch * parallel.arm.world_size
    mine = scaling.at_batch(study, parallel.arm, batch)
    singles = _singles_at(study.timed, batch)
    if not mine or not singles:
        return None
    faster = min((speedup(single, mine) for single in singles), key=lambda each: each.value if each else 1e9)
    return LargerBatch(batch, faster) if faster else None


def _singles_at(timed: Sequence[Record], batch: int) -> list[list[Record]]:
    arms = {run.threads_per_rank for run in timed if run.kind == "baseline" and run.settings.global_batch == batch}
    return [
        [
            run
            for run in timed
            if run.kind == "baseline" and run.threads_per_rank == threads and run.settings.global_batch == batch
        ]
        for threads in sorted(arms)
    ]
