"""Estimates with their 95 % intervals, computed from a few numbers by pure functions.

Every interval is Student's t over units: launches of turns, or runs, paired by seed. Ratios are averaged as logarithms.
No unit is dropped as an outlier: a strange one widens the interval, and a caution names it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from statistics import fmean, median, stdev
from typing import Literal

from scipy.special import stdtr, stdtrit

SIGNIFICANCE = 0.05
MOST_UNITS = 200  # `units_needed` looks no further: hardly anybody measures for so long to settle a question


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value from `n` units, launches or runs, and its 95 % interval. The bounds are None for a single unit."""

    value: float
    low: float | None
    high: float | None
    n: int

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate in another unit. `factor` must be positive."""
        low, high = (None if bound is None else bound * factor for bound in (self.low, self.high))
        return Estimate(self.value * factor, low, high, self.n)

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval of a ratio, relative: 0.03 is +- 3 %. None for a single unit."""
        return math.sqrt(self.high / self.low) - 1 if self.low and self.high else None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of a difference lies on one side of zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Equivalence:
    """The result of a test for equivalence: whether a difference is smaller than the margin that matters."""

    difference: Estimate  # new less old, in the unit that is shown
    tested: Estimate  # the same difference with its 90 % interval: the one that decides whether as much is learnt
    margin: float | None
    outcome: Literal["kept", "lost", "cannot_tell", "not_judged"]  # not_judged: there is no margin
    p: float | None  # p-value of "no worse than the margin": kept below 0.05; None for a single pair, or no margin


def centre(values: Sequence[float]) -> float:
    """Return the centre of values of which some are far off: the median of the means of all pairs.

    Three in ten values may be far off. Where none is, it scatters 2 % more than the mean, and the median 25 % more.
    Source: J. Hodges and E. Lehmann, Annals of Mathematical Statistics 34 (1963) 598.
    """
    return median((one + other) / 2 for one, other in combinations_with_replacement(values, 2))


def mean(values: Sequence[float], error: float = SIGNIFICANCE) -> Estimate:
    """Estimate the mean of units. The interval is Student's t; its probability to miss the truth is `error`."""
    half = _half_width(values, error)
    centre = fmean(values)
    if half is None:
        return Estimate(centre, None, None, len(values))
    return Estimate(centre, centre - half, centre + half, len(values))


def ratio(logs: Sequence[float], error: float = SIGNIFICANCE) -> Estimate:
    """Estimate a ratio from its logarithm in each unit: the geometric mean.

    The interval is Student's t on the logarithms, because speeds of 2 and of 1/2 are equally far from 1.
    """
    inner = mean(logs, error)
    # exp() overflows above about 709. A bound of e^700 says as little as a larger one.
    low, high = (
        None if bound is None else math.exp(max(-700.0, min(700.0, bound))) for bound in (inner.low, inner.high)
    )
    return Estimate(math.exp(inner.value), low, high, inner.n)


def apart(before: Sequence[float], after: Sequence[float], error: float = SIGNIFICANCE) -> Estimate | None:
    """Estimate the mean of `after` less that of `before`, two samples that are not paired. None below two of each.

    The interval is B. Welch's (Biometrika 34 (1947) 28), which lets the two spreads differ.
    """
    if min(len(before), len(after)) < 2:
        return None
    old, new = stdev(before) ** 2 / len(before), stdev(after) ** 2 / len(after)
    difference, n = fmean(after) - fmean(before), min(len(before), len(after))
    if old + new == 0:
        return Estimate(difference, difference, difference, n)
    freedom = (old + new) ** 2 / (old**2 / (len(before) - 1) + new**2 / (len(after) - 1))
    half = float(stdtrit(freedom, 1 - error / 2)) * math.sqrt(old + new)
    return Estimate(difference, difference - half, difference + half, n)


def equivalence(differences: Sequence[float], margin: float | None, *, lower_is_better: bool = False) -> Equivalence:
    """Test whether paired differences (new less old) are no worse than the margin: a one-sided t test at 5 %.

    "kept": the difference is shown to be no worse than the margin. "lost": the whole 95 % interval is worse than it.
    "not_judged": there is no margin. It is the one of two tests that says whether something is lost; the other would
    ask whether something is gained. Method: D. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987) 657.
    """
    estimate = mean(differences)
    tested = mean(differences, 2 * SIGNIFICANCE)
    if margin is None:
        return Equivalence(estimate, tested, None, "not_judged", None)
    if estimate.low is None or estimate.high is None:
        return Equivalence(estimate, tested, margin, "cannot_tell", None)
    error, gained = stdev(differences) / math.sqrt(estimate.n), -estimate.value if lower_is_better else estimate.value
    not_worse = _upper_tail(margin + gained, error, estimate.n)
    if not_worse < SIGNIFICANCE:
        outcome: Literal["kept", "lost", "cannot_tell"] = "kept"
    else:
        at_best = -estimate.low if lower_is_better else estimate.high
        outcome = "lost" if at_best < -margin else "cannot_tell"
    return Equivalence(estimate, tested, margin, outcome, not_worse)


def units_needed(logs: Sequence[float], margin: float, error: float = SIGNIFICANCE, chance: float = 0.8) -> int | None:
    """Return how many units would settle a speed with the probability `chance`, if centre and spread stay as they are.

    `logs` are the logarithms of the speed in each unit so far. It is settled where the interval would exclude 1, or lie
    within `margin` (0.03 is 3 %). None for a single unit, or where MOST_UNITS are not enough.
    """
    if len(logs) < 2:
        return None
    centre, spread, inside = abs(fmean(logs)), stdev(logs), math.log(1 + margin)
    for n in range(len(logs) + 1, MOST_UNITS + 1):
        reach = (_t_quantile(n, error) + float(stdtrit(n - 1, chance))) * spread / math.sqrt(n)
        if reach < max(centre, inside - centre):
            return n
    return None


def deviation(values: Sequence[float]) -> float | None:
    """Return one standard deviation of the runs; None for a single run."""
    return stdev(values) if len(values) > 1 else None


def _half_width(values: Sequence[float], error: float) -> float | None:
    """Return half the width of the interval of the mean, t(n-1) * s / sqrt(n); None for a single unit."""
    n = len(values)
    return None if n < 2 else _t_quantile(n, error) * stdev(values) / math.sqrt(n)


def _t_quantile(n: int, error: float) -> float:
    return float(stdtrit(n - 1, 1 - error / 2))


def _upper_tail(distance: float, error: float, n: int) -> float:
    """Return the p-value of a mean that lies `distance` above its bound, with standard error `error`."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(n - 1, -distance / error))
