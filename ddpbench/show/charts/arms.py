"""All arms: the time of a step, and what each has learnt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpbench.judge.arms import ArmResult, equal_to_the_bit
from ddpbench.judge.comparison import learnt_by
from ddpbench.judge.epochs import final_metric
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria, Outcome, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import is_parallel_choice
from ddpbench.show import figures
from ddpbench.show.charts import measure, words
from ddpbench.show.charts.style import (
    INK,
    SHADE,
    Chart,
    bar_style,
    bounds_of,
    colour_of_result,
    conditions_of,
    draw_dots,
    draw_interval,
    label_rows,
    write_column,
)

OUTCOMES: dict[Outcome, str] = {  # what follows `is` or `are`
    "faster": "faster",
    "slower": "slower",
    "no_difference": "as fast, within the margin",
    "cannot_tell": "not shown to differ",
}
MOST_NAMES = 2  # of arms in a title


@dataclass(frozen=True, slots=True)
class _Bar:
    """An arm's step in ms."""

    result: ArmResult
    step_ms: Estimate
    units_ms: list[float]


def comparison(judgement: Judgement) -> Chart:
    """Time of a step of every arm, the fastest first and controls apart; and the metric of those that were run."""
    bars = sorted((_bar(judgement, result) for result in judgement.results), key=lambda bar: bar.step_ms.value)
    choices = [bar for bar in bars if not bar.result.arm.is_control]
    controls = [bar for bar in bars if bar.result.arm.is_control]
    rows = [*choices, *([None, *controls] if controls else [])]
    learnt = _equal_arms([bar.result for bar in choices if bar.result.metric is not None])
    heights = [0.34 * len(rows) + 0.5, 0.45 * len(learnt) + 0.5] if learnt else [0.34 * len(rows) + 0.5]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        _draw_times(axes[0], rows)
        if learnt:
            _draw_metrics(axes[1], judgement, learnt)

    timing, reference = judgement.timing, judgement.reference
    small = f"dots: {words.units(timing, len(timing.units))}"
    if len(timing.units) > 1:
        small += "; lines: 95 % intervals" + (f" of the difference to {reference.arm.label}" if reference else "")
    texts = [f"{bar.result.arm.label} {words.ms(bar.step_ms.value)}" for bar in bars]
    texts += [_text(each) for row in learnt for each in row]
    name = figures.name_of(judgement.study.newest)
    return Chart(
        slug="comparison",
        finding=_finding(judgement),
        conditions=conditions_of(judgement.study.newest, small, *([_note(judgement)] if learnt else [])),
        alt=f"Bars of the time of a step and dots of {figures.tested(name)}, by arm: {'; '.join(texts)}.",
        height=sum(heights) + 0.5 * len(heights),
        draw=draw,
    )


def _bar(judgement: Judgement, result: ArmResult) -> _Bar:
    """Return the step of an arm, measured against the reference within every launch.

    Arms are compared within a launch. Their own intervals would hold what they share, the speed of the machine in each
    launch, and would be too wide to compare.
    """
    timing, reference = judgement.timing, judgement.reference
    if reference is None:
        own_ms = [1e3 * result.turn.global_batch * sample_s for sample_s in timing.of(result.turn)]
        return _Bar(result, result.step_s.scaled(1e3), own_ms)
    whole_ms, speed = 1e3 * reference.step_s.value, result.speed
    if speed is None:
        return _Bar(result, Estimate(whole_ms, None, None, reference.step_s.n), [])
    low, high = (None if bound is None else whole_ms / bound for bound in (speed.high, speed.low))
    units_ms = [whole_ms / math.exp(log) for log in timing.logs(result.turn, reference.turn)]
    return _Bar(result, Estimate(whole_ms / speed.value, low, high, speed.n), units_ms)


def _draw_times(axes: Axes, rows: Sequence[_Bar | None]) -> None:
    for row, bar in enumerate(rows):
        if bar is not None:
            axes.barh(row, bar.step_ms.value, height=0.62, **bar_style(bar.result))
            draw_dots(axes, row, bar.units_ms)
            draw_interval(axes, row, bar.step_ms)
            write_column(axes, row, words.ms(bar.step_ms.value))
            if bar.result.is_reference:
                axes.axvline(bar.step_ms.value, color=INK, linewidth=0.8, linestyle=":")
    label_rows(axes, ["controls (no results)" if bar is None else bar.result.arm.label for bar in rows])
    drawn = [value for bar in rows if bar for value in (bar.step_ms.value, *bar.units_ms)]
    # An interval of few launches may be many times as wide as all bars. It is cut, so that these can be read.
    ends = [bar.step_ms.high for bar in rows if bar and bar.step_ms.high is not None]
    axes.set_xlim(0, min(1.05 * max([*drawn, *ends]), 1.5 * max(drawn)))
    axes.set_xlabel("time of a step (ms)")


