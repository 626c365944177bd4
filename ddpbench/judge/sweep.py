"""From which global batch does it pay: short runs at several batch sizes, a line fitted to each arm, and a check.

A step of b samples takes t(b) = a + c * b: `a` is paid once per step (launching, reducing), `c` once per sample. Where
the lines of the parallel arm and of the best single process meet, DDP starts to pay. The prediction is then run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

from ddpbench.arm import Arm
from ddpbench.errors import UserError
from ddpbench.judge.arms import ArmResult, by_arm, is_result, judge, reference_of, run_step_s
from ddpbench.judge.stats import Estimate
from ddpbench.judge.study import Study
from ddpbench.record import Record

FEWEST_POINTS = 3  # for a line that says more than its own points


@dataclass(frozen=True, slots=True)
class Point:
    """All arms at one global batch. `parallel` is the swept arm."""

    global_batch: int
    results: list[ArmResult]
    parallel: ArmResult

    @property
    def speedup(self) -> Estimate | None:
        """Of the swept arm over the fastest single process at this batch."""
        return self.parallel.speedup


@dataclass(frozen=True, slots=True)
class Line:
    """t(b) = a_s + c_s * b, in seconds per step."""

    arm: Arm
    a_s: float
    c_s: float

    def step_s(self, global_batch: float) -> float:
        """Return the seconds of a step."""
        return self.a_s + self.c_s * global_batch


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep found for one parallel arm. Batches are None where no crossover lies within what was measured."""

    arm: Arm
    points: list[Point]
    lines: list[Line]
    predicted_batch: float | None  # where the fitted lines meet; the check, if it was run, is no part of the fit
    checked: Point | None  # the run at the predicted batch
    measured_batch: float | None  # where the measured speedups cross 1, interpolated

    @property
    def prediction_error(self) -> float | None:
        """Predicted over measured crossover, less 1."""
        if self.predicted_batch is None or self.measured_batch is None:
            return None
        return self.predicted_batch / self.measured_batch - 1

    @property
    def grid(self) -> list[Point]:
        """The points that were fitted."""
        return [point for point in self.points if point is not self.checked]


def sweep(study: Study) -> Sweep | None:
    """Judge the timed runs of a study as a sweep; None without a parallel and a single arm at some batch.

    The arm is the parallel one with the best speedup anywhere. The batch that was run last is the check of a
    prediction, when all its runs began after every other batch's.
    """
    candidates = [arm for arm in by_arm(study.timed) if is_result(arm)]
    found = [(arm, points) for arm in candidates if (points := _points(study.timed, arm))]
    if not found:
        return None
    arm, points = max(found, key=lambda pair: max(point.speedup.value for point in pair[1] if point.speedup))
    checked = _check_of(points)
    grid = [point for point in points if point is not checked]
    lines = _fit(grid)
    crossing = _crossing(lines, arm, [point.global_batch for point in grid])
    return Sweep(arm, points, lines, crossing, checked, _interpolated(points))


def next_batches(found: Sweep | None) -> list[int]:
    """Return the batch to check: none where the prediction is outside of what was measured, or was run already."""
    if found is None or found.predicted_batch is None or found.checked is not None:
        return []
    measured = [point.global_batch for point in found.points]
    multiple = math.gcd(*measured)  # a batch that divides over the ranks, as these did
    batch = max(1, round(found.predicted_batch / multiple)) * multiple
    return [] if batch in measured else [batch]


def answer(found: Sweep | None, descriptor: int) -> None:
    """Write the next batches, as a JSON list, to a file descriptor that the program that asks has handed over.

    Standard output is no place for it: any library may print there.
    """
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(msgspec.json.encode(next_batches(found)))
    except (OSError, ValueError, TypeError) as problem:
        raise UserError(f"cannot answer to file descriptor {descriptor}: {problem}; hand over an open one") from problem


def _points(timed: Sequence[Record], arm: Arm) -> list[Point]:
    points = []
    for batch in sorted({run.settings.global_batch for run in timed}):
        results = judge([run for run in timed if run.settings.global_batch == batch])
        mine = next((result for result in results if result.arm == arm), None)
        if mine is not None and mine.speedup is not None and reference_of(results) is not None:
            points.append(Point(batch, results, mine))
    return points


def _check_of(points: Sequence[Point]) -> Point | None:
    """Return the point whose runs all began after every other point's."""

    def moments(point: Point) -> list[str]:
        return [run.started_at for result in point.results for run in result.runs]

    last = max(points, key=lambda point: max(moments(point)))
    others = [moment for point in points if point is not last for moment in moments(point)]
    return last if len(points) > FEWEST_POINTS and min(moments(last)) > max(others) else None


def _fit(points: Sequence[Point]) -> list[Line]:
    """Fit a line to the median runs of every arm that has enough batches: least squares of relative errors."""
    measured: dict[Arm, list[tuple[int, float]]] = {}
    for point in points:
        for result in point.results:
            measured.setdefault(result.arm, []).append((point.global_batch, median(map(run_step_s, result.runs))))
    lines = []
    for arm, pairs in measured.items():
        if len(pairs) >= FEWEST_POINTS:
            batches, seconds = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
            c_s, a_s = np.polyfit(batches, seconds, 1, w=1 / seconds)
            lines.append(Line(arm, float(a_s), float(c_s)))
    return lines


def _crossing(lines: Sequence[Line], arm: Arm, batches: Sequence[int]) -> float | None:
    """Return the batch within the measured range at which the arm's line falls below every single process's."""
    mine = next((line for line in lines if line.arm == arm), None)
    singles = [line for line in lines if line.arm.kind == "baseline"]
    if mine is None or not singles:
        return None
    at = np.geomspace(min(batches), max(batches), 2001)
    gain = np.min([line.a_s + line.c_s * at for line in singles], axis=0) - (mine.a_s + mine.c_s * at)
    return _first_rise(at, gain)


def _interpolated(points: Sequence[Point]) -> float | None:
    """Return the batch at which the measured speedup rises through 1: straight between points, on log axes."""
    at = np.log([point.global_batch for point in points])
    gain = np.log([point.speedup.value for point in points if point.speedup])
    crossing = _first_rise(at, gain)
    return None if crossing is None else float(np.exp(crossing))


def _first_rise(at: NDArray[np.float64], gain: NDArray[np.float64]) -> float | None:
    """Return where `gain` first rises through 0, interpolated; None where it never does."""
    for left, right, below, above in zip(at, at[1:], gain, gain[1:], strict=False):
        if below < 0 <= above:
            return float(left + (right - left) * -below / (above - below))
    return None
