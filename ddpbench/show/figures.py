"""A task's metric in words and in figures: one table of words, and one way to write a figure with its unit.

Every figure is in the unit in which it is shown: a share of 0.99 is 99, and its unit is %.
"""

import math
from dataclasses import dataclass

from ddpbench.judge.learning import difference_unit
from ddpbench.judge.stats import Equivalence, Estimate
from ddpbench.record import Metric, Record
from ddpbench.turns import Launch

MOST_NAME, MOST_UNIT = 24, 12  # characters of a name and of a unit: a longer one ends with dots
ROWS = ("speed", "whole run", "cost", "why", "unsure", "so", "range", "fit", "check")  # the other rows of an answer


@dataclass(frozen=True, slots=True)
class Words:
    """What is said about a metric."""

    lost: str  # in a title
    worse: str  # the parallel arm against the reference
    better: str
    at_least: str  # as good
    sides: tuple[str, str]  # of an axis of differences: worse, better
    part: str  # of the test set
    parts: str
    counted: str  # over the test set


WORDS = {
    "accuracy": Words(
        lost="LESS ACCURATE",
        worse="lower",
        better="higher",
        at_least="at least the same",
        sides=("less accurate", "more accurate"),
        part="class",
        parts="classes",
        counted="test samples",
    )
}
OTHERS = Words(
    lost="LEARNS LESS",
    worse="worse",
    better="better",
    at_least="at least as good",
    sides=("worse", "better"),
    part="part",
    parts="parts",
    counted="test count",
)


def words_of(metric: Metric) -> Words:
    """Return the words for a metric."""
    return OTHERS if metric.lower_is_better else WORDS.get(metric.name, OTHERS)


def name_of(measured: Record | Launch) -> str:
    """Return the name of the metric, as its row has it. A launch does not know that of a user's task."""
    if not isinstance(measured, Record):
        return "accuracy" if measured.settings.task == "mnist" else "metric"
    name = short(measured.metric.name)
    return tested(name) if name in ROWS else name


def tested(name: str) -> str:
    """Return a name in a column or beside an axis: `test accuracy`."""
    return name if name.startswith("test ") else f"test {name}"


def short(text: str, most: int = MOST_NAME) -> str:
    """Return a name that fits beside an axis and into a table."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def number(metric: Metric, value: float, sign: str = "", like: float | None = None) -> str:
    """Return a figure without its unit: two decimals of a share in percent, else four digits that count.

    `like` is the largest figure that stands beside it: all of them have as many decimals.
    """
    if metric.unit == "%":
        return f"{value:{sign}.2f}"
    size = abs(value if like is None else like)
    if size and not 1e-4 <= size < 1e7:
        return f"{value:{sign}.3e}"
    decimals = max(0, 3 - math.floor(math.log10(size))) if size else 3
    # A figure that is rounded to zero has no minus: -0.0 + 0.0 is 0.0. The option `z` came with Python 3.11.
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"


def value(metric: Metric, figure: float, deviation: float | None = None) -> str:
    """Return a figure with its unit, and perhaps its standard deviation: `99.03 ± 0.05 %`, `12.34 mg/dl`."""
    spread = "" if deviation is None else f" ± {number(metric, deviation, like=figure)}"
    return f"{number(metric, figure)}{spread} {short(metric.unit, MOST_UNIT)}".rstrip()


def interval(metric: Metric, estimate: Estimate, sign: str = "") -> str:
    """Return a figure with its interval, if it has one, and without its unit: `12.34 (12.01 to 12.67)`."""
    low, high, like = estimate.low, estimate.high, largest(estimate)
    middle = number(metric, estimate.value, sign, like)
    if low is None or high is None:
        return middle
    return f"{middle} ({number(metric, low, sign, like)} to {number(metric, high, sign, like)})"


def difference(metric: Metric, learnt: Equivalence) -> str:
    """Return a difference with the interval that decided, and the margin: what stands in brackets."""
    estimate, _ = _decided(learnt)
    seeds = "" if estimate.low is None else f", n = {estimate.n} seeds"
    return short_difference(metric, learnt) + seeds + ("" if learnt.margin is None else f", margin {learnt.margin:g}")


def short_difference(metric: Metric, learnt: Equivalence) -> str:
    """Return a difference with the interval that decided: `difference -0.04 points, 90 % interval -0.18 to +0.10`."""
    estimate, level = _decided(learnt)
    like = largest(estimate)
    text = f"difference {number(metric, estimate.value, '+', like)} {unit_of_difference(metric)}".rstrip()
    if estimate.low is None or estimate.high is None:
        bounds = "one seed: no interval"
    else:
        low, high = (number(metric, bound, "+", like) for bound in (estimate.low, estimate.high))
        bounds = f"{level} % interval {low} to {high}"
    return f"{text}, {bounds}"


def _decided(learnt: Equivalence) -> tuple[Estimate, int]:
    """Return the difference with the interval that decided, and its level in percent."""
    return (learnt.tested, 90) if learnt.outcome in ("kept", "cannot_tell") else (learnt.difference, 95)


def unit_of_difference(metric: Metric) -> str:
    """Return the unit of a difference: `points`, `mg/dl`, or nothing."""
    return short(difference_unit(metric), MOST_UNIT)


def margin(metric: Metric, size: float) -> str:
    """Return a margin: `0.3 percentage points`, `0.5 mg/dl`."""
    unit = "percentage points" if metric.unit == "%" else unit_of_difference(metric)
    return f"{size:g} {unit}".rstrip()


def largest(estimate: Estimate) -> float:
    """Return the largest figure of an estimate, without its sign."""
    return max(abs(each) for each in (estimate.value, estimate.low, estimate.high) if each is not None)


def described(metric: Metric, size: float | None) -> str:
    """Return a metric in one line: its name, its unit, which way is better, and the margin that it is judged by."""
    better = f"{'lower' if metric.lower_is_better else 'higher'} is better"
    judged = "no margin: not judged" if size is None else f"margin {margin(metric, size)}"
    return ", ".join([metric.name, *([f"in {metric.unit}"] if metric.unit else []), better, judged])
