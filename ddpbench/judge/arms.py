"""The arms of a study: time, speedup, efficiency and accuracy of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ddpbench.arm import Arm, arm_of
from ddpbench.judge.epochs import final_accuracy, run_epoch_s, run_samples_per_s, run_step_s
from ddpbench.judge.stats import Estimate, deviation, mean, ratio
from ddpbench.record import Record


@dataclass(frozen=True, slots=True)
class ArmResult:
    """The figures of one arm. None where something was not measured, or where one run has no standard deviation."""

    arm: Arm
    runs: list[Record]
    is_reference: bool
    epoch_s: Estimate
    epoch_sd_s: float | None
    samples_per_s: Estimate
    samples_per_s_sd: float | None
    speedup: Estimate | None  # reference time / this arm's time
    efficiency: Estimate | None  # speedup over one worker alone / number of workers
    accuracy: Estimate  # 0 to 1
    accuracy_sd: float | None


def compare_arms(records: Sequence[Record]) -> list[ArmResult]:
    """Compare every arm with the reference, the fastest single process. Without one there are no speedups.

    All `records` must have one global batch.
    """
    runs = by_arm(records)
    singles = [arm for arm in runs if arm.kind == "baseline"]
    reference = min(singles, key=lambda arm: _median_step_s(runs[arm]), default=None)
    return [_result(arm, runs, reference) for arm in runs]


def by_arm(records: Sequence[Record]) -> dict[Arm, list[Record]]:
    """Group runs by arm. Controls come last; single processes come before ddp."""
    grouped: dict[Arm, list[Record]] = {}
    for record in records:
        grouped.setdefault(arm_of(record), []).append(record)
    order = sorted(grouped, key=lambda arm: (arm.is_control, arm.kind, arm.world_size, arm.threads_per_rank, arm.slug))
    return {arm: grouped[arm] for arm in order}


def is_parallel_choice(arm: Arm) -> bool:
    """Return whether a user could choose this arm to train in parallel: no single process, and no control."""
    return arm.kind != "baseline" and not arm.is_control


def main_parallel(results: Sequence[ArmResult]) -> ArmResult | None:
    """Return the arm that the verdict is about: the fastest parallel one, ddp before DataParallel; None without one."""
    choices = [result for result in results if is_parallel_choice(result.arm)]
    return min(choices, key=lambda result: (result.arm.kind != "ddp", _median_step_s(result.runs)), default=None)


def reference_of(results: Sequence[ArmResult]) -> ArmResult | None:
    """Return the arm that speedups are relative to; None without a single-process run."""
    return next((result for result in results if result.is_reference), None)


def one_worker(arm: Arm, runs: dict[Arm, list[Record]]) -> Arm | None:
    """Return the single-process arm with the resources of one rank of `arm`; None if it was not run.

    On GPUs that is one GPU, whatever the number of threads of its process.
    """
    if arm.kind != "ddp":
        return None
    on_gpu = any(run.settings.device == "cuda" for run in runs.get(arm, []))
    singles = [other for other in runs if other.kind == "baseline"]
    alike = [other for other in singles if on_gpu or other.threads_per_rank == arm.threads_per_rank]
    return min(alike, key=lambda other: _median_step_s(runs[other]), default=None)


def per_seed(runs: Sequence[Record], figure: Callable[[Record], float]) -> dict[int, float]:
    """Return a figure for each seed. Runs that share a seed count once, with their mean."""
    grouped: dict[int, list[float]] = {}
    for run in runs:
        grouped.setdefault(run.seed, []).append(figure(run))
    return {seed: fmean(values) for seed, values in grouped.items()}


def pairs(
    before: Sequence[Record], after: Sequence[Record], figure: Callable[[Record], float]
) -> list[tuple[float, float]]:
    """Pair a figure of two arms by seed. A seed that only one of them has is left out."""
    old, new = per_seed(before, figure), per_seed(after, figure)
    return [(old[seed], new[seed]) for seed in old if seed in new]


def speedup(before: Sequence[Record], after: Sequence[Record]) -> Estimate | None:
    """Estimate how many times as fast as `before` a step of `after` is; None without a common seed."""
    times = pairs(before, after, run_step_s)
    return ratio([old for old, _ in times], [new for _, new in times]) if times else None


def _median_step_s(runs: Sequence[Record]) -> float:
    """Return the step time by which arms are ranked. With the median, one disturbed run cannot change the choice."""
    return median(map(run_step_s, runs))


def _result(arm: Arm, runs: dict[Arm, list[Record]], reference: Arm | None) -> ArmResult:
    mine = runs[arm]
    times = [run_epoch_s(run) for run in mine]
    speeds = [run_samples_per_s(run) for run in mine]
    accuracies = [final_accuracy(run) for run in mine]
    worker = one_worker(arm, runs)
    over_one = speedup(runs[worker], mine) if worker else None
    return ArmResult(
        arm=arm,
        runs=mine,
        is_reference=arm == reference,
        epoch_s=mean(times),
        epoch_sd_s=deviation(times),
        samples_per_s=mean(speeds),
        samples_per_s_sd=deviation(speeds),
        speedup=speedup(runs[reference], mine) if reference is not None and arm != reference else None,
        efficiency=over_one.scaled(1 / arm.world_size) if over_one else None,
        accuracy=mean(accuracies),
        accuracy_sd=deviation(accuracies),
    )
