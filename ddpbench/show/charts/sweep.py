"""Speed against global batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpbench.judge.judgement import Judgement
from ddpbench.judge.sweep import Point, Sweep
from ddpbench.show import phrases
from ddpbench.show.charts import words
from ddpbench.show.charts.style import (
    GREEN,
    INK,
    RED,
    Chart,
    bounds_of,
    colour_of,
    conditions_of,
    draw_interval,
    ratio_axis,
    write_legend,
)

MOST_REACH = 8  # the end of the axis of speed, where an interval is wider


def speed(judgement: Judgement, sweep: Sweep) -> Chart:
    """Speed against the fastest single process at every global batch, the fitted curve, and where it crosses 1."""
    batches, colour = [point.global_batch for point in sweep.points], colour_of(sweep.arm)
    drawn = [bound for point in sweep.points for bound in bounds_of(point.speed)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        low, high = max(1 / MOST_REACH, min(0.9, *drawn) / 1.05), min(MOST_REACH, max(1.1, *drawn) * 1.05)
        ratio_axis(axes.yaxis, low, high)
        axes.axhspan(low, 1, color=RED, alpha=0.08, linewidth=0)
        axes.axhspan(1, high, color=GREEN, alpha=0.08, linewidth=0)
        axes.axhline(1, color=INK, linewidth=1)
        _draw_band(axes, sweep.points, colour)
        at = np.geomspace(batches[0], batches[-1], 200)
        fitted = sweep.fitted_speed(at)
        if fitted is not None:
            axes.plot(at, fitted, "--", color=INK, linewidth=1, label="fitted: step = a + c x batch")
        _draw_points(axes, sweep.grid, "o", colour, "measured")
        if sweep.predicted_batch is not None:
            name = f"predicted crossing: {sweep.predicted_batch:.0f}"
            axes.axvline(sweep.predicted_batch, color=INK, linewidth=1, linestyle=":", label=name)
        if sweep.checked is not None:
            _draw_points(axes, [sweep.checked], "D", colour, f"its check at {sweep.checked.global_batch}")
        axes.set_xscale("log")
        axes.set_xticks(*_ticks([point.global_batch for point in sweep.grid]))
        axes.xaxis.minorticks_off()
        axes.set_xlabel("global batch (samples of a step)")
        axes.set_ylabel("times as fast")
        _write_halves(axes)
        write_legend(axes, 2)

    newest = judgement.study.newest
    n = words.units(judgement.timing, min(point.speed.n for point in sweep.points))
    small = f"{sweep.arm.label} against the fastest single process of each batch; n = {n}"
    band = "" if sweep.points[0].speed.low is None else "; band: 95 % interval"
    speeds = "; ".join(f"{point.global_batch}: {words.interval(point.speed)}" for point in sweep.points)
    return Chart(
        slug="sweep",
        finding=_finding(sweep),
        conditions=f"{conditions_of(newest).rpartition('; ')[0]}\n{small}{band}",
        alt=f"Times as fast against global batch. {speeds}.",
        height=3.8,
        draw=draw,
    )


def _finding(sweep: Sweep) -> str:
    """Return between which batches the outcome changes, as far as their intervals show it."""
    name = f"{phrases.workers(sweep.arm)} {words.is_or_are(sweep.arm)}"
    slower = [point.global_batch for point in sweep.points if point.outcome == "slower"]
    faster = [point.global_batch for point in sweep.points if point.outcome == "faster"]
    first, last = sweep.points[0].global_batch, sweep.points[-1].global_batch
    if slower and faster and max(slower) < min(faster):
        return f"{name} slower up to batch {max(slower)}, and faster from {min(faster)} on"
    for batches, word in ((slower, "slower"), (faster, "faster")):
        if len(batches) == len(sweep.points):
            return f"{name} {word} at every batch from {first} to {last}"
    if not slower and not faster:
        return f"{name} neither shown to be slower nor faster from batch {first} to {last}"
    parts = [
        f"{word} at {words.together([str(batch) for batch in batches])}"
        for batches, word in ((slower, "slower"), (faster, "faster"))
        if batches
    ]
    open_at = words.together(
        [str(point.global_batch) for point in sweep.points if point.outcome not in ("slower", "faster")]
    )
    return f"{name} {' and '.join(parts)}; at {open_at} neither is shown"


def _draw_band(axes: Axes, points: Sequence[Point], colour: str) -> None:
    """Draw a band through the intervals of the points that have one."""
    known = [(each.global_batch, each.speed.low, each.speed.high) for each in points if each.speed.low is not None]
    if known:
        at, low, high = zip(*known, strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)


def _draw_points(axes: Axes, points: Sequence[Point], shape: str, colour: str, name: str) -> None:
    for point in points:
        draw_interval(axes, point.global_batch, point.speed, colour, upright=True)
    at = [point.global_batch for point in points], [point.speed.value for point in points]
    axes.plot(*at, shape, color=colour, markeredgecolor=INK, markersize=8, label=name)


def _ticks(batches: Sequence[int]) -> tuple[list[int], list[str]]:
    """Return the batches of a grid as ticks, every second one where they would touch each other."""
    step = 1 + len(batches) // 9
    shown = list(batches[::-1][::step])
    return shown, [str(batch) for batch in shown]


def _write_halves(axes: Axes) -> None:
    """Write what lies above and below 1, in the corners that a rising curve leaves empty."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 10}
    axes.annotate("faster", (0, 1), (6, -5), va="top", ha="left", **place)
    axes.annotate("slower", (1, 0), (-6, 5), va="bottom", ha="right", **place)
