"""What was learnt: where the points of a loss curve lie, and accuracy by class."""

from itertools import accumulate
from statistics import fmean

from ddpbench.judge.arms import ArmResult
from ddpbench.judge.epochs import is_undisturbed, num_steps, run_epoch_s
from ddpbench.judge.stats import Estimate, mean
from ddpbench.record import Record


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


def epochs_s(run: Record) -> list[float]:
    """Return the seconds of every epoch. A disturbed epoch is taken to be as long as those that count."""
    return [epoch.train_s if is_undisturbed(epoch) else run_epoch_s(run) for epoch in run.epochs]


def accuracy_by_class(result: ArmResult) -> dict[str, Estimate]:
    """Estimate the test accuracy of each class over runs, 0 to 1."""
    tests = result.runs[0].test_set
    return {
        name: mean([run.epochs[-1].correct_per_class[index] / count for run in result.runs])
        for index, (name, count) in enumerate(zip(tests.classes, tests.samples_per_class, strict=True))
    }
