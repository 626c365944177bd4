"""Speedup against global batch."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpbench.arm import plural
from ddpbench.judge.sweep import Point, Sweep
from ddpbench.show.charts.style import INK, PALE, Chart, colour_of, conditions_of, draw_interval, write_legend


def speedup(sweep: Sweep) -> Chart:
    """Speedup over the best single process at every global batch, the fitted curve, and where it crosses 1."""
    batches, label = [point.global_batch for point in sweep.points], sweep.arm.label

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(1, color=INK, linewidth=1, label="best single process")
        at = np.geomspace(batches[0], batches[-1], 200)
        fitted = sweep.fitted_speedup(at)
        if fitted is not None:
            axes.plot(at, fitted, "--", color=INK, linewidth=1, label="fitted: step seconds = a + c x batch")
        _draw_points(axes, sweep.grid, "o", colour_of(sweep.arm), "measured, 95 % interval")
        if sweep.checked is not None:
            name = f"check of the prediction, {sweep.checked.global_batch}"
            _draw_points(axes, [sweep.checked], "D", colour_of(sweep.arm), name)
        axes.set_xscale("log")
        grid = [point.global_batch for point in sweep.grid]
        axes.set_xticks(grid, [str(batch) for batch in grid])
        axes.minorticks_off()
        axes.set_ylim(0, None)
        axes.set_xlabel("global batch (samples per optimizer step)")
        axes.set_ylabel(f"speedup of {label}")
        axes.grid(axis="y", color=PALE, alpha=0.4)
        write_legend(axes, 2)

    finding = f"{label}: no crossover between global batch {batches[0]} and {batches[-1]}"
    if sweep.measured_batch is not None:
        finding = f"{label} overtakes the best single process at a global batch of {sweep.measured_batch:.0f}"
    where = conditions_of(sweep.points[-1].parallel.runs[-1]).rsplit("; ", 1)[0]
    n = plural(min(len(point.parallel.runs) for point in sweep.points), "seed")
    speedups = "; ".join(f"{point.global_batch}: {point.speedup.value:.2f}" for point in sweep.points)
    return Chart(
        slug="sweep",
        finding=finding,
        conditions=f"{where}; short timed runs\nn = {n}; speedup over the fastest single process of each batch",
        alt=f"Speedup against global batch. {speedups}.",
        height=4.2,
        draw=draw,
    )


def _draw_points(axes: Axes, points: list[Point], shape: str, colour: str, name: str) -> None:
    for point in points:
        draw_interval(axes, point.global_batch, point.speedup, colour, upright=True)
        at = [point.global_batch], [point.speedup.value]
        axes.plot(*at, shape, color=colour, markeredgecolor=INK, markersize=8)
    axes.plot([], [], shape, color=colour, markeredgecolor=INK, label=name)
