"""What was learnt by part of the test set, such as its classes. Only tasks that name parts have these charts."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpbench.judge import learning
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.comparison import Comparison
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Estimate
from ddpbench.record import Metric
from ddpbench.show import figures
from ddpbench.show.charts import measure
from ddpbench.show.charts.style import (
    INK,
    PALE,
    Chart,
    bounds_of,
    colour_of_result,
    conditions_of,
    draw_interval,
    label_rows,
    write_column,
    write_legend,
)
from ddpbench.show.phrases import capitalized

MOST_PARTS = 40  # in a chart: more rows are no picture
Rows = dict[str, Estimate]


def has_parts(result: ArmResult) -> bool:
    """Return whether what an arm learnt can be drawn by part."""
    return bool(result.runs) and 0 < len(learning.by_part(result)) <= MOST_PARTS


def originals(results: Sequence[tuple[str, ArmResult]]) -> list[Chart]:
    """What arms learnt, in total and by part, each under its name in a chart of its own, all on equal axes."""
    tables = [_by_part(result) for _, result in results]
    limits = _limits(results[0][1].runs[0].metric, tables)
    return [
        _of_arm(result, f"Accuracy-parallel-{name}", table, limits)
        for (name, result), table in zip(results, tables, strict=True)
    ]


def classes(judgement: Judgement, comparison: Comparison) -> Chart:
    """What two arms learnt by part, side by side. Of so many differences some are large by chance."""
    both = [comparison.reference, comparison.parallel]
    metric = both[0].runs[0].metric
    words, name = figures.words_of(metric), figures.name_of(both[0].runs[0])
    tables = [_by_part(result) for result in both]
    old = tables[0]
    limits = _limits(metric, tables)

    def pair(row: str) -> str:
        return " and ".join(figures.number(metric, table[row].value) for table in tables)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for table, result, offset in zip(tables, both, (-0.19, 0.19), strict=True):
            for row, estimate in enumerate(table.values()):
                _draw_dot(axes, row + offset, estimate, result, 6)
            axes.plot([], [], "o", color=colour_of_result(result), markeredgecolor=INK, label=result.arm.label)
        for row, part in enumerate(old):
            write_column(axes, row, pair(part))
        _label_parts(axes, old, metric, limits)
        write_legend(axes, 2)

    unit = figures.short(metric.unit, figures.MOST_UNIT)
    texts = [f"{part} {pair(part)} {unit}".rstrip() for part in old]
    small = _note_on_intervals(min(len(result.runs) for result in both))
    title = f"{capitalized(name)} by {words.part}: {pair('total')} {unit}".rstrip()
    return Chart(
        slug="classes",
        finding=f"{title} in total",
        conditions=conditions_of(
            judgement.study.newest, f"{small}; of several {words.parts}, one may differ by chance"
        ),
        alt=(
            f"{capitalized(figures.tested(name))} by {words.part}, {both[0].arm.label} and {both[1].arm.label}: "
            f"{'; '.join(texts)}."
        ),
        height=1.2 + 0.44 * len(old),
        draw=draw,
    )


def _of_arm(result: ArmResult, slug: str, table: Rows, limits: tuple[float, float]) -> Chart:
    run = result.runs[0]
    metric = run.metric

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, estimate in enumerate(table.values()):
            _draw_dot(axes, row, estimate, result, 9 if row == 0 else 7)
            write_column(axes, row, figures.number(metric, estimate.value))
        _label_parts(axes, table, metric, limits)

    texts = [f"{part} {figures.value(metric, estimate.value)}" for part, estimate in table.items()]
    return Chart(
        slug=slug,
        finding=f"{result.arm.label}: {figures.value(metric, table['total'].value)} in total",
        conditions=conditions_of(run, _note_on_intervals(len(result.runs))),
        alt=f"{capitalized(figures.tested(figures.name_of(run)))}: {'; '.join(texts)}.",
        height=0.9 + 0.3 * len(table),
        draw=draw,
    )


def _by_part(result: ArmResult) -> Rows:
    """Return the metric by part, the total first, as it is drawn."""
    assert result.metric is not None, "the arm has runs"
    metric = result.runs[0].metric
    parts = {part: measure.capped(metric, estimate) for part, estimate in learning.by_part(result).items()}
    return {"total": measure.capped(metric, result.metric)} | parts


def _limits(metric: Metric, tables: Sequence[Rows]) -> tuple[float, float]:
    return measure.limits(metric, [end for table in tables for each in table.values() for end in bounds_of(each)])


def _draw_dot(axes: Axes, row: float, estimate: Estimate, result: ArmResult, size: float) -> None:
    colour = colour_of_result(result)
    draw_interval(axes, row, estimate, colour)
    look: dict[str, Any] = {"color": colour, "markeredgecolor": INK, "markeredgewidth": 0.7, "clip_on": False}
    axes.plot([estimate.value], [row], "o", markersize=size, **look)


def _label_parts(axes: Axes, table: Rows, metric: Metric, limits: tuple[float, float]) -> None:
    axes.axhline(0.5, color=PALE, linewidth=1)
    label_rows(axes, [figures.short(part) for part in table])
    axes.set_ylabel(figures.words_of(metric).part)
    measure.name_axis(axes, metric, limits)
    axes.grid(axis="x", color=PALE, alpha=0.4)


def _note_on_intervals(count: int) -> str:
    return "1 run: no intervals" if count == 1 else f"{count} runs; lines are 95 % intervals of the mean"
