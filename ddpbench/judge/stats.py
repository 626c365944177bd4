"""Estimates with their uncertainty. The run is the unit; pure functions over a few numbers.

Every interval is Student's t over runs, or over pairs of runs of one seed; ratios are estimated by their logarithms.
No run is dropped as an outlier: a strange run widens the interval, and is named beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
MOST_RUNS = 30  # that anybody would make to settle a question


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value from `n` runs with its 95 % interval; one run has none."""

    value: float
    low: float | None
    high: float | None
    n: int

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate in another unit: `factor` is positive."""
        low, high = (None if bound is None else bound * factor for bound in (self.low, self.high))
        return Estimate(self.value * factor, low, high, self.n)


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Whether a difference is smaller than a margin that matters."""

    difference: Estimate
    margin: float
    outcome: Literal["kept", "lost", "cannot_tell"]
    p: float | None  # of the test for equivalence; None for a single pair


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean of runs. Student's t interval."""
    half = _half_width(values)
    centre = fmean(values)
    if half is None:
        return Estimate(centre, None, None, len(values))
    return Estimate(centre, centre - half, centre + half, len(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Estimate a ratio from pairs of runs: the geometric mean of the pairs' ratios.

    Student's t interval on the logarithms, because a speedup of 2 and one of 1/2 are equally far from 1.
    """
    logs = [math.log(above / below) for above, below in zip(numerators, denominators, strict=True)]
    inner = mean(logs)
    # A bound beyond what a float can hold says as little as one just within it.
    low, high = (
        None if bound is None else math.exp(max(-700.0, min(700.0, bound))) for bound in (inner.low, inner.high)
    )
    return Estimate(math.exp(inner.value), low, high, inner.n)


def equivalence(differences: Sequence[float], margin: float) -> Equivalence:
    """Test paired differences, new less old, for equivalence: two one-sided t tests at 5 % each.

    Kept: the difference is shown to be within the margin, or above it. Lost: the whole 95 % interval lies below
    minus the margin. D. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987) 657.
    """
    estimate = mean(differences)
    if estimate.low is None or estimate.high is None:
        return Equivalence(estimate, margin, "cannot_tell", None)
    error = stdev(differences) / math.sqrt(estimate.n)
    not_worse, not_better = (_upper_tail((margin + sign * estimate.value), error, estimate.n) for sign in (1, -1))
    if not_worse < SIGNIFICANCE:
        outcome: Literal["kept", "lost", "cannot_tell"] = "kept"
    else:
        outcome = "lost" if estimate.high < -margin else "cannot_tell"
    return Equivalence(estimate, margin, outcome, max(not_worse, not_better))


def runs_needed(ratios: Sequence[float]) -> int | None:
    """Return how many pairs of runs would put 1 outside the interval, if mean and spread stay; None beyond thirty."""
    logs = [math.log(each) for each in ratios]
    if len(logs) < 2:
        return None
    effect, spread = abs(fmean(logs)), stdev(logs)
    able = (n for n in range(2, MOST_RUNS + 1) if _t_quantile(n) * spread / math.sqrt(n) < effect)
    return next(able, None)


def deviation(values: Sequence[float]) -> float | None:
    """Return one standard deviation of the runs; None for a single run."""
    return stdev(values) if len(values) > 1 else None


def _half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean: t(n-1) * s / sqrt(n)."""
    n = len(values)
    return None if n < 2 else _t_quantile(n) * stdev(values) / math.sqrt(n)


def _t_quantile(n: int) -> float:
    return float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))


def _upper_tail(distance: float, error: float, n: int) -> float:
    """Return the chance of a mean this far above its bound, or farther, if it lay at the bound."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(n - 1, -distance / error))
