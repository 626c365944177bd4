"""Estimates with their uncertainty. The run is the unit; pure functions over a few numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value from `n` runs with its 95 % interval; one run has none."""

    value: float
    low: float | None
    high: float | None
    n: int


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
    low, high = (None if bound is None else math.exp(bound) for bound in (inner.low, inner.high))
    return Estimate(math.exp(inner.value), low, high, inner.n)


def deviation(values: Sequence[float]) -> float | None:
    """Return one standard deviation of the runs; None for a single run."""
    return stdev(values) if len(values) > 1 else None


def _half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the mean: t(n-1) * s / sqrt(n)."""
    n = len(values)
    if n < 2:
        return None
    quantile = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    return quantile * stdev(values) / math.sqrt(n)
