"""The axis of a task's metric, with its limits, as several charts have it."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ddpbench.judge.stats import Estimate
from ddpbench.record import Metric
from ddpbench.show import figures

LEAST_PERCENT = 0.4  # width of an axis in percent: shares that are closer are shown to be close
LEAST_SHARE = 0.01  # the same of another unit, as a share of the largest value
LONGEST = 50  # characters of a line below an axis


def limits(metric: Metric, values: Sequence[float]) -> tuple[float, float]:
    """Return limits for an axis that show these values. It need not begin at 0. That of shares ends by 100."""
    low, high = min(values), max(values)
    is_share = metric.unit == "%"
    least = LEAST_PERCENT if is_share else LEAST_SHARE * max(abs(low), abs(high)) or 1.0
    room = max(0.08 * (high - low), (least - (high - low)) / 2)
    start = low - room if low < 0 else max(0.0, low - room)
    return start, min(100.0, high + room) if is_share else high + room


def name_axis(axes: Axes, metric: Metric, ends: tuple[float, float]) -> None:
    """Make the x axis one of the metric, and say where it is cut."""
    axes.set_xlim(ends)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    name = with_unit(figures.tested(figures.short(metric.name)), figures.short(metric.unit, figures.MOST_UNIT))
    lines = [f"{name}, axis cut: does not begin at 0"] if ends[0] > 0 else [name]
    if len(lines[0]) > LONGEST and ends[0] > 0:
        lines = [f"{name},", "axis cut: does not begin at 0"]
    axes.set_xlabel("\n".join(map(in_lines, lines)))


def name_axis_of_differences(axes: Axes, metric: Metric) -> None:
    """Name the x axis of differences."""
    unit = "percentage points" if metric.unit == "%" else figures.unit_of_difference(metric)
    axes.set_xlabel(in_lines(with_unit(f"difference in {figures.tested(figures.short(metric.name))}", unit)))


def capped(metric: Metric, estimate: Estimate) -> Estimate:
    """Return an estimate as it is drawn. Student's t may give a share above 100 %: that bound becomes 100 %."""
    if metric.unit != "%":
        return estimate
    low, high = (None if bound is None else min(100.0, bound) for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value, low, high, estimate.n)


def with_unit(text: str, unit: str) -> str:
    """Return the name of an axis with its unit: `test accuracy (%)`."""
    return f"{text} ({unit})" if unit else text


def in_lines(text: str) -> str:
    """Return the name of an axis in lines that fit below it."""
    return "\n".join(textwrap.wrap(text, LONGEST))
