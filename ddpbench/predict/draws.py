"""Values that are not known exactly, as many draws. The first draw is the estimate itself; the others are its band."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
COUNT = 4_000  # draws of a band: its 2.5 % quantile then has an error of a tenth of a standard deviation at most
SEED = 17
MOST_FACTOR = 20.0  # that a draw lies from its estimate: Student's t of two launches has no standard deviation


@dataclass(frozen=True, slots=True)
class Band:
    """An estimate with the ranges that hold it with a probability of 80 and of 95 %."""

    value: float
    low_80: float
    high_80: float
    low_95: float
    high_95: float


class Dice:
    """Draws that two programs with the same inputs make alike."""

    def __init__(self, count: int = COUNT) -> None:
        self._random, self.count = np.random.default_rng(SEED), count

    def exactly(self, value: float) -> Values:
        """Return a value that is known."""
        return np.full(self.count + 1, value)

    def around(self, values: Sequence[float]) -> Values:
        """Return draws of the geometric mean of positive values, one a launch: Student's t over their logarithms."""
        logs = [math.log(value) for value in values]
        if len(logs) < 2:
            return self.exactly(values[0])
        error = stdev(logs) / math.sqrt(len(logs))
        return math.exp(fmean(logs)) * self.factor(error, len(logs) - 1)

    def factor(self, spread: float, freedom: float) -> Values:
        """Return draws of a factor whose logarithm has this spread, by Student's t; 1 for the estimate itself."""
        logs = np.append(0.0, spread * self._random.standard_t(freedom, self.count))
        limit = math.log(MOST_FACTOR)
        factors: Values = np.exp(np.clip(logs, -limit, limit))
        return factors

    def medians(self, values: Sequence[float]) -> Values:
        """Return draws of the median of repetitions: the bootstrap."""
        measured = np.array(values)
        picked = self._random.integers(len(measured), size=(self.count, len(measured)))
        return np.append(np.median(measured), np.median(measured[picked], axis=1))


def band(draws: Values) -> Band:
    """Return the estimate and the ranges of draws."""
    low_95, low_80, high_80, high_95 = np.quantile(draws[1:], [0.025, 0.1, 0.9, 0.975])
    return Band(float(draws[0]), float(low_80), float(high_80), float(low_95), float(high_95))
