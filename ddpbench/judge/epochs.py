"""Figures of one run: which of its epochs count, and its seconds per epoch and per step."""

from collections.abc import Sequence
from statistics import fmean
from typing import TypeVar

from ddpbench.record import Epoch, Record

T = TypeVar("T")


def is_undisturbed(epoch: Epoch) -> bool:
    """Return whether an epoch's time is training alone: no restart fell into it, and nothing suspended the run."""
    return not (epoch.resumed or epoch.suspended)


def counted(record: Record, per_epoch: Sequence[T]) -> list[T]:
    """Select, from a value for each epoch, the values of the epochs that count.

    Undisturbed epochs count. The first epoch is warm-up: it counts only if no later one does.
    """
    pairs = list(zip(per_epoch, map(is_undisturbed, record.epochs), strict=True))
    later = [value for value, counts in pairs[1:] if counts]
    return later or [value for value, counts in pairs if counts]


def counts_warm_up(record: Record) -> bool:
    """Return whether the first epoch counts, because no later one does."""
    return counted(record, range(len(record.epochs)))[0] == 0


def mean_counted(record: Record, per_epoch: Sequence[float] | None) -> float:
    """Return the mean over the epochs that count; 0 where a run without reductions has no values."""
    return fmean(counted(record, per_epoch)) if per_epoch else 0.0


def run_epoch_s(record: Record) -> float:
    """Return the seconds of training per epoch: the mean over the epochs that count."""
    return mean_counted(record, [epoch.train_s for epoch in record.epochs])


def epochs_s(record: Record) -> list[float]:
    """Return the seconds of training of every epoch. A disturbed one is taken to be as long as those that count."""
    usual_s = run_epoch_s(record)
    return [epoch.train_s if is_undisturbed(epoch) else usual_s for epoch in record.epochs]


def run_eval_s(record: Record) -> float:
    """Return the seconds of an evaluation: the mean over those after undisturbed epochs."""
    return fmean(epoch.eval_s for epoch in record.epochs if is_undisturbed(epoch))


def evals_s(record: Record) -> list[float]:
    """Return the seconds of every evaluation. That of a disturbed epoch is taken to be as long as the others."""
    usual_s = run_eval_s(record)
    return [epoch.eval_s if is_undisturbed(epoch) else usual_s for epoch in record.epochs]


def run_s(record: Record) -> float:
    """Return the seconds of a whole run: from the start of python or torchrun to the last evaluation.

    What disturbed an epoch is no part of them.
    """
    return record.startup_s + sum(epochs_s(record)) + sum(evals_s(record))


def num_steps(record: Record) -> int:
    """Return the optimizer steps of an epoch."""
    return max(1, record.epochs[0].samples // record.settings.global_batch)


def final_metric(record: Record) -> float:
    """Return the task's metric after the last epoch, in the unit in which it is shown."""
    return record.metric.shown(record.epochs[-1].metric)
