"""What was learnt: where the points of a loss curve lie, and the metric by part of the test set."""

import math
from itertools import accumulate
from statistics import fmean

from ddpbench.judge.arms import ArmResult
from ddpbench.judge.epochs import epochs_s, num_steps
from ddpbench.judge.stats import Estimate, mean
from ddpbench.record import Metric, Record


def final_loss(result: ArmResult) -> float:
    """Return the training loss of the last epoch, the mean over runs."""
    return fmean(run.epochs[-1].train_loss for run in result.runs)


def losses(run: Record) -> list[float]:
    """Return the training loss at every point of a run's curve: means of equally long parts of its epochs."""
    return [loss for epoch in run.epochs for loss in epoch.loss_curve]


def points_in_epochs(run: Record) -> list[float]:
    """Return where the points of the loss curve lie, in epochs: each in the middle of its part."""
    count = len(run.epochs[0].loss_curve)
    return [(index + 0.5) / count for index in range(count * len(run.epochs))]


def points_in_steps(run: Record) -> list[float]:
    """Return where the points of the loss curve lie, in optimizer steps."""
    return [epoch * num_steps(run) for epoch in points_in_epochs(run)]


def points_in_seconds(run: Record) -> list[float]:
    """Return where the points of the loss curve lie, in seconds of training. Speed is constant within an epoch."""
    count = len(run.epochs[0].loss_curve)
    durations = epochs_s(run)
    starts = [0.0, *accumulate(durations)]
    return [
        start + (index + 0.5) / count * epoch_s
        for start, epoch_s in zip(starts, durations, strict=False)
        for index in range(count)
    ]


def by_part(result: ArmResult) -> dict[str, Estimate]:
    """Estimate the mean of each part of the test set over runs, in the unit that is shown. Empty without parts.

    A part without a sample in the test set is left out: it has no mean. A task whose `score` makes another figure of
    the mean has no figure for a part: its parts are in another unit.
    """
    metric = result.runs[0].metric
    if not metric.parts or not all(_is_mean(run) for run in result.runs):
        return {}
    return {
        name: mean([metric.shown(run.epochs[-1].metric_sums[index] / count) for run in result.runs])
        for index, (name, count) in enumerate(zip(metric.parts, metric.counts, strict=True))
        if count > 0
    }


def difference_unit(metric: Metric) -> str:
    """Return the unit of a difference: shares in percent differ by points."""
    return "points" if metric.unit == "%" else metric.unit


def _is_mean(run: Record) -> bool:
    """Return whether a run's metric is the mean over the test set, as every share is."""
    found = sum(run.epochs[-1].metric_sums) / sum(run.metric.counts)
    return run.metric.unit == "%" or math.isclose(found, run.epochs[-1].metric, rel_tol=1e-4, abs_tol=1e-9)
