"""The pictures: a finding in the title, the conditions in a small second line, one colour an arm."""

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpbench.files import write_whole
from ddpbench.judge.arms import ArmResult, main_parallel, reference_of
from ddpbench.judge.stats import Estimate
from ddpbench.judge.study import Study
from ddpbench.record import Arm, Record, plural

# Okabe and Ito's colour-blind-safe set.
GREY, PALE, ORANGE, BLUE, PURPLE, INK = "#7f7f7f", "#bfbfbf", "#E69F00", "#0072B2", "#CC79A7", "#222222"
COLOURS = {"gloo": ORANGE, "nccl": BLUE}
STYLE: Any = {  # a mapping; matplotlib lists every legal key in its type
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "text.color": INK,
}
DOTS_PER_INCH = 120


def draw_all(study: Study, results: Sequence[ArmResult]) -> list[Path]:
    """Draw every chart of a study into its folder. Returns the files, each written whole.

    `parallel-False` is the reference, the best single process; `parallel-True` the main parallel arm:
    the file names of the original experiment.
    """
    reference, parallel = reference_of(results), main_parallel(results)
    figures = {"comparison.png": draw_comparison(results)}
    for name, result in (("False", reference), ("True", parallel)):
        figures[f"Loss-parallel-{name}.png"] = draw_loss(result, reference)
        figures[f"Accuracy-parallel-{name}.png"] = draw_accuracy(result, reference)
    for name, figure in figures.items():
        picture = io.BytesIO()
        with mpl.rc_context(STYLE):
            figure.savefig(picture, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        write_whole(study.folder / name, picture.getvalue())
    return [study.folder / name for name in figures]


def draw_comparison(results: Sequence[ArmResult]) -> Figure:
    """Time and accuracy of every arm, side by side, with 95 % intervals over runs."""
    reference, parallel = reference_of(results), main_parallel(results)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 2.2 + 0.62 * len(results)))
        time, accuracy = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1])
        rows = range(len(results))
        for row, result in zip(rows, results, strict=True):
            colour = colour_of(result.arm, reference.arm)
            time.barh(row, result.epoch_s.value, height=0.62, **_fill(result.arm, colour))
            _error_bar(time, row, result.epoch_s)
            end = result.epoch_s.high or result.epoch_s.value
            time.text(end, row, f"  {result.epoch_s.value:.2f} s", va="center", ha="left")
            if not result.arm.is_control:
                _dot(accuracy, row, _in_percent(result.accuracy), colour)
        time.set_yticks(rows, [result.arm.label for result in results])
        time.invert_yaxis()
        time.tick_params(axis="y", length=0)
        time.set_xlim(0, 1.22 * max(result.epoch_s.high or result.epoch_s.value for result in results))
        time.set_xlabel("training time per epoch (s)")
        accuracy.set_xlabel("test accuracy (%), axis cut: not from 0")
        _cut_axis(accuracy, [_in_percent(result.accuracy) for result in results if not result.arm.is_control])
        accuracy.tick_params(axis="y", length=0)
        _title(
            figure,
            _finding(parallel, reference),
            parallel.runs[0],
            f"{_runs(results)}; lines are 95 % intervals of the mean",
        )
    return figure


def draw_loss(result: ArmResult, reference: ArmResult) -> Figure:
    """Training loss of one arm over its epochs: a thin line a run, the mean thick."""
    curves = [[loss for epoch in run.epochs for loss in epoch.loss_curve] for run in result.runs]
    per_epoch = len(result.runs[0].epochs[0].loss_curve)
    at = [(index + 0.5) / per_epoch for index in range(len(curves[0]))]
    mean = [fmean(losses) for losses in zip(*curves, strict=True)]
    colour = colour_of(result.arm, reference.arm)
    final = fmean(run.epochs[-1].train_loss for run in result.runs)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 5.4))
        axes = figure.subplots()
        for curve in curves:
            axes.plot(at, curve, color=colour, linewidth=0.8, alpha=0.6)
        axes.plot(at, mean, color=colour, linewidth=2.8)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlim(0, len(result.runs[0].epochs))
        axes.set_xticks(
            range(len(result.runs[0].epochs) + 1) if len(result.runs[0].epochs) <= 12 else axes.get_xticks()
        )
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss (cross-entropy, log scale)")
        axes.grid(axis="y", color="#e5e5e5")
        runs = "1 run" if len(curves) == 1 else f"{len(curves)} runs: thin lines; their mean: thick line"
        _title(figure, f"{result.arm.label}: mean loss of the last epoch {final:.3f}", result.runs[0], runs)
    return figure


