"""Estimates with their 95 % intervals, computed from a few numbers by pure functions.

The unit is the run. Every interval is Student's t over runs, or over pairs of runs with the same seed. Ratios are
averaged as logarithms. No run is dropped as an outlier: a strange run widens the interval, and a caution names it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
MAX_RUNS = 30  # `runs_needed` looks no further: hardly anybody makes more runs to settle a question


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value from `n` runs or pairs of runs, and its 95 % interval. The bounds are None for a single run."""

    value: float
    low: float | None
    high: float | None
    n: int

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate in another unit. `factor` must be positive."""
        low, high = (None if bound is None else bound * factor for bound in (self.low, self.high))
        return Estimate(self.value * factor, low, high, self.n)


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The result of a test for equivalence: whether a difference is smaller than the margin that matters."""

    difference: Estimate
    margin: float
    outcome: Literal["kept", "lost", "cannot_tell"]
    p: float | None  # p-value of the test; None for a single pair


def mean(values: Sequence[float]) -> Estimate:
    """Estimate the mean of runs. The interval is Student's t."""
    half = _half_width(values)
    centre = fmean(values)
    if half is None:
        return Estimate(centre, None, None, len(values))
    return Estimate(centre, centre - half, centre + half, len(values))


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Estimate a ratio from pairs of runs: the geometric mean of the ratios of all pairs.

    The interval is Student's t on the logarithms, because speedups of 2 and of 1/2 are equally far from 1.
    Raises ValueError if the two sequences differ in length.
    """
    logs = [math.log(above / below) for above, below in zip(numerators, denominators, strict=True)]
    inner = mean(logs)
    # exp() overflows above about 709. A bound of e^700 says as little as a larger one.
    low, high = (
        None if bound is None else math.exp(max(-700.0, min(700.0, bound))) for bound in (inner.low, inner.high)
    )
    return Estimate(math.exp(inner.value), low, high, inner.n)


def equivalence(differences: Sequence[float], margin: float) -> Equivalence:
    """Test whether paired differences (new less old) are equivalent to 0: two one-sided t tests at 5 % each.

    "kept": the difference is shown to be above minus the margin. "lost": the whole 95 % interval lies below minus the
    margin. Method: D. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987) 657.
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
    """Return the smallest number of pairs whose interval would exclude 1 if mean and spread of the ratios stayed.

    None if a single pair was run, or if MAX_RUNS pairs are not enough.
    """
    logs = [math.log(each) for each in ratios]
    if len(logs) < 2:
        return None
    effect, spread = abs(fmean(logs)), stdev(logs)
    enough = (n for n in range(2, MAX_RUNS + 1) if _t_quantile(n) * spread / math.sqrt(n) < effect)
    return next(enough, None)


def deviation(values: Sequence[float]) -> float | None:
    """Return one standard deviation of the runs; None for a single run."""
    return stdev(values) if len(values) > 1 else None


def _half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % interval of the mean, t(n-1) * s / sqrt(n); None for a single run."""
    n = len(values)
    return None if n < 2 else _t_quantile(n) * stdev(values) / math.sqrt(n)


def _t_quantile(n: int) -> float:
    return float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))


def _upper_tail(distance: float, error: float, n: int) -> float:
    """Return the p-value of a mean that lies `distance` above its bound, with standard error `error`."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(n - 1, -distance / error))
