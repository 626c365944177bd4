"""Where the time of a parallel arm goes: the way from ideal workers to the observed step, in measured terms.

Every level is an arm that was timed in the same units, in seconds of a step of the global batch:

    ideal          one worker's time / number of workers
    smaller batch  one worker alone, at the batch of one rank
    contention     the fastest rank of the ranks that never communicate, at an even share of the batch
    uneven shares  the same rank at the largest share of the batch that any rank has
    bookkeeping    the fastest rank of DDP whose hook exchanges nothing, at that share
    exchange       the slowest rank, with gradients exchanged
    data           the same with data that is read while training; all levels before train on batches in memory

The last of these is the observed step. Where the data is in memory, that is the exchange.
A term is the difference between its level and the one before, within a unit. Differences add up to the observed step by
construction, so that alone proves nothing: tests add losses of a known size. Where a level was not measured, its term
and the next one stand together. Terms that cannot be told from zero stand together as well, in one row.

The exchange is measured a second time, by timers inside the ranks. They see gradients being reduced, and ranks that
wait for the slowest one. They do not see that ranks may compute more slowly where they communicate. In the same way
timers see ranks that wait for data, and not that they compute more slowly beside the processes that read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from msgspec.structs import replace

from ddpbench.judge import stats
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing, Unit, share_of_work
from ddpbench.turns import TurnArm

Cause = Literal[
    "ideal",
    "smaller_batch",
    "contention",
    "uneven_shares",
    "bookkeeping",
    "exchange",
    "reducing",
    "waiting",
    "slower_computing",
    "data",
    "waiting_for_data",
    "beside_readers",
]
SMALLEST_SHARE = 0.005  # of a step: a term below it is not told from zero, however narrow its interval


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a step's time, with the causes that it stands for: several where they cannot be told apart."""

    causes: tuple[Cause, ...]
    seconds: Estimate  # of a step of the global batch
    share: float  # of the observed step
    part_of: Cause | None = None  # the cause that this one is a part of
    is_certain: bool = True  # whether its interval excludes zero; a single unit has none


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The terms of one parallel arm. All figures are over the same units."""

    turn: TurnArm
    terms: list[Term]  # those that add up, from ideal to observed, each before its parts
    observed: Estimate  # seconds of a step
    slowest_rank: int | None  # the rank that waits least; None where that differs from unit to unit, or was not timed

    def __getitem__(self, cause: Cause) -> Estimate | None:
        """Return the seconds of the term that stands for a cause alone; None where there is none."""
        return next((term.seconds for term in self.terms if term.causes == (cause,)), None)

    @property
    def losses(self) -> list[Term]:
        """The terms beyond the ideal whose causes are certain, the largest first."""
        found = [term for term in self.terms if term.is_certain and term.causes != ("ideal",) and not term.part_of]
        return sorted(found, key=lambda term: -term.seconds.value)

    def parts_of(self, cause: Cause) -> list[Term]:
        """Return the parts of a cause."""
        return [term for term in self.terms if term.part_of == cause]


@dataclass(frozen=True, slots=True)
class Level:
    """A step of the way: seconds of a step by unit, and the causes that lie between it and the level before."""

    causes: tuple[Cause, ...]
    by_unit: list[float]


def break_down(
    timing: Timing, turn: TurnArm, reference: TurnArm, rank_batches: Sequence[int], *, on_gpu: bool
) -> Breakdown | None:
    """Break a step of a ddp arm down into its terms; None where one worker alone was not measured.

    `rank_batches` are the samples of a step, by rank.
    """
    base = replayed(timing, turn)
    levels, units = levels_of(timing, turn, reference, rank_batches, on_gpu=on_gpu)
    if not levels or levels[0].causes != ("ideal",):
        return None
    observed = stats.mean(levels[-1].by_unit, timing.error)
    ideal = stats.mean(levels[0].by_unit, timing.error)
    terms = [Term(("ideal",), ideal, ideal.value / observed.value)]
    uncertain: list[Level] = []
    for before, after in pairwise(levels):
        costs_s = [late - early for early, late in zip(before.by_unit, after.by_unit, strict=True)]
        cost = stats.mean(costs_s, timing.error)
        if after.causes == ("uneven_shares",) and not any(costs_s):
            continue  # every rank has an even share: there is nothing to tell
        if (cost.excludes_zero or cost.n == 1) and abs(cost.value) > SMALLEST_SHARE * observed.value:
            terms.append(Term(after.causes, cost, cost.value / observed.value, is_certain=cost.excludes_zero))
        else:
            uncertain.append(Level(after.causes, costs_s))
    if uncertain:
        sums = [sum(values) for values in zip(*(each.by_unit for each in uncertain), strict=True)]
        together = stats.mean(sums, timing.error)
        causes = tuple(cause for each in uncertain for cause in each.causes)
        terms.append(Term(causes, together, together.value / observed.value, is_certain=False))
    parts = [*_parts(timing, base, levels, units, rank_batches), *_parts_of_data(timing, turn, levels, units)]
    in_order = [each for term in terms for each in (term, *(part for part in parts if part.part_of in term.causes))]
    return Breakdown(turn, in_order, observed, _slowest_rank(units, base))


def replayed(timing: Timing, turn: TurnArm) -> TurnArm:
    """Return the arm that is the same on batches in memory; the arm itself where there is none."""
    other = replace(turn, replayed=True)
    return other if other in timing.turns else turn


def levels_of(
    timing: Timing, turn: TurnArm, reference: TurnArm, rank_batches: Sequence[int], *, on_gpu: bool
) -> tuple[list[Level], list[Unit]]:
    """Return the levels that were measured, in seconds of a step, and the units that have all of them.

    A level is the reference's time in a unit, divided by the speed of the level's arm against it.
    """
    size, batch, arm, base = turn.arm.world_size, turn.global_batch, turn.arm, replayed(timing, turn)
    largest = max(share_of_work(rank_batches, rank) for rank in range(len(rank_batches)))
    way: list[tuple[Cause, TurnArm | None, float]] = [
        ("ideal", timing.one_worker(base, on_gpu=on_gpu), 1 / size),
        ("smaller_batch", timing.one_worker(base, on_gpu=on_gpu, global_batch=batch // size), 1 / size),
        ("contention", _control(base, "none"), 1.0),
        ("uneven_shares", _control(base, "none"), largest),
        ("bookkeeping", _control(base, "nothing"), largest),
        ("exchange", base, 1.0),
    ]
    if base != turn:
        way.append(("data", turn, 1.0))
    known = timing.turns
    measured = [(cause, each, share) for cause, each, share in way if each in known]
    needed = {each for _, each, _ in measured if each is not None} | {reference}
    units = [unit for unit in timing.units if needed <= unit.sample_s.keys()]
    levels, causes = list[Level](), list[Cause]()
    for cause, each, share in way:
        causes.append(cause)
        if each is not None and each in known:
            by_unit = [
                share * batch * unit.middle_s(reference) / math.exp(unit.log_speed(each, reference)) for unit in units
            ]
            levels.append(Level(tuple(causes), by_unit))
            causes = []
    return (levels if units and arm.kind == "ddp" else []), units


def _parts(
    timing: Timing, turn: TurnArm, levels: Sequence[Level], units: Sequence[Unit], rank_batches: Sequence[int]
) -> list[Term]:
    """Return the parts of the exchange by timers inside the ranks; none where they did not run.

    A rank with a smaller share of the batch waits for that reason as well, which belongs to uneven shares.
    """
    before, exchanged = _level(levels, "exchange")
    if before is None or exchanged is None or not all(turn in unit.waits for unit in units):
        return []
    largest = max(share_of_work(rank_batches, rank) for rank in range(len(rank_batches)))
    parts: dict[Cause, list[float]] = {"reducing": [], "waiting": [], "slower_computing": []}
    for unit, took_s, before_s in zip(units, exchanged.by_unit, before.by_unit, strict=True):
        waits = unit.waits[turn]
        expected = [before_s * (1 - share_of_work(rank_batches, rank) / largest) for rank in range(len(rank_batches))]
        waiting_s = max(0.0, *(late * took_s - smaller for late, smaller in zip(waits.waiting, expected, strict=True)))
        parts["reducing"].append(waits.reducing * took_s)
        parts["waiting"].append(waiting_s)
        parts["slower_computing"].append(took_s - before_s - waits.reducing * took_s - waiting_s)
    return _as_parts(timing, levels, "exchange", parts)


def _parts_of_data(timing: Timing, turn: TurnArm, levels: Sequence[Level], units: Sequence[Unit]) -> list[Term]:
    """Return the parts of what reading data costs, by the timers that see ranks wait; none without that cost."""
    before, read = _level(levels, "data")
    if before is None or read is None or not all(turn in unit.data for unit in units):
        return []
    waiting = [unit.data[turn] * took_s for unit, took_s in zip(units, read.by_unit, strict=True)]
    beside = [
        took_s - before_s - wait_s
        for took_s, before_s, wait_s in zip(read.by_unit, before.by_unit, waiting, strict=True)
    ]
    return _as_parts(timing, levels, "data", {"waiting_for_data": waiting, "beside_readers": beside})


def _level(levels: Sequence[Level], cause: Cause) -> tuple[Level, Level] | tuple[None, None]:
    """Return the level before a cause and the level with it, where the cause stands alone."""
    return next(((one, other) for one, other in pairwise(levels) if other.causes == (cause,)), (None, None))


def _as_parts(
    timing: Timing, levels: Sequence[Level], whole: Cause, parts: Mapping[Cause, Sequence[float]]
) -> list[Term]:
    """Return parts of a cause as terms. `parts` are in seconds of a step, by unit."""
    observed, terms = stats.mean(levels[-1].by_unit).value, []
    for cause, values in parts.items():
        seconds = stats.mean(values, timing.error)
        terms.append(Term((cause,), seconds, seconds.value / observed, part_of=whole, is_certain=seconds.excludes_zero))
    return terms


def _slowest_rank(units: Sequence[Unit], turn: TurnArm) -> int | None:
    """Return the rank that waits least; None if that differs from unit to unit."""
    least = {
        min(enumerate(unit.waits[turn].waiting), key=lambda pair: pair[1])[0] for unit in units if turn in unit.waits
    }
    return least.pop() if len(least) == 1 else None


def _control(turn: TurnArm, comm: str) -> TurnArm:
    """Return the control of an arm."""
    return replace(turn, arm=replace(turn.arm, comm=comm))