def draw_accuracy(result: ArmResult, reference: ArmResult) -> Figure:
    """Test accuracy of one arm, total and per class: a dot for the mean of runs, a line from lowest to highest."""
    rows = [("total", [run.epochs[-1].test_accuracy for run in result.runs])]
    for index, name in enumerate(result.runs[0].test_set.classes):
        count = result.runs[0].test_set.samples_per_class[index]
        rows.append((name, [run.epochs[-1].correct_per_class[index] / count for run in result.runs]))
    ranges = [Estimate(100 * fmean(values), 100 * min(values), 100 * max(values), len(values)) for _, values in rows]
    weakest = min(range(1, len(rows)), key=lambda row: ranges[row].value)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 6.6))
        axes = figure.subplots()
        for row, values in enumerate(ranges):
            _dot(axes, row, values, colour_of(result.arm, reference.arm), size=11 if row == 0 else 8)
        axes.axhline(0.5, color=PALE, linewidth=1)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_ylabel("class")
        axes.set_xlabel("test accuracy (%), axis cut: not from 0")
        axes.grid(axis="x", color="#e5e5e5")
        _cut_axis(axes, ranges)
        least = f"least for {rows[weakest][0]} ({ranges[weakest].value:.2f} %)"
        title = f"{result.arm.label}: {ranges[0].value:.2f} % in total, {least}"
        count = len(result.runs)
        runs = "1 run" if count == 1 else f"dots are means of {count} runs, lines reach from lowest to highest"
        _title(figure, title, result.runs[0], runs)
    return figure


def colour_of(arm: Arm, reference: Arm) -> str:
    """Return an arm's colour, the same in every chart."""
    if arm.kind == "data_parallel":
        return PURPLE
    if arm.kind == "ddp" and not arm.is_control:
        return COLOURS[arm.comm or ""]
    return GREY if arm == reference else PALE


def _fill(arm: Arm, colour: str) -> dict[str, object]:
    """A control is hatched: its bar is a bound, not a result."""
    if arm.is_control:
        return {"facecolor": "white", "edgecolor": GREY, "hatch": "///", "linewidth": 1}
    return {"color": colour}


def _error_bar(axes: Axes, row: int, estimate: Estimate) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.plot(
            [max(0.0, estimate.low), estimate.high], [row, row], color=INK, linewidth=1.6, marker="|", markersize=9
        )


def _dot(axes: Axes, row: int, estimate: Estimate, colour: str, size: float = 9) -> None:
    """Draw a dot, its interval, and its value above it."""
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.plot(
        [estimate.value], [row], marker="o", markersize=size, color=colour, markeredgecolor=INK, markeredgewidth=0.8
    )
    right = estimate.high if estimate.high is not None else estimate.value
    axes.annotate(
        f"{estimate.value:.2f}",
        (max(right, estimate.value), row),
        (9, 0),
        textcoords="offset points",
        va="center",
        fontsize=12,
    )


def _cut_axis(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """Fit the axis to the intervals, with room for the values written to their right."""
    low = min(estimate.value if estimate.low is None else estimate.low for estimate in estimates)
    high = max(estimate.value if estimate.high is None else estimate.high for estimate in estimates)
    width = max(high - low, 0.2)
    left, right = low - 0.12 * width, high + 0.22 * width
    axes.set_xlim(left, right)
    # No tick above 100 %, though the written values may need the room.
    axes.set_xticks([tick for tick in MaxNLocator(5).tick_values(left, right) if left <= tick <= min(right, 100)])


def _in_percent(estimate: Estimate) -> Estimate:
    """Return an accuracy in percent. Student's t does not know that no accuracy is above 100 %; we do."""
    low, high = (None if bound is None else min(100.0, 100 * bound) for bound in (estimate.low, estimate.high))
    return Estimate(100 * estimate.value, low, high, estimate.n)


def _title(figure: Figure, finding: str, record: Record, runs: str) -> None:
    """Write the finding, and under it the conditions in a smaller line."""
    machine, settings = record.environment, record.settings
    hardware = machine.gpu_models[0] if settings.device == "cuda" and machine.gpu_models else machine.cpu_model
    where = f"{hardware}, {machine.cores} cores; {settings.model} on {settings.dataset}"
    how = f"global batch {settings.global_batch}, {plural(settings.epochs, 'epoch')}"
    inch = 1 / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - 1.05 * inch))
    figure.text(0.012, 1 - 0.12 * inch, finding, fontsize=16, fontweight="bold", va="top")
    figure.text(0.012, 1 - 0.46 * inch, f"{where}; {how}\n{runs}", fontsize=11.5, va="top", color="#555555")


def _finding(parallel: ArmResult, reference: ArmResult) -> str:
    if parallel.speedup is None:
        return f"{parallel.arm.label} beside {reference.arm.label}"
    low, high = parallel.speedup.low, parallel.speedup.high
    if low is not None and high is not None and low <= 1 <= high:
        return f"{parallel.arm.label} is not measurably faster or slower"
    return f"{parallel.arm.label} is {parallel.speedup.value:.2f}x as fast as the best single process"


def _runs(results: Sequence[ArmResult]) -> str:
    counts = sorted({len(result.runs) for result in results})
    return f"n = {' to '.join(map(str, [counts[0], counts[-1]] if len(counts) > 1 else counts))} runs an arm"
