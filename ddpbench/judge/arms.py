"""What is known of each arm of a study: its times, speedup, efficiency and accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TypeVar

from ddpbench.arm import Arm, arm_of
from ddpbench.judge.stats import Estimate, deviation, mean, ratio
from ddpbench.record import Epoch, Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm, judged. None where something was not measured."""

    arm: Arm
    runs: list[Record]
    is_reference: bool
    epoch_s: Estimate
    epoch_sd_s: float | None
    samples_per_s: Estimate
    samples_per_s_sd: float | None
    speedup: Estimate | None  # reference time / this arm's time
    efficiency: Estimate | None  # speedup over the one-worker arm / number of workers
    accuracy: Estimate
    accuracy_sd: float | None


def is_timed(epoch: Epoch) -> bool:
    """Whether an epoch's time is that of training: it was neither interrupted by a restart nor stood still."""
    return not (epoch.resumed or epoch.suspended)


def counted(record: Record, per_epoch: Sequence[T]) -> list[T]:
    """Return the values of the epochs whose time counts. The first is warm-up where there are more."""
    whole = list(map(is_timed, record.epochs))
    later = [value for value, counts in list(zip(per_epoch, whole, strict=True))[1:] if counts]
    return later or [value for value, counts in zip(per_epoch, whole, strict=True) if counts]


def counts_warm_up(record: Record) -> bool:
    """Whether the first epoch had to count, as no later one can."""
    return counted(record, range(len(record.epochs)))[0] == 0


def mean_counted(record: Record, per_epoch: Sequence[float] | None) -> float:
    """Return the mean over the epochs whose time counts; 0 for what a run without a reduction has not."""
    return fmean(counted(record, per_epoch)) if per_epoch else 0.0


def run_epoch_s(record: Record) -> float:
    """Return the seconds of training per counted epoch of one run."""
    return mean_counted(record, [epoch.train_s for epoch in record.epochs])


def num_steps(record: Record) -> int:
    """Return the optimizer steps of an epoch."""
    return max(1, record.epochs[0].samples // record.settings.global_batch)


def run_step_s(record: Record) -> float:
    """Return the seconds of a training step of one run."""
    return run_epoch_s(record) / num_steps(record)


def final_accuracy(record: Record) -> float:
    """Return the accuracy at the end of a run."""
    return record.epochs[-1].test_accuracy


def by_arm(records: Sequence[Record]) -> dict[Arm, list[Record]]:
    """Group runs by arm: single processes first, controls last."""
    grouped: dict[Arm, list[Record]] = {}
    for record in records:
        grouped.setdefault(arm_of(record), []).append(record)
    order = sorted(grouped, key=lambda arm: (arm.is_control, arm.kind, arm.world_size, arm.threads_per_rank, arm.slug))
    return {arm: grouped[arm] for arm in order}


def judge(records: Sequence[Record]) -> list[ArmResult]:
    """Judge every arm against the reference, the fastest single process; without one there are no speedups.

    `records` are runs at one batch size.
    """
    runs = by_arm(records)
    singles = [arm for arm in runs if arm.kind == "baseline"]
    # By the median, so that one disturbed run does not decide what all others are divided by.
    reference = min(singles, key=lambda arm: median(map(run_step_s, runs[arm])), default=None)
    return [_judge_arm(arm, runs, reference) for arm in runs]


def is_result(arm: Arm) -> bool:
    """Whether an arm is a parallel way of training that a person could choose."""
    return arm.kind != "baseline" and not arm.is_control


def main_parallel(results: Sequence[ArmResult]) -> ArmResult | None:
    """Return the parallel arm that the verdict is about: the fastest that is a result; DDP before DataParallel."""
    candidates = [result for result in results if is_result(result.arm)]
    return min(
        candidates, key=lambda result: (result.arm.kind != "ddp", median(map(run_step_s, result.runs))), default=None
    )


def reference_of(results: Sequence[ArmResult]) -> ArmResult | None:
    """Return the arm that others are divided by; None without a single-process run."""
    return next((result for result in results if result.is_reference), None)


def one_worker(arm: Arm, runs: dict[Arm, list[Record]]) -> Arm | None:
    """Return the single-process arm with the resources of one rank of `arm`, where it was run.

    On GPUs that is one GPU, whatever the threads of the process that feeds it.
    """
    if arm.kind != "ddp":
        return None
    on_gpu = any(run.settings.device == "cuda" for run in runs.get(arm, []))
    singles = [other for other in runs if other.kind == "baseline"]
    able = [other for other in singles if on_gpu or other.threads_per_rank == arm.threads_per_rank]
    return min(able, key=lambda other: median(map(run_step_s, runs[other])), default=None)


def per_seed(runs: Sequence[Record], of: Callable[[Record], float]) -> dict[int, float]:
    """Return a figure of each seed; runs that share a seed count as one, their mean."""
    grouped: dict[int, list[float]] = {}
    for run in runs:
        grouped.setdefault(run.seed, []).append(of(run))
    return {seed: fmean(values) for seed, values in grouped.items()}


def pairs(before: dict[int, float], after: dict[int, float]) -> list[tuple[float, float]]:
    """Pair the figures of two arms by seed."""
    return [(before[seed], after[seed]) for seed in before if seed in after]


def speedup(before: Sequence[Record], after: Sequence[Record]) -> Estimate | None:
    """Estimate how many times as fast `after` is, step for step; None without a common seed."""
    times = pairs(per_seed(before, run_step_s), per_seed(after, run_step_s))
    return ratio([left for left, _ in times], [right for _, right in times]) if times else None


def _judge_arm(arm: Arm, runs: dict[Arm, list[Record]], reference: Arm | None) -> ArmResult:
    mine = runs[arm]
    times = [run_epoch_s(run) for run in mine]
    speeds = [run.settings.global_batch / run_step_s(run) for run in mine]
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
