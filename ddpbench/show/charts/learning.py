"""What was learnt: loss and accuracy. Runs may be of unlike length: some reach their target before others."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from ddpbench.arm import plural
from ddpbench.judge.arms import ArmResult, is_timed, num_steps, run_epoch_s
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Estimate, mean
from ddpbench.record import Record
from ddpbench.show.charts.style import (
    INK,
    PALE,
    Chart,
    colour_of,
    conditions,
    cut_axis,
    end_of,
    in_percent,
    interval_line,
    rows,
    runs,
    value_text,
)

LOSS = "training loss (log scale)"


def loss(result: ArmResult, slug: str) -> Chart:
    """Training loss of one arm over its epochs: a thin line a run, the mean thick."""
    final = fmean(run.epochs[-1].train_loss for run in result.runs)
    lengths = [len(run.epochs) for run in result.runs]
    count = len(result.runs)
    small = ["1 run" if count == 1 else f"{count} runs: thin; their mean: thick", *_mean_ends([result])]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _curves(axes, result, _epochs_at)
        axes.set_xlim(0, max(lengths))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel(LOSS)

    return Chart(
        slug=slug,
        finding=f"{result.arm.label}: mean loss of the last epoch {final:.3f}",
        conditions=conditions(result.runs[0], "; ".join(small)),
        alt=f"Training loss of {result.arm.label} over its epochs, falling to {final:.3f}.",
        height=3.4,
        draw=draw,
    )


def curves(judged: Judgement) -> Chart:
    """Loss of the reference and the parallel arm against steps, and against seconds of training."""
    assert judged.reference is not None
    assert judged.parallel is not None
    both = [judged.reference, judged.parallel]
    last = [fmean(run.epochs[-1].train_loss for run in result.runs) for result in both]
    took_s = [fmean(sum(_epochs_s(run)) for run in result.runs) for result in both]
    lengths = {len(run.epochs) for result in both for run in result.runs}
    when = f"After {plural(max(lengths), 'epoch')}" if len(lengths) == 1 else "At the end of every run"
    small = [f"{runs(both)}; thick: mean, thin: runs; log scale", *_mean_ends(both), *_not_timed(both)]

    def draw(figure: Figure) -> None:
        steps, seconds = figure.subplots(2, 1)
        for result, dashes in zip(both, ("-", (0, (4, 2))), strict=True):
            _curves(steps, result, _steps_at, dashes)
            _curves(seconds, result, _seconds_at, dashes)
        steps.set_xlabel("optimizer steps")
        seconds.set_xlabel("seconds of training")
        for axes in (steps, seconds):
            axes.set_xlim(0, None)
            axes.set_ylabel("training loss")
        steps.legend(loc="upper right", frameon=False, fontsize=10)

    return Chart(
        slug="learning",
        finding=f"{when} the loss is {last[1]:.3f} against {last[0]:.3f}",
        conditions=conditions(judged.study.records[-1], "; ".join(small)),
        alt=(
            f"Training loss against steps and against seconds. {both[0].arm.label} reaches {last[0]:.3f} in "
            f"{took_s[0]:.1f} s, {both[1].arm.label} {last[1]:.3f} in {took_s[1]:.1f} s."
        ),
        height=5.0,
        draw=draw,
    )


def accuracy(result: ArmResult, slug: str) -> Chart:
    """Test accuracy of one arm, total and per class, with 95 % intervals over runs."""
    table = _by_class(result)
    weakest = min(table[1:], key=lambda row: row[1].value)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, (_, percent) in enumerate(table):
            _dot(axes, row, percent, result, 9 if row == 0 else 7)
        axes.axhline(0.5, color=PALE, linewidth=1)
        rows(axes, [name for name, _ in table])
        axes.set_ylabel("class")
        _accuracy_axis(axes, [percent for _, percent in table])

    least = f"least for {weakest[0]} ({weakest[1].value:.2f} %)"
    return Chart(
        slug=slug,
        finding=f"{result.arm.label}: {table[0][1].value:.2f} % in total, {least}",
        conditions=conditions(result.runs[0], _intervals(len(result.runs))),
        alt=f"Test accuracy: {'; '.join(f'{name} {percent.value:.2f} %' for name, percent in table)}.",
        height=0.9 + 0.3 * len(table),
        draw=draw,
    )


def classes(judged: Judgement) -> Chart:
    """Test accuracy by class of the reference and the parallel arm, side by side."""
    assert judged.reference is not None
    assert judged.parallel is not None
    both = [judged.reference, judged.parallel]
    tables = [_by_class(result) for result in both]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for table, result, offset in zip(tables, both, (-0.19, 0.19), strict=True):
            for row, (_, percent) in enumerate(table):
                _dot(axes, row + offset, percent, result, 6)
            axes.plot([], [], "o", color=_colour(result), markeredgecolor=INK, label=result.arm.label)
        axes.axhline(0.5, color=PALE, linewidth=1)
        rows(axes, [name for name, _ in tables[0]])
        axes.set_ylabel("class")
        _accuracy_axis(axes, [percent for table in tables for _, percent in table])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, borderaxespad=0.2)

    gaps = {name: new.value - old.value for (name, old), (_, new) in zip(*tables, strict=True)}
    widest = max(list(gaps)[1:], key=lambda name: abs(gaps[name]))
    said = [f"{name} {old.value:.2f} and {new.value:.2f} %" for (name, old), (_, new) in zip(*tables, strict=True)]
    return Chart(
        slug="classes",
        finding=f"In total {gaps['total']:+.2f} points; the widest gap is {widest} ({gaps[widest]:+.2f})",
        conditions=conditions(judged.study.records[-1], _intervals(min(len(result.runs) for result in both))),
        alt=f"Test accuracy by class, {both[0].arm.label} and {both[1].arm.label}: {'; '.join(said)}.",
        height=1.2 + 0.44 * len(tables[0]),
        draw=draw,
    )


def _by_class(result: ArmResult) -> list[tuple[str, Estimate]]:
    """Return the accuracy in percent, total first, then of each class: means of runs."""
    table = [("total", in_percent(result.accuracy))]
    for index, name in enumerate(result.runs[0].test_set.classes):
        count = result.runs[0].test_set.samples_per_class[index]
        table.append((name, in_percent(mean([run.epochs[-1].correct_per_class[index] / count for run in result.runs]))))
    return table


def _intervals(count: int) -> str:
    return "1 run: no intervals" if count == 1 else f"{count} runs; lines are 95 % intervals of the mean"


def _colour(result: ArmResult) -> str:
    return colour_of(result.arm, is_reference=result.is_reference)


def _dot(axes, row: float, percent: Estimate, result: ArmResult, size: float) -> None:  # type: ignore[no-untyped-def]
    interval_line(axes, row, percent, _colour(result))
    axes.plot(
        [percent.value], [row], "o", markersize=size, color=_colour(result), markeredgecolor=INK, markeredgewidth=0.7
    )
    value_text(axes, end_of(percent), row, f"{percent.value:.2f}")


def _accuracy_axis(axes, estimates: Sequence[Estimate]) -> None:  # type: ignore[no-untyped-def]
    cut_axis(axes, estimates)
    axes.set_xlabel("test accuracy (%), axis cut: not from 0")
    axes.grid(axis="x", color=PALE, alpha=0.4)


def _curves(axes, result: ArmResult, at, dashes="-") -> None:  # type: ignore[no-untyped-def]
    """Draw the loss of every run, and thick their mean, as far as all runs go.

    Beyond that a mean would be of the runs that learn slowly, and would jump where another run ends.
    """
    colour = _colour(result)
    losses = [[loss for epoch in run.epochs for loss in epoch.loss_curve] for run in result.runs]
    for run, curve in zip(result.runs, losses, strict=True):
        axes.plot(at(run), curve, color=colour, linewidth=0.7, alpha=0.5)
    place = [fmean(column) for column in zip(*map(at, result.runs), strict=False)]
    middle = [fmean(column) for column in zip(*losses, strict=False)]
    axes.plot(place, middle, color=colour, linewidth=2.2, linestyle=dashes, label=result.arm.label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=PALE, alpha=0.4)


def _epochs_at(run: Record) -> list[float]:
    """Return where each point of the loss curve lies, in epochs."""
    points = len(run.epochs[0].loss_curve)
    return [(index + 0.5) / points for index in range(points * len(run.epochs))]


def _steps_at(run: Record) -> list[float]:
    return [epoch * num_steps(run) for epoch in _epochs_at(run)]


def _seconds_at(run: Record) -> list[float]:
    """Return when each point of the loss curve was reached, in seconds of training; even speed within an epoch."""
    points = len(run.epochs[0].loss_curve)
    took_s = _epochs_s(run)
    begins = [0.0, *accumulate(took_s)]
    return [
        begin + (index + 0.5) / points * epoch_s
        for begin, epoch_s in zip(begins, took_s, strict=False)
        for index in range(points)
    ]


def _epochs_s(run: Record) -> list[float]:
    """Return the seconds of every epoch; one that is not timed is as long as those that count."""
    return [epoch.train_s if is_timed(epoch) else run_epoch_s(run) for epoch in run.epochs]


def _mean_ends(results: Sequence[ArmResult]) -> list[str]:
    """Say where the mean ends, where runs of an arm are of unlike length."""
    unlike = any(len({len(run.epochs) for run in result.runs}) > 1 for result in results)
    return ["runs differ in length: the mean ends with the shortest"] if unlike else []


def _not_timed(results: Sequence[ArmResult]) -> list[str]:
    """Say how an epoch is drawn whose time is not that of training."""
    every = all(is_timed(epoch) for result in results for run in result.runs for epoch in run.epochs)
    return [] if every else ["interrupted epochs are drawn as long as the others"]
