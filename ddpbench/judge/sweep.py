"""From which global batch parallel training is faster: turns at several batches, and a line fitted to each arm.

A step of b samples takes t(b) = a + c * b seconds: `a` is paid once per step (launching kernels, reducing gradients),
`c` once per sample. Parallel training becomes the faster one where the lines of the parallel arm and of the fastest
single process cross. That prediction is then checked by launches at the batch where they cross.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ddpbench.arm import Arm
from ddpbench.judge.outcome import Outcome, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing, is_parallel_choice
from ddpbench.turns import TurnArm

Values = NDArray[np.float64]
MIN_POINTS = 3  # two points always lie on a line: a fit needs one more


@dataclass(frozen=True, slots=True)
class Point:
    """The swept arm at one global batch, against the fastest single process there."""

    parallel: TurnArm
    reference: TurnArm
    parallel_step_s: Estimate
    reference_step_s: Estimate
    speed: Estimate  # of `parallel` against `reference`
    outcome: Outcome
    is_check: bool  # measured to check the prediction, after the other points

    @property
    def global_batch(self) -> int:
        """Samples of a step."""
        return self.parallel.global_batch


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
    measured_batch: float | None  # where the measured speed rises through 1, interpolated

    @property
    def checked(self) -> Point | None:
        """The point that checks the prediction."""
        return next((point for point in self.points if point.is_check), None)

    @property
    def grid(self) -> list[Point]:
        """The points that the lines are fitted to."""
        return [point for point in self.points if not point.is_check]

    @property
    def prediction_error(self) -> float | None:
        """The predicted crossover / the measured one, less 1."""
        if self.predicted_batch is None or self.measured_batch is None:
            return None
        return self.predicted_batch / self.measured_batch - 1

    @property
    def next_batch(self) -> int | None:
        """The batch at which the prediction is to be checked; None if there is none, or if it was measured already."""
        if self.predicted_batch is None or self.checked is not None:
            return None
        measured = [point.global_batch for point in self.points]
        multiple = math.gcd(*measured)  # the batch must divide over the ranks, as the measured ones do
        batch = max(1, round(self.predicted_batch / multiple)) * multiple
        return None if batch in measured else batch

    def fitted_speed(self, global_batches: Values) -> Values | None:
        """Return the speed by the fitted lines at each of these batches; None if a line is missing."""
        steps_s = _fitted_steps_s(self.lines, self.arm, global_batches)
        return None if steps_s is None else steps_s[0] / steps_s[1]


def analyse(timing: Timing, margin: float) -> Sweep | None:
    """Judge launches at several batches; None if no batch has both a parallel arm and a single process.

    Of several parallel arms, the one with the best speed at any batch is judged. `margin` is a difference in speed.
    """
    choices = dict.fromkeys(turn.arm for turn in timing.turns if is_parallel_choice(turn.arm))
    candidates = [(arm, points) for arm in choices if (points := _points(timing, arm, margin))]
    if not candidates:
        return None
    arm, points = max(candidates, key=lambda pair: max(point.speed.value for point in pair[1]))
    grid = [point for point in points if not point.is_check]
    lines = _fit(timing, [point.global_batch for point in grid])
    crossing = _crossing(lines, arm, [point.global_batch for point in grid])
    return Sweep(arm, points, lines, crossing, _interpolated(points))


def _points(timing: Timing, arm: Arm, margin: float) -> list[Point]:
    """Return a point for each batch at which the arm has a speed. The check is what the first launch did not have."""
    points = []
    for batch in sorted({turn.global_batch for turn in timing.turns if turn.arm == arm}):
        turn, reference = TurnArm(arm=arm, global_batch=batch), timing.reference(batch)
        speed = None if reference is None else timing.speed(turn, reference)
        if reference is not None and speed is not None:
            points.append(
                Point(
                    parallel=turn,
                    reference=reference,
                    parallel_step_s=timing.step_s(turn),
                    reference_step_s=timing.step_s(reference),
                    speed=speed,
                    outcome=outcome_of(speed, margin),
                    is_check=turn not in timing.units[0].sample_s,
                )
            )
    return points


def _fit(timing: Timing, batches: Sequence[int]) -> list[Line]:
    """Fit a line to the median step time of every arm that has enough points: least squares of relative errors."""
    measured: dict[Arm, list[tuple[int, float]]] = {}
    for turn in timing.turns:
        if turn.global_batch in batches and not turn.arm.is_control:
            measured.setdefault(turn.arm, []).append((turn.global_batch, turn.global_batch * median(timing.of(turn))))
    lines = []
    for arm, pairs in measured.items():
        if len(pairs) >= MIN_POINTS:
            at, seconds = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
            c_s, a_s = np.polyfit(at, seconds, 1, w=1 / seconds)
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
    """Return the batch at which the measured speed rises through 1: linear between points, on logarithmic axes."""
    at = np.log([point.global_batch for point in points])
    gain = np.log([point.speed.value for point in points])
    crossing = _first_rise(at, gain)
    return None if crossing is None else float(np.exp(crossing))


def _first_rise(at: Values, gain: Values) -> float | None:
    """Return where `gain` first rises through 0, interpolated; None if it never does."""
    for left, right, below, above in zip(at, at[1:], gain, gain[1:], strict=False):
        if below < 0 <= above:
            return float(left + (right - left) * -below / (above - below))
    return None
