"""What was learnt: loss and accuracy. Runs may differ in length, because they end when they reach a target."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from ddpbench.arm import plural
from ddpbench.judge import learning
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.comparison import Comparison
from ddpbench.judge.epochs import is_undisturbed
from ddpbench.judge.stats import Estimate
from ddpbench.record import Record
from ddpbench.show.charts.style import (
    INK,
    PALE,
    Chart,
    colour_of,
    conditions_of,
    cut_percent_axis,
    draw_interval,
    end_of,
    in_percent,
    label_rows,
    runs_per_arm,
    write_legend,
    write_value,
)


def loss(result: ArmResult, slug: str) -> Chart:
    """Training loss of one arm over its epochs: a thin line for each run, a thick one for the mean."""
    final, count = learning.final_loss(result), len(result.runs)
    small = ["1 run" if count == 1 else f"{count} runs: thin; their mean: thick", *_note_on_length([result])]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_curves(axes, result, learning.points_in_epochs)
        axes.set_xlim(0, max(len(run.epochs) for run in result.runs))
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


def curves(newest: Record, comparison: Comparison) -> Chart:
    """Loss of two arms against steps, and against seconds of training. `newest` states the conditions."""
    both = [comparison.reference, comparison.parallel]
    last = [learning.final_loss(result) for result in both]
    took_s = [fmean(sum(learning.epochs_s(run)) for run in result.runs) for result in both]
    lengths = {len(run.epochs) for result in both for run in result.runs}
    when = f"After {plural(max(lengths), 'epoch')}" if len(lengths) == 1 else "At the end of every run"
    small = [f"{runs_per_arm(both)}; thick: mean, thin: runs; log scale", *_note_on_length(both)]
    small += _note_on_disturbed(both)

    def draw(figure: Figure) -> None:
        steps, seconds = figure.subplots(2, 1)
        for result, dashes in zip(both, ("-", (0, (4, 2))), strict=True):
            _draw_curves(steps, result, learning.points_in_steps, dashes)
            _draw_curves(seconds, result, learning.points_in_seconds, dashes)
        steps.set_xlabel("optimizer steps")
        seconds.set_xlabel("seconds of training")
        for axes in (steps, seconds):
            axes.set_xlim(0, None)
            axes.set_ylabel("training loss")
        steps.legend(loc="upper right", frameon=False, fontsize=10)

    return Chart(
        slug="learning",
        finding=f"{when} the loss is {last[1]:.3f} against {last[0]:.3f}",
        conditions=conditions_of(newest, "; ".join(small)),
        alt=(
            f"Training loss against steps and against seconds. {both[0].arm.label} reaches {last[0]:.3f} in "
            f"{took_s[0]:.1f} s, {both[1].arm.label} {last[1]:.3f} in {took_s[1]:.1f} s."
        ),
        height=5.0,
        draw=draw,
    )


def accuracy(result: ArmResult, slug: str) -> Chart:
    """Test accuracy of one arm, in total and by class, with 95 % intervals over runs."""
    table = _percent_by_class(result)
    weakest, least = min(list(table.items())[1:], key=lambda row: row[1].value)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, percent in enumerate(table.values()):
            _draw_dot(axes, row, percent, result, 9 if row == 0 else 7)
        _label_classes(axes, [table])

    return Chart(
        slug=slug,
        finding=f"{result.arm.label}: {table['total'].value:.2f} % in total, least for {weakest} ({least.value:.2f} %)",
        conditions=conditions_of(result.runs[0], _note_on_intervals(len(result.runs))),
        alt=f"Test accuracy: {'; '.join(f'{name} {percent.value:.2f} %' for name, percent in table.items())}.",
        height=0.9 + 0.3 * len(table),
        draw=draw,
    )


def classes(newest: Record, comparison: Comparison) -> Chart:
    """Test accuracy by class of two arms, side by side. `newest` states the conditions."""
    both = [comparison.reference, comparison.parallel]
    tables = [_percent_by_class(result) for result in both]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for table, result, offset in zip(tables, both, (-0.19, 0.19), strict=True):
            for row, percent in enumerate(table.values()):
                _draw_dot(axes, row + offset, percent, result, 6)
            axes.plot([], [], "o", color=_colour(result), markeredgecolor=INK, label=result.arm.label)
        _label_classes(axes, tables)
        write_legend(axes, 2)

    old, new = tables
    gaps = {name: new[name].value - old[name].value for name in old}
    widest = max(list(gaps)[1:], key=lambda name: abs(gaps[name]))
    texts = [f"{name} {old[name].value:.2f} and {new[name].value:.2f} %" for name in old]
    return Chart(
        slug="classes",
        finding=f"In total {gaps['total']:+.2f} points; the widest gap is {widest} ({gaps[widest]:+.2f})",
        conditions=conditions_of(newest, _note_on_intervals(min(len(result.runs) for result in both))),
        alt=f"Test accuracy by class, {both[0].arm.label} and {both[1].arm.label}: {'; '.join(texts)}.",
        height=1.2 + 0.44 * len(old),
        draw=draw,
    )


def _percent_by_class(result: ArmResult) -> dict[str, Estimate]:
    """Return the accuracy in percent by class, the total first."""
    by_class = {name: in_percent(estimate) for name, estimate in learning.accuracy_by_class(result).items()}
    return {"total": in_percent(result.accuracy)} | by_class


def _colour(result: ArmResult) -> str:
    return colour_of(result.arm, is_reference=result.is_reference)


def _draw_dot(axes: Axes, row: float, percent: Estimate, result: ArmResult, size: float) -> None:
    draw_interval(axes, row, percent, _colour(result))
    axes.plot(
        [percent.value], [row], "o", markersize=size, color=_colour(result), markeredgecolor=INK, markeredgewidth=0.7
    )
    write_value(axes, end_of(percent), row, f"{percent.value:.2f}")


def _label_classes(axes: Axes, tables: Sequence[dict[str, Estimate]]) -> None:
    axes.axhline(0.5, color=PALE, linewidth=1)
    label_rows(axes, list(tables[0]))
    axes.set_ylabel("class")
    cut_percent_axis(axes, [percent for table in tables for percent in table.values()])
    axes.set_xlabel("test accuracy (%), axis cut: does not begin at 0")
    axes.grid(axis="x", color=PALE, alpha=0.4)


def _draw_curves(axes: Axes, result: ArmResult, points: Callable[[Record], list[float]], dashes: Any = "-") -> None:
    """Draw the loss of every run, and thick their mean. `points` returns where the points of a curve lie.

    The mean ends with the shortest run. Beyond that it would be a mean of the slow learners, with a jump wherever
    another run ends.
    """
    colour = _colour(result)
    losses = list(map(learning.losses, result.runs))
    for run, curve in zip(result.runs, losses, strict=True):
        axes.plot(points(run), curve, color=colour, linewidth=0.7, alpha=0.5)
    place = [fmean(column) for column in zip(*map(points, result.runs), strict=False)]
    mean = [fmean(column) for column in zip(*losses, strict=False)]
    axes.plot(place, mean, color=colour, linewidth=2.2, linestyle=dashes, label=result.arm.label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=PALE, alpha=0.4)


def _note_on_intervals(count: int) -> str:
    return "1 run: no intervals" if count == 1 else f"{count} runs; lines are 95 % intervals of the mean"


def _note_on_length(results: Sequence[ArmResult]) -> list[str]:
    """Return a note on where the mean ends, if the runs of an arm differ in length."""
    differ = any(len({len(run.epochs) for run in result.runs}) > 1 for result in results)
    return ["runs differ in length: the mean ends with the shortest"] if differ else []


def _note_on_disturbed(results: Sequence[ArmResult]) -> list[str]:
    """Return a note on how an epoch is drawn whose time is not that of training alone."""
    all_undisturbed = all(is_undisturbed(epoch) for result in results for run in result.runs for epoch in run.epochs)
    return [] if all_undisturbed else ["interrupted epochs are drawn as long as the others"]
