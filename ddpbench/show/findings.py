"""The rows of the answer that hold figures: speed, accuracy, a whole run, and cost."""

import math

from ddpbench.arm import plural
from ddpbench.judge.comparison import Comparison, WholeRun
from ddpbench.judge.cost import Cost
from ddpbench.judge.stats import Equivalence, Estimate
from ddpbench.show.phrases import LENGTH, PRICE, Scale, change_with_interval, count_text, workers


def speed_text(speed: Estimate | None, noun: str) -> str:
    """Return how much faster the parallel arm is. `noun` is what the interval counts: launch, or seed."""
    if speed is None:
        return f"not comparable: the two share no {noun}; run the same seeds with both"
    return f"{change_with_interval(speed)} ({count_text(speed, noun)})"


def accuracy_text(comparison: Comparison, accuracy: Equivalence) -> str:
    """Return whether the parallel arm learns as much, with the interval that was tested."""
    parallel, reference = comparison.parallel.accuracy, comparison.reference.accuracy
    assert parallel is not None, "a difference comes from runs of both arms"
    assert reference is not None, "a difference comes from runs of both arms"
    interval = accuracy.difference if accuracy.outcome == "lost" else accuracy.tested
    level = 95 if accuracy.outcome == "lost" else 90
    if interval.low is None or interval.high is None:
        bounds = "one seed: no interval"
    else:
        bounds = f"{level} % interval {100 * interval.low:+.2f} to {100 * interval.high:+.2f}, n = {interval.n} seeds"
    difference = f"difference {100 * interval.value:+.2f} points, {bounds}, margin {100 * accuracy.margin:g}"
    figures = f"{100 * parallel.value:.2f} % and {100 * reference.value:.2f} %"
    return f"{_accuracy_word(accuracy)}: {figures} ({difference})"


def whole_run_text(comparison: Comparison, run: WholeRun) -> str:
    """Return how long a whole run takes, and from how many epochs on the parallel arm is ahead."""
    parts = [
        f"{_bracketed(run.times_as_long)}: {run.parallel_s.value:.1f} s and {run.reference_s.value:.1f} s "
        f"for {plural(run.epochs, 'epoch')}"
    ]
    arm = comparison.parallel.arm
    if abs(run.later_start_s) >= 0.05:
        more = "more" if run.later_start_s > 0 else "less"
        parts.append(f"starting {workers(arm)} takes {abs(run.later_start_s):.1f} s {more}")
    they = "they are" if arm.world_size > 1 else "it is"
    return "; ".join([*parts, f"{they} {ahead_text(run)}"])


def ahead_text(run: WholeRun) -> str:
    """Return from how many epochs on the parallel arm is ahead: `ahead from 40 epochs on (25 to 200)`, or `never`."""
    turning = run.turning
    epochs, least, most = map(_whole, (turning.epochs, turning.least, turning.most))
    if math.isinf(turning.epochs):
        return "never ahead" if math.isinf(turning.least) else f"never ahead, or from {least} epochs on at the earliest"
    start = "ahead from the first epoch on" if turning.epochs <= 1 else f"ahead from {epochs} epochs on"
    if math.isinf(turning.most):
        return f"{start} ({least} or more, or never)"
    return f"{start} ({least} to {most})" if least != most else start


def cost_text(cost: Cost) -> str:
    """Return what an epoch costs, in the unit of the price, and whether it pays."""
    pays = {"pays": "it pays", "does_not_pay": "it does not pay", "cannot_tell": "cannot tell whether it pays"}
    parallel, reference = (f"{value:#.3g}".rstrip(".") for value in (cost.parallel, cost.reference))
    figures = f"an epoch costs {parallel} and {reference}"
    return f"{figures}: {_bracketed(cost.times_as_dear, PRICE)}; {pays[cost.verdict]}"


def _accuracy_word(accuracy: Equivalence) -> str:
    if accuracy.outcome != "kept":
        return "lower" if accuracy.outcome == "lost" else "cannot tell"
    assert accuracy.tested.low is not None, "kept needs an interval"
    assert accuracy.tested.high is not None, "kept needs an interval"
    if accuracy.tested.high < accuracy.margin:
        return "the same"
    return "higher" if accuracy.tested.low > 0 else "at least the same"


def _bracketed(estimate: Estimate, scale: Scale = LENGTH) -> str:
    """Return a ratio with its interval in brackets: `31 % longer (20 to 43 %)`."""
    value, _, bounds = change_with_interval(estimate, scale).partition(": ")
    return f"{value} ({bounds})" if bounds else value


def _whole(epochs: float) -> str:
    """Return a number of epochs, rounded up: the first at which the parallel arm is ahead."""
    return "never" if math.isinf(epochs) else f"{max(1, math.ceil(epochs)):,}"
