"""Where a step goes, and what each rank does with it."""

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from matplotlib.figure import Figure

from ddpbench.judge import stats
from ddpbench.judge.breakdown import SMALLEST_SHARE, Breakdown, Cause, Term
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing
from ddpbench.show.charts import words
from ddpbench.show.charts.style import (
    BLUE,
    BROWN,
    GREY,
    INK,
    PALE,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    Chart,
    bounds_of,
    centres_of,
    colour_of,
    conditions_of,
    draw_interval,
    label_rows,
    write_column,
    write_legend,
)
from ddpbench.show.phrases import TERMS
from ddpbench.turns import TurnArm

COLOURS: dict[Cause, str] = {
    "ideal": GREY,
    "uneven_shares": PURPLE,
    "smaller_batch": SKY,
    "contention": BROWN,
    "bookkeeping": BLUE,
    "exchange": RED,
    "reducing": RED,
    "waiting": YELLOW,
    "slower_computing": SKY,
    "data": YELLOW,
    "waiting_for_data": YELLOW,
    "beside_readers": SKY,
}
CUT_FROM = 0.5  # where all bars end in this last part of the axis, it need not begin at 0
ROW = 0.37  # inches of a row with one line
LAGS_FROM = 0.02  # of a step: others wait so long for a rank before it is shown


def waterfall(judgement: Judgement, breakdown: Breakdown) -> Chart:
    """A waterfall from ideal workers to the observed step. What is not certain is one pale bar."""
    bars, label = _bars(breakdown), breakdown.turn.arm.label
    ends = [bar.start + bar.ms.value for bar in bars]
    lowest, highest = min(ends), max(ends)
    heights = [(0.2 + 0.17 * len(bar.label.split("\n"))) / ROW for bar in bars]
    rows = centres_of(heights)
    start = max(0.0, lowest - 0.3 * (highest - lowest)) if lowest > CUT_FROM * highest else 0.0

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, bar in zip(rows, bars, strict=True):
            height = 0.3 if bar.is_part else 0.62
            axes.barh(row, bar.ms.value, left=bar.start, height=height, color=bar.colour)
            if bar.is_term:
                draw_interval(axes, row, _moved(bar.ms, bar.start))
            write_column(axes, row, f"{bar.ms.value:{'+' if bar.is_term else ''}.2f} ms")
        whole = [(row, end) for row, end, bar in zip(rows, ends, bars, strict=True) if not bar.is_part]
        for (row, end), (below, _) in pairwise(whole):
            axes.plot([end, end], [row, below], color=INK, linewidth=0.8)
        label_rows(axes, [bar.label for bar in bars], heights)
        widest = max(highest, *(max(bounds_of(_moved(bar.ms, bar.start))) for bar in bars if bar.is_term))
        # An interval of few launches may be many times as wide as all bars. It is cut, so that these can be read.
        axes.set_xlim(start, min(widest, highest + 0.5 * (highest - start)) + 0.03 * (highest - start))
        axes.set_xlabel("time of a step (ms)" + (", axis cut: does not begin at 0" if start else ""))

    texts = [f"{bar.label.replace(chr(10), ' ')} {bar.ms.value:.2f} ms" for bar in bars]
    lines = "" if breakdown.observed.low is None else "; lines: 95 % intervals of the causes"
    has_pale = any(not term.is_certain for term in _whole(breakdown))
    pale = "; light grey: causes that could not be told apart, or from zero" if has_pale else ""
    n = words.units(judgement.timing, breakdown.observed.n)
    return Chart(
        slug="breakdown",
        finding=_finding(breakdown),
        conditions=conditions_of(judgement.study.newest, f"{label}; n = {n}{lines}{pale}"),
        alt=f"A waterfall of the milliseconds of a step: {'; '.join(texts)}.",
        height=1.0 + ROW * sum(heights),
        draw=draw,
    )


def lagging_rank(judgement: Judgement, breakdown: Breakdown) -> Estimate | None:
    """Return how long others wait for the slowest rank in a step, in seconds; None where no rank is shown to lag.

    A rank lags where it waits least in every launch, and where others certainly wait longer by more than a little.
    """
    slowest = breakdown.slowest_rank
    waits = [unit.waits[breakdown.turn].waiting for unit in judgement.timing.units if breakdown.turn in unit.waits]
    if slowest is None or len(waits) < 2:
        return None
    more = stats.mean([max(each) - each[slowest] for each in waits], judgement.timing.error)
    if not more.excludes_zero or more.value < LAGS_FROM:
        return None
    return more.scaled(breakdown.observed.value)


