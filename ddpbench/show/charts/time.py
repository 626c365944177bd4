"""Where an epoch goes, and what each rank does with it."""

from statistics import fmean

from matplotlib.figure import Figure

from ddpbench.judge.arms import ArmResult, mean_counted
from ddpbench.judge.breakdown import COMMUNICATION, IDEAL, Breakdown
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import NAMES
from ddpbench.judge.stats import Estimate
from ddpbench.show.charts.style import (
    BLUE,
    BROWN,
    GREY,
    INK,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    Chart,
    colour_of,
    conditions,
    interval_line,
    room_on_the_right,
    rows,
    value_text,
)

COLOURS = {
    "uneven_shares": PURPLE,
    "smaller_batch": SKY,
    "contention": BROWN,
    "exposed_communication": RED,
    "reducing_gradients": RED,
    "waiting_for_slowest_rank": YELLOW,
    "computing_slowed": BLUE,
}


def breakdown(judged: Judgement, found: Breakdown) -> Chart:
    """A waterfall from perfect workers to what was observed."""
    parts = [term for term in found.terms if term.part_of == COMMUNICATION]
    split = bool(parts) and all(part.seconds for part in parts)
    shown = [term for term in found.terms if not term.part_of and not (split and term.term == COMMUNICATION)]
    shown += parts if split else []
    measured = [term.seconds for term in shown if term.seconds]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        end, reach = 0.0, found.observed.value
        for row, term in enumerate(shown):
            if term.seconds is None:
                value_text(axes, end, row, "not measured", color=INK)
                continue
            begin, end = end, end + term.seconds.value
            colour = GREY if term.term == IDEAL else COLOURS[term.term]
            axes.barh(row, end - begin, left=begin, height=0.62, color=colour)
            interval_line(axes, row, _moved(term.seconds, begin))
            right = max(begin, end, begin + (term.seconds.high or 0))
            reach = max(reach, right)
            value_text(axes, right, row, f"{term.seconds.value:{'' if term.term == IDEAL else '+'}.2f} s")
            axes.plot([end, end], [row, row + 1], color=INK, linewidth=0.8)
        axes.barh(len(shown), found.observed.value, height=0.62, color=colour_of(found.arm))
        interval_line(axes, len(shown), found.observed)
        right = found.observed.high or found.observed.value
        value_text(axes, right, len(shown), f"{found.observed.value:.2f} s")
        first = f"{found.arm.world_size} perfect workers"
        rows(axes, [first, *(NAMES[term.term] for term in shown[1:]), "observed"])
        room_on_the_right(axes, 0, max(reach, right), 0.17)
        axes.set_xlabel("training time per epoch (s)")

    said = [
        f"{NAMES[term.term]} {term.seconds.value:.2f} s" if term.seconds else f"{NAMES[term.term]} not measured"
        for term in shown
    ]
    n = f"n = {found.observed.n} seeds; lines are 95 % intervals" if measured else "nothing but the whole was measured"
    return Chart(
        slug="breakdown",
        finding=_finding(found),
        conditions=conditions(judged.study.records[-1], f"{found.arm.label}; {n}"),
        alt=f"A waterfall of an epoch's seconds: {'; '.join(said)}; observed {found.observed.value:.2f} s.",
        height=1.0 + 0.36 * (len(shown) + 1),
        draw=draw,
    )


def ranks(result: ArmResult) -> Chart:
    """What each rank does in an epoch: computing, reducing, waiting."""
    table = [_rank_parts(result, rank) for rank in range(result.arm.world_size)]
    names = ("computing", "reducing gradients", "waiting for the slowest rank")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, (name, colour) in enumerate(zip(names, (colour_of(result.arm), RED, YELLOW), strict=True)):
            left = [sum(parts[:index]) for parts in table]
            axes.barh(
                range(len(table)), [parts[index] for parts in table], left=left, height=0.62, color=colour, label=name
            )
        for row, parts in enumerate(table):
            value_text(axes, sum(parts), row, f"{sum(parts):.2f} s, waits {parts[2]:.2f} s")
        rows(axes, [f"rank {rank}" for rank in range(len(table))])
        room_on_the_right(axes, 0, max(map(sum, table)), 0.36)
        axes.set_xlabel("training time per epoch (s)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=9, borderaxespad=0.2)

    said = [
        f"rank {rank}: {', '.join(f'{name} {part:.2f} s' for name, part in zip(names, parts, strict=True))}"
        for rank, parts in enumerate(table)
    ]
    waits = [parts[2] for parts in table]
    finding = f"Rank {waits.index(max(waits))} waits most: {max(waits):.2f} s of an epoch"
    if max(waits) < 1.2 * min(waits):
        finding = f"Ranks wait {max(waits):.2f} s of an epoch for one another, each about as long"
    timed = any(parts[1] for parts in table)
    return Chart(
        slug="ranks",
        finding=finding if timed else f"{result.arm.label}: time of each rank",
        conditions=conditions(result.runs[0], f"{result.arm.label}; means of {len(result.runs)} runs"),
        alt=f"Bars of each rank's seconds per epoch. {'. '.join(said)}.",
        height=1.2 + 0.36 * len(table),
        draw=draw,
    )


def _rank_parts(result: ArmResult, rank: int) -> tuple[float, float, float]:
    """Return a rank's seconds per counted epoch: computing, reducing, waiting; means of runs."""
    mine = [(run, run.ranks[rank]) for run in result.runs]
    whole = fmean(mean_counted(run, each.train_s) for run, each in mine)
    waiting = fmean(mean_counted(run, each.late_s) for run, each in mine)
    reducing = fmean(mean_counted(run, each.reduce_s) for run, each in mine) - waiting
    return whole - reducing - waiting, reducing, waiting


def _finding(found: Breakdown) -> str:
    losses = [term for term in found.terms if term.seconds and term.term != IDEAL and not term.part_of]
    largest = max(losses, key=lambda term: term.seconds.value if term.seconds else 0.0, default=None)
    if largest is None or largest.seconds is None or largest.seconds.value <= 0:
        return f"{found.arm.label}: {found.observed.value:.2f} s an epoch"
    return f"Most is lost to {NAMES[largest.term]}: {largest.share:.0%} of an epoch"


def _moved(estimate: Estimate, by: float) -> Estimate:
    low, high = (None if bound is None else bound + by for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value + by, low, high, estimate.n)
