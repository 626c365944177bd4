"""Speedup over one worker and efficiency, against the number of workers."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpbench.arm import plural
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.scaling import Row
from ddpbench.judge.stats import Estimate
from ddpbench.show.charts import words
from ddpbench.show.charts.style import (
    GREY,
    INK,
    Chart,
    colour_of,
    conditions_of,
    draw_interval,
    write_legend,
)

SHAPES = ("o", "s", "^", "v")  # of the points, by the threads of a rank


class Line(NamedTuple):
    """What is drawn as one line: arms that are compared with the same worker."""

    comm: str | None
    threads: int  # of a rank; 0 on GPUs, where one worker is one GPU, whatever its threads

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """Return the points of this line, by the number of workers."""
        mine = [row for row in rows if self == _line_of(row, on_gpu=self.threads == 0)]
        return sorted(mine, key=lambda row: row.turn.arm.world_size)


def has_speedup(judgement: Judgement) -> bool:
    """Return whether there are three world sizes or more, one worker among them: fewer make no curve."""
    return len({1, *(row.turn.arm.world_size for row in _rows(judgement, "strong"))}) > 2


def speedup(judgement: Judgement) -> Chart:
    """Speedup over one worker, and efficiency, of strong and weak scaling, with the ideal line."""
    strong, weak = _rows(judgement, "strong"), _rows(judgement, "weak")
    most = max(row.turn.arm.world_size for row in strong)
    on_gpu = judgement.study.newest.settings.device == "cuda"
    lines = list(dict.fromkeys(_line_of(row, on_gpu=on_gpu) for row in strong))

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
        above.plot([1, most], [1, most], "--", color=INK, linewidth=1, label="ideal")
        below.axhline(100, linestyle="--", color=INK, linewidth=1)
        above.plot([1], [1], "o", markersize=8, color=GREY, markeredgecolor=INK)
        all_threads = list(dict.fromkeys(line.threads for line in lines))
        for index, line in enumerate(lines):
            shift = 0.03 * (index - (len(lines) - 1) / 2)  # intervals of several lines would hide each other
            shape, name = SHAPES[all_threads.index(line.threads) % len(SHAPES)], line.comm or ""
            if len(all_threads) > 1:
                name = f"{name}, {plural(line.threads, 'thread')} each"
            _draw(above, line.of(strong), shift, as_speed=True, label=name, shape=shape)
            _draw(below, line.of(strong), shift, as_speed=False, label="_", shape=shape)
            _draw(below, line.of(weak), shift + 0.06, as_speed=False, label=f"{name}, weak scaling", shape=shape)
        write_legend(above, 3)
        if weak:
            write_legend(below, 2)
        above.set_xlim(0.8, most + 0.3)
        above.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        above.set_ylim(0, None)
        below.set_ylim(0, None)
        above.set_ylabel("speedup")
        below.set_ylabel("efficiency (%)")
        below.set_xlabel("workers")

    texts = [f"{row.turn.arm.label} {words.interval(_speed(row))}" for row in strong]
    largest = max((row for row in strong if row.turn.arm.world_size == most), key=lambda row: _speed(row).value)
    worker = "one worker" if on_gpu else "one worker, a process of as many threads as a rank has"
    small = f"speedup: speed over that of {worker}; weak scaling: every worker keeps its batch; lines: 95 % intervals"
    return Chart(
        slug="speedup",
        finding=f"{most} workers are {words.interval(_speed(largest), '.1f')} times as fast as one worker",
        conditions=conditions_of(judgement.study.newest, f"{largest.turn.arm.label}; {small}"),
        alt=f"Speedup over one worker and efficiency beside the ideal line. Speedup: {'; '.join(texts)}.",
        height=4.8,
        draw=draw,
    )


def _rows(judgement: Judgement, scaling: str) -> list[Row]:
    """Return what is drawn: workers on one host. Hosts have a chart of their own."""
    rows = [row for row in judgement.scaling if row.scaling == scaling and row.turn.arm.hosts == 1]
    return [row for row in rows if row.efficiency is not None]


def _line_of(row: Row, *, on_gpu: bool) -> Line:
    arm = row.turn.arm
    return Line(arm.comm, 0 if on_gpu else arm.threads_per_rank)


def _speed(row: Row) -> Estimate:
    assert row.efficiency is not None, "only such rows are drawn"
    return row.efficiency.scaled(row.turn.arm.world_size)


def _draw(axes: Axes, rows: Sequence[Row], shift: float, *, as_speed: bool, label: str, shape: str) -> None:
    """Draw a line through points of this shape. Weak scaling is dashed, and its points are open.

    A label that begins with `_` does not show in a legend.
    """
    if not rows:
        return
    colour, at = colour_of(rows[0].turn.arm), [row.turn.arm.world_size + shift for row in rows]
    shown = [_speed(row) if as_speed else _speed(row).scaled(100 / row.turn.arm.world_size) for row in rows]
    is_weak = rows[0].scaling == "weak"
    axes.plot(
        at,
        [each.value for each in shown],
        f"{shape}{'--' if is_weak else '-'}",
        color=colour,
        markerfacecolor="none" if is_weak else colour,
        markeredgecolor=colour if is_weak else INK,
        markersize=7,
        linewidth=1.2,
        label=label,
    )
    for x, each in zip(at, shown, strict=True):
        draw_interval(axes, x, each, colour, upright=True)