def ranks(judgement: Judgement, breakdown: Breakdown, lag_s: Estimate) -> Chart:
    """Bars of what each rank does in a step: computing, reducing, waiting."""
    activities = _activities(judgement.timing, breakdown.turn, 1e3 * breakdown.observed.value)
    count, waits = breakdown.turn.arm.world_size, activities["waiting for the slowest rank"]
    colours = (colour_of(breakdown.turn.arm), RED, YELLOW)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = [0.0] * count
        for (name, times_ms), colour in zip(activities.items(), colours, strict=True):
            axes.barh(range(count), times_ms, left=left, height=0.62, color=colour, label=name)
            left = [start + more for start, more in zip(left, times_ms, strict=True)]
        for rank in range(count):
            write_column(axes, rank, f"waits {waits[rank]:.2f} ms")
        label_rows(axes, [f"rank {rank}" for rank in range(count)])
        axes.set_xlabel("time of a step (ms)")
        write_legend(axes, 3)

    texts = [
        f"rank {rank}: {', '.join(f'{name} {times_ms[rank]:.2f} ms' for name, times_ms in activities.items())}"
        for rank in range(count)
    ]
    n = words.units(judgement.timing, len(judgement.timing.units))
    waited = words.interval(lag_s.scaled(1e3))
    return Chart(
        slug="ranks",
        finding=f"Rank {breakdown.slowest_rank} is the slowest: others wait {waited} ms of a step for it",
        conditions=conditions_of(judgement.study.newest, f"{breakdown.turn.arm.label}; means of {n}"),
        alt=f"Bars of each rank's milliseconds of a step. {'. '.join(texts)}.",
        height=1.2 + 0.36 * count,
        draw=draw,
    )


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    start: float  # ms
    ms: Estimate
    colour: str
    is_term: bool = True  # False: a level, which is drawn from 0
    is_part: bool = False  # of the bar above it


def _bars(breakdown: Breakdown) -> list[_Bar]:
    """Return the bars from top to bottom. A cause that is certain is followed by its certain parts."""
    bars, end = list[_Bar](), 0.0
    for term in _whole(breakdown):
        is_ideal = term.causes == ("ideal",)
        name = f"{breakdown.turn.arm.world_size} ideal workers" if is_ideal else _name(term)
        colour = COLOURS[term.causes[-1]] if term.is_certain else PALE
        time_ms = term.seconds.scaled(1e3)
        bars.append(_Bar(name, end, time_ms, colour, is_term=not is_ideal))
        if term.is_certain and len(term.causes) == 1:
            bars += [
                _Bar(f"of that,\n{_name(part)}", end, part.seconds.scaled(1e3), COLOURS[part.causes[0]], is_part=True)
                for part in breakdown.parts_of(term.causes[0])
                if part.is_certain
            ]
        end += time_ms.value
    observed = breakdown.observed.scaled(1e3)
    return [*bars, _Bar("observed", 0.0, observed, colour_of(breakdown.turn.arm), is_term=False)]


def _whole(breakdown: Breakdown) -> list[Term]:
    """Return the terms that add up to the observed step."""
    return [term for term in breakdown.terms if term.part_of is None]


def _name(term: Term) -> str:
    """Return the causes of a term, one below the other."""
    names = "\n+ ".join(TERMS[cause] for cause in term.causes)
    return names if term.is_certain else f"not certain:\n{names}"


def _finding(breakdown: Breakdown) -> str:
    """Return the certain causes, the largest first, with their shares of a step."""
    if breakdown.observed.low is None:
        return "Where a step goes, measured once: no cause is certain"
    shown = [
        f"{' with '.join(TERMS[cause] for cause in term.causes)} ({words.percent(term.share)})"
        for term in breakdown.losses
        if term.seconds.excludes_zero and term.share > SMALLEST_SHARE
    ]
    if shown:
        return f"Lost from a step: {words.together(shown)}"
    rest = next((term.seconds for term in _whole(breakdown) if not term.is_certain), None)
    if rest is None or rest.low is None or rest.high is None or rest.low <= 0:
        return "No loss can be told from zero"
    low, high = (words.percent(bound / breakdown.observed.value) for bound in (rest.low, rest.high))
    return f"No single cause can be told from zero; together they take {low} to {high} of a step"


def _activities(timing: Timing, turn: TurnArm, whole_ms: float) -> dict[str, list[float]]:
    """Return what each rank does in a step, in ms: means over the units in which timers ran."""
    waits = [unit.waits[turn] for unit in timing.units if turn in unit.waits]
    waiting = [whole_ms * fmean(column) for column in zip(*(each.waiting for each in waits), strict=True)]
    reducing = whole_ms * fmean(each.reducing for each in waits)
    return {
        "computing": [whole_ms - reducing - each for each in waiting],
        "reducing gradients": [reducing] * len(waiting),
        "waiting for the slowest rank": waiting,
    }


def _moved(estimate: Estimate, by: float) -> Estimate:
    low, high = (None if bound is None else bound + by for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value + by, low, high, estimate.n)
