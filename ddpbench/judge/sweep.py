"""From which global batch parallel training pays: short runs at several batch sizes, and a line fitted to each arm.

A step of b samples takes t(b) = a + c * b seconds: `a` is paid once per step (launching kernels, reducing gradients),
`c` once per sample. Parallel training starts to pay where the lines of the parallel arm and of the best single process
cross. That prediction is then checked by runs at the batch where they cross.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ddpbench.arm import Arm
from ddpbench.judge.arms import ArmResult, by_arm, compare_arms, is_parallel_choice, reference_of
from ddpbench.judge.epochs import run_step_s
from ddpbench.judge.outcome import Outcome, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.judge.study import Study
from ddpbench.record import Record

Values = NDArray[np.float64]
MIN_POINTS = 3  # two points always lie on a line: a fit needs one more


@dataclass(frozen=True, slots=True)
class Point:
    """All arms at one global batch."""

    global_batch: int
    results: list[ArmResult]
    reference: ArmResult  # the fastest single process at this batch
    parallel: ArmResult  # the swept arm
    speedup: Estimate  # of `parallel` over `reference`

    @property
    def outcome(self) -> Outcome:
        """Whether the swept arm pays at this batch."""
        return outcome_of(self.speedup)


@dataclass(frozen=True, slots=True)
class Line:
    """The fitted seconds of a step of b samples: t(b) = a_s + c_s * b."""

    arm: Arm
    a_s: float
    c_s: float

    def step_s(self, global_batches: Values) -> Values:
        """Return the fitted seconds of a step at each of these batches."""
        return self.a_s + self.c_s * global_batches


@dataclass(frozen=True, slots=True)
class Sweep:
    """One parallel arm over the batch sizes of a study. A batch is None if there is no crossover among them."""

    arm: Arm
    points: list[Point]  # by batch, ascending
    lines: list[Line]
    predicted_batch: float | None  # where the fitted lines cross; the point of the check is not fitted
    checked: Point | None  # the runs at the predicted batch
    measured_batch: float | None  # where the measured speedup rises through 1, interpolated

    @property
    def prediction_error(self) -> float | None:
        """The predicted crossover / the measured one, less 1."""
        if self.predicted_batch is None or self.measured_batch is None:
            return None
        return self.predicted_batch / self.measured_batch - 1

    @property
    def grid(self) -> list[Point]:
        """The points that the lines are fitted to."""
        return [point for point in self.points if point is not self.checked]

    def fitted_speedup(self, global_batches: Values) -> Values | None:
        """Return the speedup by the fitted lines at each of these batches; None if a line is missing."""
        steps_s = _fitted_steps_s(self.lines, self.arm, global_batches)
        return None if steps_s is None else steps_s[0] / steps_s[1]


def analyse(study: Study) -> Sweep | None:
    """Judge the timed runs of a study as a sweep; None if no batch has both a parallel arm and a single process.

    Of several parallel arms, the one with the best speedup at any batch is judged.
    """
    choices = [arm for arm in by_arm(study.timed) if is_parallel_choice(arm)]
    candidates = [(arm, points) for arm in choices if (points := _points(study.timed, arm))]
    if not candidates:
        return None
    arm, points = max(candidates, key=lambda pair: max(point.speedup.value for point in pair[1]))
    checked = _check_of(points)
    grid = [point for point in points if point is not checked]
    lines = _fit(grid)
    crossing = _crossing(lines, arm, [point.global_batch for point in grid])
    return Sweep(arm, points, lines, crossing, checked, _interpolated(points))


def next_batches(sweep: Sweep | None) -> list[int]:
    """Return the batch to check, a list of one; empty if there is no prediction, or if it was run already."""
    if sweep is None or sweep.predicted_batch is None or sweep.checked is not None:
        return []
    measured = [point.global_batch for point in sweep.points]
    multiple = math.gcd(*measured)  # the batch must divide over the ranks, as the measured ones do
    batch = max(1, round(sweep.predicted_batch / multiple)) * multiple
    return [] if batch in measured else [batch]


def _points(timed: Sequence[Record], arm: Arm) -> list[Point]:
    """Return a point for each batch at which the arm has a speedup."""
    points = []
    for batch in sorted({run.settings.global_batch for run in timed}):
        results = compare_arms([run for run in timed if run.settings.global_batch == batch])
        mine, reference = next((result for result in results if result.arm == arm), None), reference_of(results)
        if mine is not None and reference is not None and mine.speedup is not None:
            points.append(Point(batch, results, reference, mine, mine.speedup))
    return points


def _check_of(points: Sequence[Point]) -> Point | None:
    """Return the point that checks a prediction: all of its runs began after every other point's."""

    def moments(point: Point) -> list[str]:
        return [run.started_at for result in point.results for run in result.runs]

    last = max(points, key=lambda point: max(moments(point)))
    others = [moment for point in points if point is not last for moment in moments(point)]
    return last if len(points) > MIN_POINTS and min(moments(last)) > max(others) else None


def _fit(points: Sequence[Point]) -> list[Line]:
    """Fit a line to the median step time of every arm that has enough points: least squares of relative errors."""
    measured: dict[Arm, list[tuple[int, float]]] = {}
    for point in points:
        for result in point.results:
            measured.setdefault(result.arm, []).append((point.global_batch, median(map(run_step_s, result.runs))))
    lines = []
    for arm, pairs in measured.items():
        if len(pairs) >= MIN_POINTS:
            batches, seconds = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
            c_s, a_s = np.polyfit(batches, seconds, 1, w=1 / seconds)
            lines.append(Line(arm, float(a_s), float(c_s)))
    return lines


def _crossing(lines: Sequence[Line], arm: Arm, batches: Sequence[int]) -> float | None:
    """Return the batch within the measured range at which the arm's line falls below those of all single processes."""
    at = np.geomspace(min(batches), max(batches), 2001)
    steps_s = _fitted_steps_s(lines, arm, at)
    return None if steps_s is None else _first_rise(at, steps_s[0] - steps_s[1])


def _fitted_steps_s(lines: Sequence[Line], arm: Arm, batches: Values) -> tuple[Values, Values] | None:
    """Return the fitted steps of the fastest single process and of an arm; None if either has no line."""
    mine = next((line for line in lines if line.arm == arm), None)
    singles = [line for line in lines if line.arm.kind == "baseline"]
    if mine is None or not singles:
        return None
    return np.min([line.step_s(batches) for line in singles], axis=0), mine.step_s(batches)


def _interpolated(points: Sequence[Point]) -> float | None:
    """Return the batch at which the measured speedup rises through 1: linear between points, on logarithmic axes."""
    at = np.log([point.global_batch for point in points])
    gain = np.log([point.speedup.value for point in points])
    crossing = _first_rise(at, gain)
    return None if crossing is None else float(np.exp(crossing))


def _first_rise(at: Values, gain: Values) -> float | None:
    """Return where `gain` first rises through 0, interpolated; None if it never does."""
    for left, right, below, above in zip(at, at[1:], gain, gain[1:], strict=False):
        if below < 0 <= above:
            return float(left + (right - left) * -below / (above - below))
    return None
