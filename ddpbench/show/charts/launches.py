"""The launches in order of time: their speeds, the interval that they narrow, and what the host took away."""

import math
from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpbench.judge import stats
from ddpbench.judge.comparison import Comparison
from ddpbench.judge.disturbance import STALLED, stolen_share
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing
from ddpbench.show.charts import words
from ddpbench.show.charts.style import GREY, INK, SHADE, Chart, colour_of, conditions_of, ratio_axis
from ddpbench.turns import FIRST_LOOK, TurnArm

LEAST_STOLEN = 0.001  # of the CPU time: less is not worth a picture


def launches(judgement: Judgement, comparison: Comparison) -> Chart:
    """The speed of every launch or seed, with its rounds, and the interval after each. Needs two of them."""
    timing, arm = judgement.timing, comparison.parallel.turn
    logs = timing.logs(arm, comparison.reference.turn)
    rounds = _rounds(timing, arm, comparison.reference.turn)
    running = {count: stats.ratio(logs[:count], timing.error) for count in range(2, len(logs) + 1)}
    stolen = [100 * stolen_share([launch]) for launch in judgement.study.launches]
    has_steal, margin = max(stolen, default=0.0) > 100 * LEAST_STOLEN, judgement.criteria.speed
    low, high = _limits(logs, rounds, running[len(logs)], margin)
    outside = sum(not low <= math.exp(log) <= high for each in rounds for log in each)

    def draw(figure: Figure) -> None:
        heights = [3, 1] if has_steal else [3]
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        ratio_axis(axes[0].yaxis, low, high)
        axes[0].axhspan(1 / (1 + margin), 1 + margin, **SHADE)
        axes[0].axhline(1, color=INK, linewidth=1)
        _draw_interval(axes[0], running, colour_of(arm.arm))
        for number, each in enumerate(rounds, start=1):
            if len(each) > 1:
                axes[0].plot(_spread(number, len(each)), [math.exp(log) for log in each], ".", color=GREY, markersize=3)
        numbers = range(1, len(logs) + 1)
        speeds = [math.exp(log) for log in logs]
        axes[0].plot(numbers, speeds, "o", markersize=8, color=colour_of(arm.arm), markeredgecolor=INK)
        axes[0].set_xlim(0.4, len(logs) + 0.6)
        axes[0].set_ylabel("times as fast")
        if has_steal:
            axes[1].bar(range(1, len(stolen) + 1), stolen, width=0.5, color=GREY)
            axes[1].set_ylabel("stolen (%)")
        axes[-1].xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes[-1].set_xlabel(f"{timing.noun}, in order of time")

    small = "large dots: launches; small dots: their rounds" if timing.noun == "launch" else "dots: seeds"
    small += f", {outside} of them outside the picture" if outside else ""
    notes = [small, "band: 95 % interval so far", "grey: the margin"]
    notes += ["stolen: CPU time taken by the host"] if has_steal else []
    speeds = ", ".join(f"{math.exp(log):.3f}" for log in logs)
    return Chart(
        slug="launches",
        finding=_finding(timing, running),
        conditions=conditions_of(
            judgement.study.newest, words.who(arm.arm, comparison.reference.arm), "; ".join(notes)
        ),
        alt=f"Times as fast, {timing.noun} by {timing.noun}: {speeds}. Interval: {words.interval(running[len(logs)])}.",
        height=4.2 if has_steal else 3.2,
        draw=draw,
    )


def _rounds(timing: Timing, arm: TurnArm, reference: TurnArm) -> list[list[float]]:
    """Return the logarithms of the speeds of all rounds, by unit."""
    return [unit.logs(arm, reference) for unit in timing.units if {arm, reference} <= unit.sample_s.keys()]


def _limits(
    logs: Sequence[float], rounds: Sequence[Sequence[float]], last: Estimate, margin: float
) -> tuple[float, float]:
    """Return limits that show what launches say, and the rounds that nothing disturbed.

    A disturbed round may be 30 times as slow. What is within so many median deviations of its launch is shown.
    """
    undisturbed = list[float]()
    for each in rounds:
        spread = (STALLED + 1) * median(abs(log - median(each)) for log in each)
        undisturbed += [median(each) - spread, median(each) + spread]
    bounds = [math.log(bound) for bound in (last.low, last.high) if bound]
    reach = max(map(abs, logs)) + 0.5  # an interval of two launches may be endless
    inside = math.log(1 + margin)
    shown = [-inside, inside, *logs, *undisturbed, *(max(-reach, min(reach, bound)) for bound in bounds)]
    room = 0.08 * (max(shown) - min(shown)) + 0.01
    return math.exp(min(shown) - room), math.exp(max(shown) + room)


def _draw_interval(axes: Axes, running: dict[int, Estimate], colour: str) -> None:
    """Draw the interval after each launch as a band that narrows."""
    known = [(count, each.low, each.high) for count, each in running.items()]
    edges = [(start - 0.5, low, high) for start, low, high in known]
    edges.append((known[-1][0] + 0.5, *known[-1][1:]))
    x, low, high = zip(*edges, strict=True)
    axes.fill_between(x, low, high, step="post", color=colour, alpha=0.25, linewidth=0)


def _spread(number: int, count: int) -> list[float]:
    """Return places beside each other around the number of a launch, in the order of its rounds."""
    return [number - 0.35 + 0.7 * index / (count - 1) for index in range(count)]


def _finding(timing: Timing, running: dict[int, Estimate]) -> str:
    widths = {count: each.half_width for count, each in running.items()}
    last = max(widths)
    width = widths[last]
    if width is None:
        return f"The speed of {words.units(timing, last)}"
    finding = f"After {words.units(timing, last)} the interval is {_width(width)}"
    first = widths.get(FIRST_LOOK)
    if first is not None and last > FIRST_LOOK and first > width:
        finding += f"; after {FIRST_LOOK} it was {_width(first)}"
    return finding


def _width(half_width: float) -> str:
    return f"±{words.percent(half_width)}" if half_width < 1 else "over ±100 %"
