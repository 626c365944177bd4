"""The answer of a sweep: from which batch parallel training is faster, predicted and checked."""

from collections.abc import Sequence

import numpy as np

from ddpbench.command import COMMAND
from ddpbench.judge.sweep import Point, Sweep
from ddpbench.show.phrases import OUTCOMES, arm_in_words, change, change_with_interval, count_text

Row = tuple[str, str]


def first_certain(points: Sequence[Point]) -> Point | None:
    """Return the smallest batch from which on every point is certainly faster; None where the largest is not."""
    first = None
    for point in reversed(points):
        if point.outcome != "faster":
            break
        first = point
    return first


def sweep_title(sweep: Sweep) -> str:
    """Return the outcome of a sweep. It names a batch only where the intervals from there on support it."""
    first, outcomes = first_certain(sweep.points), {point.outcome for point in sweep.points}
    if outcomes == {"faster"}:
        return "FASTER AT EVERY BATCH"
    if first is not None:
        return f"FASTER FROM BATCH {first.global_batch} ON"
    return {
        frozenset({"slower"}): "SLOWER AT EVERY BATCH",
        frozenset({"no_difference"}): "NO DIFFERENCE THAT MATTERS",
        frozenset({"cannot_tell"}): "CANNOT TELL",
    }.get(frozenset(outcomes), "NO BATCH FROM WHICH IT IS FASTER")


def sweep_subject(sweep: Sweep, *, on_gpu: bool) -> str:
    """Return what is compared at which batches."""
    least, most = sweep.points[0].global_batch, sweep.points[-1].global_batch
    return f"{arm_in_words(sweep.arm, on_gpu=on_gpu)} against one process, batches {least} to {most}"


def sweep_rows(sweep: Sweep, noun: str, metric: str) -> list[Row]:
    """Return the rows of the answer. `metric` is what a sweep does not measure: accuracy."""
    # A batch that is certainly faster goes before one that may be: the title names only the former.
    best = max(sweep.points, key=lambda point: (point.outcome == "faster", point.speed.value))
    rows = [("range", _range(sweep.points)), ("fit", _prediction(sweep))]
    if sweep.checked is not None:
        rows.append(("check", _check(sweep.checked, sweep, noun)))
    if best.outcome == "faster":
        figures = f"{change_with_interval(best.speed)} ({count_text(best.speed, noun)})"
        advice = f"{metric} was not measured: {COMMAND} --global-batch {best.global_batch}"
        rows.append(("so", f"the best batch is {best.global_batch}, {figures}; {advice}"))
    else:
        rows.append(("so", f"stay with one process; larger batches: {COMMAND} sweep --batches"))
    return [(word, text) for word, text in rows if text]


def _range(points: Sequence[Point]) -> str:
    """Return the outcomes in words, batch by batch, equal neighbours together: `slower to batch 128; faster ...`."""
    groups: list[list[Point]] = []
    for point in points:
        if groups and groups[-1][0].outcome == point.outcome:
            groups[-1].append(point)
        else:
            groups.append([point])
    return "; ".join(f"{OUTCOMES[group[0].outcome]} {_batches(group)}" for group in groups)


def _batches(points: Sequence[Point]) -> str:
    first, last = points[0].global_batch, points[-1].global_batch
    return f"at batch {first}" if first == last else f"from batch {first} to {last}"


def _prediction(sweep: Sweep) -> str:
    """Return where the fitted lines and the measured speeds cross."""
    if not sweep.lines:
        return f"too few batches for a fit: name three or more, {COMMAND} sweep --batches"
    if sweep.predicted_batch is None:
        return "the fitted lines do not cross between these batches"
    text = f"the fitted lines cross at batch {sweep.predicted_batch:.0f}"
    if sweep.measured_batch is None or sweep.prediction_error is None:
        return f"{text}; the measured speeds do not cross 1"
    percent = round(100 * abs(sweep.prediction_error))
    error = f"{percent} % too {'high' if sweep.prediction_error > 0 else 'low'}" if percent else "right within 1 %"
    return f"{text}, the measured speeds at {sweep.measured_batch:.0f}: the prediction is {error}"


def _check(point: Point, sweep: Sweep, noun: str) -> str:
    """Return what was measured at the batch of the check, and what the fit predicts there."""
    text = f"at batch {point.global_batch}, {change_with_interval(point.speed)} ({count_text(point.speed, noun)})"
    fitted = sweep.fitted_speed(np.array([float(point.global_batch)]))
    if fitted is None or point.speed.low is None or point.speed.high is None:
        return text
    expected = float(fitted[0])
    holds = point.speed.low <= expected <= point.speed.high
    return f"{text}; the fit predicts {change(expected)}: {'it holds' if holds else 'it does not hold'}"
