"""What is known of each arm of a study: its times, speedup, efficiency and accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ddpbench.judge.stats import Estimate, deviation, mean, ratio
from ddpbench.judge.study import Study
from ddpbench.record import Arm, Epoch, Record, arm_of


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
    accuracy_gain: Estimate | None  # this arm's accuracy less the reference's


def counted_epochs(record: Record) -> list[Epoch]:
    """Return the epochs whose time counts: the first is warm-up where there are more."""
    return record.epochs[1:] or record.epochs


def run_epoch_s(record: Record) -> float:
    """Return the seconds of training per counted epoch of one run."""
    return fmean(epoch.train_s for epoch in counted_epochs(record))


def judge(study: Study) -> list[ArmResult]:
    """Judge every arm against the reference: single processes first, controls last."""
    by_arm: dict[Arm, list[Record]] = {}
    for record in study.records:
        by_arm.setdefault(arm_of(record), []).append(record)
    reference = min(
        (arm for arm in by_arm if arm.kind == "baseline"),
        key=lambda arm: fmean(run_epoch_s(run) for run in by_arm[arm]),
    )
    order = sorted(
        by_arm, key=lambda arm: (arm.is_control, arm.kind, arm.world_size, arm.threads_per_rank, arm.comm or "")
    )
    return [_judge_arm(arm, by_arm, reference) for arm in order]


def main_parallel(results: Sequence[ArmResult]) -> ArmResult:
    """Return the parallel arm that the sentence is about: the fastest that is a result; DDP before DataParallel."""
    candidates = [result for result in results if result.arm.kind != "baseline" and not result.arm.is_control]
    return min(candidates, key=lambda result: (result.arm.kind != "ddp", result.epoch_s.value))


def reference_of(results: Sequence[ArmResult]) -> ArmResult:
    """Return the arm that others are divided by."""
    return next(result for result in results if result.is_reference)


def _judge_arm(arm: Arm, by_arm: dict[Arm, list[Record]], reference: Arm) -> ArmResult:
    runs = by_arm[arm]
    times = [run_epoch_s(run) for run in runs]
    speeds = [counted_epochs(run)[0].samples / run_epoch_s(run) for run in runs]
    accuracies = [run.epochs[-1].test_accuracy for run in runs]
    one_worker = _one_worker(arm, by_arm)
    over_one = _speedup(by_arm[one_worker], runs) if one_worker else None
    return ArmResult(
        arm=arm,
        runs=runs,
        is_reference=arm == reference,
        epoch_s=mean(times),
        epoch_sd_s=deviation(times),
        samples_per_s=mean(speeds),
        samples_per_s_sd=deviation(speeds),
        speedup=None if arm == reference else _speedup(by_arm[reference], runs),
        efficiency=_scaled(over_one, 1 / arm.world_size) if over_one else None,
        accuracy=mean(accuracies),
        accuracy_sd=deviation(accuracies),
        accuracy_gain=None if arm == reference or arm.is_control else _accuracy_gain(by_arm[reference], runs),
    )


def _one_worker(arm: Arm, by_arm: dict[Arm, list[Record]]) -> Arm | None:
    """Return the single-process arm with the resources of one rank of `arm`, where it was run.

    On GPUs that is one GPU, whatever the threads of the process that feeds it.
    """
    if arm.kind != "ddp":
        return None
    on_gpu = by_arm[arm][0].settings.device == "cuda"
    singles = [other for other in by_arm if other.kind == "baseline"]
    able = [other for other in singles if on_gpu or other.threads_per_rank == arm.threads_per_rank]
    return min(able, key=lambda other: fmean(map(run_epoch_s, by_arm[other])), default=None)


def _by_seed(runs: Sequence[Record]) -> dict[int, list[Record]]:
    grouped: dict[int, list[Record]] = {}
    for run in runs:
        grouped.setdefault(run.seed, []).append(run)
    return grouped


def _pairs(before: Sequence[Record], after: Sequence[Record]) -> list[tuple[list[Record], list[Record]]]:
    """Pair the runs of two arms by seed; runs that share a seed count as one."""
    left, right = _by_seed(before), _by_seed(after)
    return [(left[seed], right[seed]) for seed in left if seed in right]


def _speedup(before: Sequence[Record], after: Sequence[Record]) -> Estimate | None:
    pairs = [(fmean(map(run_epoch_s, left)), fmean(map(run_epoch_s, right))) for left, right in _pairs(before, after)]
    return ratio([left for left, _ in pairs], [right for _, right in pairs]) if pairs else None


def _accuracy_gain(before: Sequence[Record], after: Sequence[Record]) -> Estimate | None:
    def final(runs: Sequence[Record]) -> float:
        return fmean(run.epochs[-1].test_accuracy for run in runs)

    gains = [final(right) - final(left) for left, right in _pairs(before, after)]
    return mean(gains) if gains else None


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    low, high = (None if bound is None else bound * factor for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value * factor, low, high, estimate.n)
