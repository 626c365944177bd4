"""The training loss. Runs may differ in length, because they end when they reach a target."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ddpbench.judge import learning, stats
from ddpbench.judge.arms import ArmResult, equal_to_the_bit
from ddpbench.judge.comparison import Comparison, means, pairs
from ddpbench.judge.epochs import evals_s, is_undisturbed
from ddpbench.judge.judgement import Judgement
from ddpbench.record import Record
from ddpbench.show.charts import words
from ddpbench.show.charts.style import (
    PALE,
    Chart,
    colour_of_result,
    conditions_of,
    write_legend,
)

SAME = 0.05  # curves that are so close on average lie on each other: it is less than the width of a line


def losses(results: Sequence[tuple[str, ArmResult]]) -> list[Chart]:
    """Training loss of arms over their epochs, each under its name in a chart of its own, all on equal axes."""
    every = [run for _, result in results for run in result.runs]
    values = [loss for run in every for loss in learning.losses(run) if loss > 0] or [1.0]  # the axis is logarithmic
    limits = 0.8 * min(values), 1.25 * max(values)
    most = max(len(run.epochs) for run in every)
    return [_loss(result, f"Loss-parallel-{name}", limits, most) for name, result in results]


def _loss(result: ArmResult, slug: str, limits: tuple[float, float], most: int) -> Chart:
    final, count = learning.final_loss(result), len(result.runs)
    small = ["1 run" if count == 1 else f"{count} runs: thin; their mean: thick", *_note_on_length([result])]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_curves(axes, result, learning.points_in_epochs)
        axes.set_xlim(0, most)
        axes.set_ylim(limits)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss (log scale)")

    return Chart(
        slug=slug,
        finding=f"{result.arm.label}: mean loss of the last epoch {final:.3f}",
        conditions=conditions_of(result.runs[0], "; ".join(small)),
        alt=f"Training loss of {result.arm.label} over its epochs, falling to {final:.3f}.",
        height=3.4,
        draw=draw,
    )


def curves(judgement: Judgement, comparison: Comparison) -> Chart:
    """Loss of two arms against steps, and against seconds since the start."""
    both = [comparison.reference, comparison.parallel]
    last = _last_losses(comparison)
    took_s = [fmean(_points_since_start(run)[-1] for run in result.runs) for result in both]
    counts = sorted({len(result.runs) for result in both})
    runs = f"n = {' and '.join(map(str, counts))} of each arm"
    small = [f"{runs}; thick: mean, thin: runs; log scale", *_note_on_length(both), *_note_on_disturbed(both)]

    def draw(figure: Figure) -> None:
        steps, seconds = figure.subplots(2, 1)
        for result, dashes in zip(both, ("-", (0, (4, 2))), strict=True):
            _draw_curves(steps, result, learning.points_in_steps, dashes)
            _draw_curves(seconds, result, _points_since_start, dashes)
        steps.set_xlabel("optimizer steps")
        seconds.set_xlabel("seconds since the start, with start-up and evaluation")
        for axes in (steps, seconds):
            axes.set_xlim(0, None)
            axes.set_ylabel("training loss")
        write_legend(steps, 2)

    return Chart(
        slug="learning",
        finding=_finding(comparison),
        conditions=conditions_of(judgement.study.newest, "; ".join(small)),
        alt=(
            f"Training loss against steps and against seconds. {both[0].arm.label} reaches {last[0]:.3f} after "
            f"{took_s[0]:.1f} s, {both[1].arm.label} {last[1]:.3f} after {took_s[1]:.1f} s."
        ),
        height=5.0,
        draw=draw,
    )


def _finding(comparison: Comparison) -> str:
    """Return whether the curves lie on each other, else what the losses of the last epoch were."""
    reference, parallel = comparison.reference, comparison.parallel
    if equal_to_the_bit(reference, parallel):
        return "Both learn the same, to the bit, step by step"
    one, other = (_mean_curve(result, learning.points_in_steps) for result in (reference, parallel))
    if len(one[0]) == len(other[0]) and all(loss > 0 for loss in [*one[1], *other[1]]):
        gap = fmean(abs(math.log(new / old)) for old, new in zip(one[1], other[1], strict=True))
        if gap <= SAME:
            return f"Step by step the curves lie on each other: {words.percent(gap)} apart on average"
    final = [f"{loss:.3f}" for loss in reversed(_last_losses(comparison))]
    return f"The loss of the last epoch is {' against '.join(final)}{_chance(reference, parallel)}"


def _last_losses(comparison: Comparison) -> tuple[float, float]:
    """Return the loss of the last epoch, of the reference first: means over the seeds that both arms have, if any."""
    reference, parallel = comparison.reference, comparison.parallel
    if comparison.learnt is None:
        return learning.final_loss(reference), learning.final_loss(parallel)
    return means(reference.runs, parallel.runs, _last_loss)


def _last_loss(run: Record) -> float:
    return run.epochs[-1].train_loss


def _chance(reference: ArmResult, parallel: ArmResult) -> str:
    """Return what the interval of the difference adds to a title."""
    final = pairs(reference.runs, parallel.runs, _last_loss)
    if len(final) < 2 or any(loss <= 0 for pair in final for loss in pair):
        return ", measured once"
    ratio = stats.ratio([math.log(new / old) for old, new in final])
    assert ratio.low is not None
    assert ratio.high is not None
    return ", which may be chance" if ratio.low <= 1 <= ratio.high else ""


def _points_since_start(run: Record) -> list[float]:
    """Return where the points of the loss curve lie, in seconds since the start of python or torchrun."""
    count = len(run.epochs[0].loss_curve)
    before_s = list(accumulate(evals_s(run), initial=run.startup_s))
    return [at + before_s[index // count] for index, at in enumerate(learning.points_in_seconds(run))]


def _mean_curve(result: ArmResult, points: Callable[[Record], list[float]]) -> tuple[list[float], list[float]]:
    """Return places and values of the mean of an arm's curves.

    It ends with the shortest run. Beyond that it would be a mean of the slow learners, with a jump wherever another run
    ends.
    """
    place = [fmean(column) for column in zip(*map(points, result.runs), strict=False)]
    return place, [fmean(column) for column in zip(*map(learning.losses, result.runs), strict=False)]


def _draw_curves(axes: Axes, result: ArmResult, points: Callable[[Record], list[float]], dashes: Any = "-") -> None:
    """Draw the loss of every run, and thick their mean. `points` returns where the points of a curve lie."""
    colour = colour_of_result(result)
    for run in result.runs:
        axes.plot(points(run), learning.losses(run), color=colour, linewidth=0.7, alpha=0.5)
    axes.plot(*_mean_curve(result, points), color=colour, linewidth=2.2, linestyle=dashes, label=result.arm.label)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=PALE, alpha=0.4)


def _note_on_length(results: Sequence[ArmResult]) -> list[str]:
    """Return a note on where the mean ends, if the runs of an arm differ in length."""
    differ = any(len({len(run.epochs) for run in result.runs}) > 1 for result in results)
    return ["runs differ in length: the mean ends with the shortest"] if differ else []


def _note_on_disturbed(results: Sequence[ArmResult]) -> list[str]:
    """Return a note on how an epoch is drawn whose time is not that of training alone."""
    all_undisturbed = all(is_undisturbed(epoch) for result in results for run in result.runs for epoch in run.epochs)
    return [] if all_undisturbed else ["interrupted epochs are drawn as long as the others"]
