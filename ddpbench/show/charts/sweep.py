"""Speedup against global batch."""

import numpy as np
from matplotlib.figure import Figure

from ddpbench.judge.sweep import Sweep
from ddpbench.show.charts.style import INK, PALE, Chart, colour_of, conditions, interval_line


def speedup(found: Sweep) -> Chart:
    """Speedup over the best single process at every global batch, the fitted curve, and where they cross 1."""
    batches = [point.global_batch for point in found.points]
    colour = colour_of(found.arm)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(1, color=INK, linewidth=1, label="best single process")
        mine = next((line for line in found.lines if line.arm == found.arm), None)
        singles = [line for line in found.lines if line.arm.kind == "baseline"]
        if mine is not None and singles:
            at = np.geomspace(batches[0], batches[-1], 200)
            fitted = np.min([line.a_s + line.c_s * at for line in singles], axis=0) / (mine.a_s + mine.c_s * at)
            axes.plot(at, fitted, "--", color=INK, linewidth=1, label="fitted: step seconds = a + c x batch")
        for point in found.points:
            if point.speedup is None:
                continue
            interval_line(axes, point.global_batch, point.speedup, colour, upright=True)
            shape = "D" if point is found.checked else "o"
            axes.plot(
                [point.global_batch], [point.speedup.value], shape, color=colour, markeredgecolor=INK, markersize=8
            )
        axes.plot([], [], "o", color=colour, markeredgecolor=INK, label="measured, 95 % interval")
        if found.checked is not None:
            axes.plot(
                [],
                [],
                "D",
                color=colour,
                markeredgecolor=INK,
                label=f"check of the prediction, {found.checked.global_batch}",
            )
        axes.set_xscale("log")
        grid = [point.global_batch for point in found.grid]
        axes.set_xticks(grid, [str(batch) for batch in grid])
        axes.minorticks_off()
        axes.set_ylim(0, None)
        axes.set_xlabel("global batch (samples per optimizer step)")
        axes.set_ylabel(f"speedup of {found.arm.label}")
        axes.grid(axis="y", color=PALE, alpha=0.4)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, borderaxespad=0.2)

    said = [f"{point.global_batch}: {point.speedup.value:.2f}" for point in found.points if point.speedup]
    if found.measured_batch is not None:
        finding = f"{found.arm.label} overtakes the best single process at a global batch of {found.measured_batch:.0f}"
    else:
        finding = f"{found.arm.label}: no crossover between global batch {batches[0]} and {batches[-1]}"
    record = found.points[-1].parallel.runs[-1]
    where = conditions(record).rsplit("; ", 1)[0]
    n = min(len(point.parallel.runs) for point in found.points)
    return Chart(
        slug="sweep",
        finding=finding,
        conditions=f"{where}; short timed runs\nn = {n} seeds; speedup over the fastest single process of each batch",
        alt=f"Speedup against global batch. {'; '.join(said)}.",
        height=4.2,
        draw=draw,
    )
