"""All arms: time and accuracy; speedup and efficiency."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpbench.judge.arms import ArmResult
from ddpbench.judge.comparison import Comparison
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Estimate
from ddpbench.show.charts.style import (
    GREY,
    INK,
    Chart,
    bar_style,
    colour_of,
    conditions_of,
    cut_percent_axis,
    draw_interval,
    end_of,
    in_percent,
    label_rows,
    leave_room_right,
    runs_per_arm,
    write_value,
)


def comparison(judgement: Judgement) -> Chart:
    """Training time of every arm, and test accuracy of every arm but the controls."""
    results = judgement.results
    accurate = [result for result in results if not result.arm.is_control]

    def draw(figure: Figure) -> None:
        time, accuracy = figure.subplots(2, 1, height_ratios=[len(results) + 0.6, len(accurate) + 0.6])
        for row, result in enumerate(results):
            time.barh(row, result.epoch_s.value, height=0.62, **bar_style(result))
            draw_interval(time, row, _not_below_zero(result.epoch_s))
            write_value(time, end_of(result.epoch_s), row, f"{result.epoch_s.value:.2f} s")
        label_rows(time, [result.arm.label for result in results])
        leave_room_right(time, 0, max(end_of(result.epoch_s) for result in results), 0.16)
        time.set_xlabel("training time per epoch (s)")
        for row, result in enumerate(accurate):
            percent, colour = in_percent(result.accuracy), colour_of(result.arm, is_reference=result.is_reference)
            draw_interval(accuracy, row, percent)
            accuracy.plot([percent.value], [row], "o", markersize=9, color=colour, markeredgecolor=INK)
            write_value(accuracy, end_of(percent), row, f"{percent.value:.2f} %")
        label_rows(accuracy, [result.arm.label for result in accurate])
        cut_percent_axis(accuracy, [in_percent(result.accuracy) for result in accurate])
        accuracy.set_xlabel("test accuracy (%), axis cut: does not begin at 0")

    texts = [f"{result.arm.label} {result.epoch_s.value:.2f} s" for result in results]
    texts += [f"{result.arm.label} {result.accuracy.value:.2%}" for result in accurate]
    return Chart(
        slug="comparison",
        finding=_finding(judgement.comparison),
        conditions=conditions_of(
            judgement.study.newest, f"{runs_per_arm(results)}; lines are 95 % intervals of the mean"
        ),
        alt=f"Bars of training time per epoch and dots of test accuracy: {'; '.join(texts)}.",
        height=1.3 + 0.34 * (len(results) + len(accurate)),
        draw=draw,
    )


def speedup(judgement: Judgement) -> Chart:
    """Speedup over one worker, and efficiency, against the number of workers, with the ideal line."""
    measured = [result for result in judgement.results if result.efficiency is not None]
    most = max(result.arm.world_size for result in measured)
    best = judgement.comparison.reference_over_one_worker if judgement.comparison else None
    weak = [row for row in judgement.scaling if row.scaling == "weak" and row.efficiency is not None]

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1])
        above.plot([1, most], [1, most], "--", color=INK, linewidth=1)
        above.annotate("ideal", (most, most), (-4, 2), textcoords="offset points", ha="right", va="bottom", fontsize=10)
        below.axhline(100, linestyle="--", color=INK, linewidth=1)
        if best is not None:
            above.axhline(best, color=GREY, linewidth=1.5)
            above.annotate("best single process", (1, best), (2, 3), textcoords="offset points", fontsize=10)
        above.plot([1], [1], "o", markersize=8, color=GREY, markeredgecolor=INK)
        for index, result in enumerate(measured):
            assert result.efficiency is not None
            x = result.arm.world_size + 0.03 * (index - (len(measured) - 1) / 2) * most
            _point(above, x, result.efficiency.scaled(result.arm.world_size), result)
            _point(below, x, result.efficiency.scaled(100), result)
        for row in weak:
            assert row.efficiency is not None
            x, colour = row.arm.world_size + 0.2 * most, colour_of(row.arm)
            below.plot([x], [100 * row.efficiency.value], "D", markersize=7, color="none", markeredgecolor=colour)
            draw_interval(below, x, row.efficiency.scaled(100), colour, upright=True)
            write_value(below, x, 100 * row.efficiency.value, "weak scaling")
        points, names = above.get_legend_handles_labels()
        by_name = dict(zip(names, points, strict=True))  # an arm has one point for every number of workers
        above.legend(by_name.values(), by_name.keys(), loc="lower right", frameon=False, fontsize=10)
        below.set_xticks(range(1, most + 1))
        below.set_xlim(0.8, 1.5 * most)
        above.set_ylim(0, None)
        below.set_ylim(0, None)
        above.set_ylabel("speedup over one worker")
        below.set_ylabel("efficiency (%)")
        below.set_xlabel("workers")

    texts = [f"{result.arm.label} {result.efficiency.value:.0%}" for result in measured if result.efficiency]
    main = next((result for result in measured if result is judgement.parallel), measured[0])
    assert main.efficiency is not None
    return Chart(
        slug="speedup",
        finding=f"{main.arm.label}: {main.efficiency.value:.0%} of {main.arm.world_size} perfect workers",
        conditions=conditions_of(
            judgement.study.newest, f"{runs_per_arm(measured)}; lines are 95 % intervals, paired by seed"
        ),
        alt=f"Speedup over one worker and efficiency beside the ideal line. Efficiency: {'; '.join(texts)}.",
        height=4.6,
        draw=draw,
    )


def _finding(comparison: Comparison | None) -> str:
    speedup = comparison.parallel.speedup if comparison else None
    if comparison is None or speedup is None:
        return "Training time and test accuracy of every arm"
    label = comparison.parallel.arm.label
    if speedup.low is not None and speedup.high is not None and speedup.low <= 1 <= speedup.high:
        return f"{label} is not measurably faster or slower"
    return f"{label} is {speedup.value:.2f}x as fast as the best single process"


def _point(axes: Axes, x: float, estimate: Estimate, result: ArmResult) -> None:
    colour = GREY if result.arm.is_control else colour_of(result.arm)
    draw_interval(axes, x, estimate, colour, upright=True)
    face = "none" if result.arm.is_control else colour
    name = "ceiling" if result.arm.is_control else result.arm.comm
    axes.plot([x], [estimate.value], "o", markersize=8, markerfacecolor=face, markeredgecolor=colour, label=name)


def _not_below_zero(estimate: Estimate) -> Estimate:
    low = None if estimate.low is None else max(0.0, estimate.low)
    return Estimate(estimate.value, low, estimate.high, estimate.n)
