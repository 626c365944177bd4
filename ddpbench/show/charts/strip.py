"""The answer as a picture: an interval on an axis from slower to faster, and one of what is learnt."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpbench.judge.arms import ArmResult
from ddpbench.judge.comparison import Comparison, pairs
from ddpbench.judge.epochs import final_metric
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Equivalence, Estimate
from ddpbench.show import figures, phrases
from ddpbench.show.charts import measure, words
from ddpbench.show.charts.style import (
    INK,
    SHADE,
    Chart,
    bounds_of,
    colour_of,
    conditions_of,
    draw_dots,
    draw_interval,
    label_rows,
    ratio_axis,
    write_sides,
)

LEAST_REACH, MOST_REACH = 1.1, 10  # ends of the axis of speed: so many times as fast


def strip(judgement: Judgement, comparison: Comparison, speed: Estimate) -> Chart:
    """The speed of the parallel arm, launch by launch and as an interval; below it the same of what is learnt."""
    timing, margin = judgement.timing, judgement.criteria.speed
    arm, reference = comparison.parallel.turn, comparison.reference.turn
    speeds = [math.exp(log) for log in timing.logs(arm, reference)]
    learnt = comparison.learnt
    metrics = pairs(comparison.reference.runs, comparison.parallel.runs, final_metric)
    gains = [new - old for old, new in metrics]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(2 if learnt else 1, 1, squeeze=False)[:, 0]
        reach = 1.04 * max(LEAST_REACH, *(max(value, 1 / value) for value in [*speeds, *bounds_of(speed)]))
        ratio_axis(axes[0].xaxis, 1 / min(reach, MOST_REACH), min(reach, MOST_REACH))
        axes[0].axvspan(1 / (1 + margin), 1 + margin, **SHADE)
        axes[0].axvline(1, color=INK, linewidth=1)
        label = "launches" if timing.noun == "launch" else "seeds"
        _draw(axes[0], speeds, speed, colour_of(arm.arm), [f"{label}, n = {len(speeds)}", "95 % interval"])
        write_sides(axes[0], "slower", "same", "faster")
        axes[0].set_xlabel(f"times as fast as {words.REFERENCE} (log scale)")
        if learnt is not None:
            _draw_learnt(axes[1], gains, learnt, comparison.parallel)

    small = f"shaded: a difference that does not matter ({words.percent(margin)} of speed"
    alt = f"Times as fast: {words.interval(speed)}; launch by launch {', '.join(f'{value:.2f}' for value in speeds)}."
    if learnt is not None:
        metric = comparison.reference.runs[0].metric
        name, unit = figures.short(metric.name), figures.unit_of_difference(metric)
        if learnt.margin is not None:
            small += f", {figures.margin(metric, learnt.margin)} of {name}"
        found = figures.interval(metric, _interval_of(learnt)[0], "+")
        alt += f" Difference in {name}{f', in {unit}' if unit else ''}: {found}."
    return Chart(
        slug="strip",
        finding=_finding(comparison, speed),
        conditions=conditions_of(judgement.study.newest, words.who(arm.arm, reference.arm), f"{small})"),
        alt=alt,
        height=3.2 if learnt else 1.6,
        draw=draw,
    )


def _draw(axes: Axes, values: Sequence[float], estimate: Estimate, colour: str, labels: Sequence[str]) -> None:
    """Draw the values in one row, and the estimate with its interval in the next."""
    draw_dots(axes, 0, values)
    draw_interval(axes, 1, estimate, colour)
    axes.plot([estimate.value], [1], "o", markersize=9, color=colour, markeredgecolor=INK)
    label_rows(axes, labels if estimate.low is not None else [labels[0], "no interval"])


def _draw_learnt(axes: Axes, gains: Sequence[float], learnt: Equivalence, parallel: ArmResult) -> None:
    metric, (shown, level) = parallel.runs[0].metric, _interval_of(learnt)
    reach = 1.1 * max(1.5 * (learnt.margin or 0), *map(abs, [*gains, *bounds_of(shown)])) or 1.0
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    if learnt.margin is not None:
        axes.axvspan(-learnt.margin, learnt.margin, **SHADE)
    axes.axvline(0, color=INK, linewidth=1)
    _draw(axes, gains, shown, colour_of(parallel.arm), [f"seeds, n = {len(gains)}", f"{level} % interval"])
    left, right = figures.words_of(metric).sides
    write_sides(axes, *((right, "same", left) if metric.lower_is_better else (left, "same", right)))
    measure.name_axis_of_differences(axes, metric)


def _interval_of(learnt: Equivalence) -> tuple[Estimate, int]:
    """Return the difference with the interval that was tested, and its level; without a margin nothing was tested."""
    return (learnt.difference, 95) if learnt.margin is None else (learnt.tested, 90)


def _finding(comparison: Comparison, speed: Estimate) -> str:
    arm = comparison.parallel.arm
    subject = f"{phrases.workers(arm)} {words.is_or_are(arm)}"
    if speed.low is None or speed.high is None:
        return "Cannot tell: measured once, there is no interval"
    between = words.speed_range(speed.low, speed.high)
    if comparison.outcome in ("faster", "slower"):
        against = "as" if between.endswith("as fast") else "than"
        return f"{subject} {between} {against} {words.REFERENCE}"
    start = {"no_difference": "No difference that matters", "cannot_tell": "Cannot tell"}[comparison.outcome]
    return f"{start}: {subject} {between}"
