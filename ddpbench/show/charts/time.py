"""Where an epoch goes, and what each rank does with it."""

from matplotlib.figure import Figure

from ddpbench.arm import plural
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.breakdown import (
    COMMUNICATION,
    CONTENTION,
    IDEAL,
    REDUCING,
    SLOWED,
    SMALLER,
    UNEVEN,
    WAITING,
    Breakdown,
    Term,
)
from ddpbench.judge.ranks import rank_times
from ddpbench.judge.stats import Estimate
from ddpbench.record import Record
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
    conditions_of,
    draw_interval,
    label_rows,
    leave_room_right,
    write_legend,
    write_value,
)
from ddpbench.show.phrases import TERMS

COLOURS = {
    IDEAL: GREY,
    UNEVEN: PURPLE,
    SMALLER: SKY,
    CONTENTION: BROWN,
    COMMUNICATION: RED,
    REDUCING: RED,
    WAITING: YELLOW,
    SLOWED: BLUE,
}


def waterfall(newest: Record, breakdown: Breakdown) -> Chart:
    """A waterfall from perfect workers to the observed epoch. `newest` states the conditions."""
    terms, observed, label = _steps(breakdown), breakdown.observed, breakdown.arm.label

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        end, widest = 0.0, observed.value
        for row, term in enumerate(terms):
            if term.seconds is None:
                write_value(axes, end, row, "not measured", color=INK)
                continue
            start, end = end, end + term.seconds.value
            axes.barh(row, end - start, left=start, height=0.62, color=COLOURS[term.term])
            draw_interval(axes, row, _moved(term.seconds, start))
            right = max(start, end, start + (term.seconds.high or 0))
            widest = max(widest, right)
            write_value(axes, right, row, f"{term.seconds.value:{'' if term.term == IDEAL else '+'}.2f} s")
            axes.plot([end, end], [row, row + 1], color=INK, linewidth=0.8)
        axes.barh(len(terms), observed.value, height=0.62, color=colour_of(breakdown.arm))
        draw_interval(axes, len(terms), observed)
        right = observed.high or observed.value
        write_value(axes, right, len(terms), f"{observed.value:.2f} s")
        first = f"{breakdown.arm.world_size} perfect workers"
        label_rows(axes, [first, *(TERMS[term.term] for term in terms[1:]), "observed"])
        leave_room_right(axes, 0, max(widest, right), 0.17)
        axes.set_xlabel("training time per epoch (s)")

    texts = [
        f"{TERMS[term.term]} {term.seconds.value:.2f} s" if term.seconds else f"{TERMS[term.term]} not measured"
        for term in terms
    ]
    n = f"n = {plural(observed.n, 'seed')}; lines are 95 % intervals"
    if not any(term.seconds for term in terms):
        n = "only the whole was measured"
    return Chart(
        slug="breakdown",
        finding=_largest_loss(breakdown),
        conditions=conditions_of(newest, f"{label}; {n}"),
        alt=f"A waterfall of an epoch's seconds: {'; '.join(texts)}; observed {observed.value:.2f} s.",
        height=1.0 + 0.36 * (len(terms) + 1),
        draw=draw,
    )


def ranks(result: ArmResult) -> Chart:
    """Bars of what each rank does in an epoch: computing, reducing, waiting."""
    times = rank_times(result)
    waits = [each.waiting_s for each in times]
    activities = {
        "computing": [each.computing_s for each in times],
        "reducing gradients": [each.reducing_s for each in times],
        "waiting for the slowest rank": waits,
    }
    whole = [sum(parts) for parts in zip(*activities.values(), strict=True)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = [0.0] * len(times)
        for (name, seconds), colour in zip(activities.items(), (colour_of(result.arm), RED, YELLOW), strict=True):
            axes.barh(range(len(times)), seconds, left=left, height=0.62, color=colour, label=name)
            left = [start + more for start, more in zip(left, seconds, strict=True)]
        for rank, seconds in enumerate(whole):
            write_value(axes, seconds, rank, f"{seconds:.2f} s, waits {waits[rank]:.2f} s")
        label_rows(axes, [f"rank {rank}" for rank in range(len(times))])
        leave_room_right(axes, 0, max(whole), 0.36)
        axes.set_xlabel("training time per epoch (s)")
        write_legend(axes, 3)

    texts = [
        f"rank {rank}: {', '.join(f'{name} {seconds[rank]:.2f} s' for name, seconds in activities.items())}"
        for rank in range(len(times))
    ]
    if not any(activities["reducing gradients"]):
        finding = f"{result.arm.label}: time of each rank"
    elif max(waits) < 1.2 * min(waits):
        finding = f"Every rank waits about {max(waits):.2f} s of an epoch for the others"
    else:
        finding = f"Rank {waits.index(max(waits))} waits most: {max(waits):.2f} s of an epoch"
    return Chart(
        slug="ranks",
        finding=finding,
        conditions=conditions_of(result.runs[0], f"{result.arm.label}; means of {len(result.runs)} runs"),
        alt=f"Bars of each rank's seconds per epoch. {'. '.join(texts)}.",
        height=1.2 + 0.36 * len(times),
        draw=draw,
    )


def _steps(breakdown: Breakdown) -> list[Term]:
    """Return the steps of the waterfall. The parts of exposed communication replace it if all were measured."""
    parts = [term for term in breakdown.terms if term.part_of == COMMUNICATION]
    whole = [term for term in breakdown.terms if not term.part_of]
    if not parts or not all(part.seconds for part in parts):
        return whole
    return [term for term in whole if term.term != COMMUNICATION] + parts


def _largest_loss(breakdown: Breakdown) -> str:
    largest = breakdown.largest_loss
    if largest is None or largest.seconds is None or largest.seconds.value <= 0:
        return f"{breakdown.arm.label}: {breakdown.observed.value:.2f} s an epoch"
    return f"Most is lost to {TERMS[largest.term]}: {largest.share:.0%} of an epoch"


def _moved(estimate: Estimate, by: float) -> Estimate:
    low, high = (None if bound is None else bound + by for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value + by, low, high, estimate.n)