def _equal_arms(results: Sequence[ArmResult]) -> list[list[ArmResult]]:
    """Return the arms, those together that learnt the same to the bit."""
    rows: list[list[ArmResult]] = []
    for result in results:
        same = next((row for row in rows if equal_to_the_bit(row[0], result)), None)
        if same is None:
            rows.append([result])
        else:
            same.append(result)
    return rows


def _text(result: ArmResult) -> str:
    """Return an arm with its metric: `ddp 2 x 1, shm 99.03%`."""
    assert result.metric is not None, "only arms with runs are drawn"
    return f"{result.arm.label} {figures.value(result.runs[0].metric, result.metric.value).replace(' %', '%')}"


def _note(judgement: Judgement) -> str:
    """Return what the dots, lines and shades of the metric are."""
    metric = judgement.study.metric
    assert metric is not None, "arms with runs are drawn"
    margin = judgement.criteria.margin_of(metric)
    note = f"{figures.short(metric.name)}: a dot a run, {95 if margin is None else 90} % intervals"
    return note if margin is None else f"{note}; shaded: {figures.margin(metric, margin)}"


def _draw_metrics(axes: Axes, judgement: Judgement, rows: Sequence[Sequence[ArmResult]]) -> None:
    reference, metric = judgement.reference, rows[0][0].runs[0].metric
    margin, drawn = judgement.criteria.margin_of(metric), list[float]()
    for row, equal in enumerate(rows):
        result = next((each for each in equal if each.is_reference), equal[0])
        estimate = measure.capped(metric, _metric(result, reference, judgement.criteria))
        dots = [final_metric(run) for run in result.runs]
        drawn += [*dots, *bounds_of(estimate)]
        draw_dots(axes, row, dots)
        colour = colour_of_result(result)
        draw_interval(axes, row, estimate, colour)
        axes.plot([estimate.value], [row], "o", markersize=9, color=colour, markeredgecolor=INK, clip_on=False)
        write_column(axes, row, figures.value(metric, estimate.value))
    if reference is not None and reference.metric is not None:
        centre = reference.metric.value
        axes.axvline(centre, color=INK, linewidth=0.8, linestyle=":")
        if margin is not None:
            low, high = bounds_of(measure.capped(metric, Estimate(centre, centre - margin, centre + margin, 1)))[1:]
            axes.axvspan(low, high, **SHADE)
            drawn += [low, high]
    label_rows(axes, ["\n= ".join(each.arm.label for each in row) + (", to the bit" * (len(row) > 1)) for row in rows])
    measure.name_axis(axes, metric, measure.limits(metric, drawn))


def _metric(result: ArmResult, reference: ArmResult | None, criteria: Criteria) -> Estimate:
    """Return an arm's metric with the interval that is tested: of its difference to the reference, seed by seed."""
    assert result.metric is not None, "only arms with runs are drawn"
    value, n = result.metric.value, result.metric.n
    learnt = None if reference is None or result.is_reference else learnt_by(reference.runs, result.runs, criteria)
    if learnt is None:
        return Estimate(value, None, None, n)
    found = learnt.difference if learnt.margin is None else learnt.tested
    low, high = (None if bound is None else value + bound - found.value for bound in (found.low, found.high))
    return Estimate(value, low, high, n)


def _finding(judgement: Judgement) -> str:
    """Return what the intervals say about every arm that trains in parallel."""
    choices = [result for result in judgement.results if is_parallel_choice(result.arm)]
    said: dict[Outcome, list[str]] = {}
    for result in choices:
        said.setdefault(outcome_of(result.speed, judgement.criteria.speed), []).append(result.arm.label)
    if not choices or judgement.reference is None:
        return "The time of a step, arm by arm"
    if len(said) == 1 and len(choices) > 1:
        return f"Against {words.REFERENCE}, every parallel arm is {OUTCOMES[next(iter(said))]}"
    parts = [
        f"{words.together(names) if len(names) <= MOST_NAMES else f'{len(names)} arms'} "
        f"{'is' if len(names) == 1 else 'are'} {OUTCOMES[outcome]}"
        for outcome, names in said.items()
    ]
    return f"Against {words.REFERENCE}, {'; '.join(parts)}"
