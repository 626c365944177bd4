"""What is foretold, in one value, from which the screen, the JSON and the chart are made."""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.predict.draws import Band, Values, band
from ddpbench.predict.model import Layout, knee


@dataclass(frozen=True, slots=True)
class Bucket:
    """One exchange of a step."""

    size_bytes: float
    ms: float
    exposed_ms: float  # of it


@dataclass(frozen=True, slots=True)
class Row:
    """One number of hosts."""

    hosts: int
    rank_batch: int
    global_batch: int
    step_ms: Band
    epoch_s: Band
    cost: Band | None  # of an epoch; None without a price
    efficiency: Band  # 1: as many times as fast as there are hosts
    computing_ms: float  # of a step
    waiting_ms: float  # for the slowest rank
    exposed_ms: float  # exchange that backward does not hide
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class Pick:
    """The best number of hosts in one respect."""

    hosts: int
    chance: float  # that it is the best of those that were asked for


@dataclass(frozen=True, slots=True)
class Basis:
    """What a prediction rests on."""

    study: str
    subject: str  # what is trained, on what
    lines: list[str]  # in words, with n
    unit: str  # of the columns of time and cost: an epoch, or so many samples


@dataclass(frozen=True, slots=True)
class Foretold:
    """The answer."""

    scaling: str  # strong or weak
    price_per_hour: float | None
    rows: list[Row]
    cheapest: Pick | None  # None without a price
    fastest: Pick
    knee: int | None  # None: every further host adds more than half a host's speed
    rests_on: Basis
    schema: int = 1  # no name changes its meaning within one


def answer(layouts: Sequence[Layout], price: float | None, basis: Basis, *, is_weak: bool) -> Foretold:
    """Make the answer from draws."""
    costs = None if price is None else [each.hosts * each.epoch_s * price / 3600 for each in layouts]
    bend = knee(layouts)
    return Foretold(
        scaling="weak" if is_weak else "strong",
        price_per_hour=price,
        rows=[_row(each, None if costs is None else costs[index]) for index, each in enumerate(layouts)],
        cheapest=None if costs is None else _least(layouts, costs),
        fastest=_least(layouts, [each.epoch_s for each in layouts]),
        knee=None if bend is None else bend.hosts,
        rests_on=basis,
    )


def _row(layout: Layout, cost: Values | None) -> Row:
    sent = [
        Bucket(each.size_bytes, 1e3 * float(each.seconds[0]), 1e3 * float(each.exposed_s[0])) for each in layout.sent
    ]
    return Row(
        hosts=layout.hosts,
        rank_batch=layout.rank_batch,
        global_batch=layout.global_batch,
        step_ms=band(1e3 * layout.step_s),
        epoch_s=band(layout.epoch_s),
        cost=None if cost is None else band(cost),
        efficiency=band(layout.efficiency),
        computing_ms=1e3 * float(layout.computing_s[0]),
        waiting_ms=1e3 * float(layout.waiting_s[0]),
        exposed_ms=1e3 * float(layout.exposed_s[0]),
        buckets=sent,
    )


def _least(layouts: Sequence[Layout], draws: Sequence[Values]) -> Pick:
    """Return the number of hosts with the least of something, and in which share of the draws it is."""
    best = min(range(len(draws)), key=lambda index: float(draws[index][0]))
    first = min(draws, key=lambda each: float(each[0]))[1:] <= _lowest(draws)
    return Pick(layouts[best].hosts, float(first.mean()))


def _lowest(draws: Sequence[Values]) -> Values:
    lowest = draws[0][1:]
    for each in draws[1:]:
        lowest = lowest.clip(max=each[1:])
    return lowest
