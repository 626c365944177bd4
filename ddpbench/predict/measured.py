"""What the launches of one host say about a rank: its step by batch, what sharing the host costs, and its spread.

1. One rank alone: seconds of a step at each batch that was measured, in every launch.
2. Sharing: how many times as long a step takes among the ranks of a host, by the ranks that never communicate. Without
   these, as in a sweep, by the time that ranks spend outside of reductions, which has DDP's bookkeeping in it.
3. Spread: one standard deviation of a single step, as a share of it. Among ranks of a host by how long they wait for
   the slowest one; of one process by how its blocks of steps differ.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal, NamedTuple

import numpy as np

from ddpbench.arm import Arm
from ddpbench.command import COMMAND
from ddpbench.errors import UserError
from ddpbench.judge import timing
from ddpbench.judge.timing import Timing, Unit
from ddpbench.predict.draws import Values
from ddpbench.turns import Launch, TurnArm

SharingBy = Literal["one rank", "control", "ddp"]


class Rank(NamedTuple):
    """The ranks of a host."""

    per_host: int
    threads: int  # of each


@dataclass(frozen=True)
class Measured:
    """One host, by launches. Every list has a value for each launch that measured it."""

    rank: Rank
    global_batch: int
    alone_s: Mapping[int, Sequence[float]]  # seconds of a step of one rank alone, by its batch
    sharing: Sequence[float]  # times as long among the ranks of a host; [1.0] for one rank
    sharing_by: SharingBy
    bookkeeping_s: Sequence[float]  # of a step; empty: not measured, or within `sharing`
    spread: Sequence[float]  # of one step
    spread_by: Literal["waiting", "blocks"]
    one_host: TurnArm  # the fastest arm of one host at this batch
    one_host_s: Sequence[float]
    launches: int
    replayed: Sequence[int] = ()  # batches at which one rank alone trained on batches in memory, and read no data


def slowest_of(count: int) -> float:
    """Return by how many standard deviations the slowest of so many ranks is above their mean: the normal's."""
    z = np.linspace(-9, 9, 4_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below: Values = (np.cumsum(density) - density / 2) * (z[1] - z[0])
    return float(np.sum(z * count * density * np.clip(below, 0, 1) ** (count - 1)) * (z[1] - z[0]))


def measure(launches: Sequence[Launch], ranks: int | None, global_batch: int | None, *, on_gpu: bool) -> Measured:
    """Return what launches say about one host with so many ranks. Raises UserError where they do not say enough."""
    timed = timing.of_launches(launches)
    here = [turn for turn in timed.turns if turn.arm.hosts == 1]
    rank, batch = _rank(here, ranks), _batch(here, launches[-1], global_batch)
    alone = {
        turn.global_batch: turn
        for turn in reversed(here)  # arms that read their data come before those that replay it
        if turn.arm.kind == "baseline" and (on_gpu or turn.arm.threads_per_rank == rank.threads)
    }
    if len(alone) < 2:
        raise UserError(
            f"{len(alone)} batch sizes of one process of {rank.threads} threads were measured and a line needs two; "
            f"run: {COMMAND} sweep --batches 32 64 128 256"
        )
    choices = [turn for turn in timed.at(batch) if turn in here and not turn.is_control]
    fastest = min(choices, key=lambda turn: fmean(timed.of(turn)))
    sharing_by, sharing = _sharing(timed, rank, alone)
    spread = _waiting(timed, rank) if rank.per_host > 1 else []
    return Measured(
        rank=rank,
        global_batch=batch,
        alone_s={size: [size * each for each in timed.of(alone[size])] for size in sorted(alone)},
        sharing=sharing,
        sharing_by=sharing_by,
        bookkeeping_s=_bookkeeping(timed, batch) if sharing_by != "ddp" else [],
        spread=spread or list(_blocks(launches, {*alone.values()})),
        spread_by="waiting" if spread else "blocks",
        one_host=fastest,
        one_host_s=[batch * each for each in timed.of(fastest)],
        launches=len(launches),
        replayed=[size for size in sorted(alone) if alone[size].replayed],
    )


def _rank(turns: Sequence[TurnArm], ranks: int | None) -> Rank:
    """Return the ranks of a host that are asked for; those of the study, if none are."""
    ddp = [turn.arm for turn in turns if turn.arm.kind == "ddp"]
    alone = [turn.arm for turn in turns if turn.arm.kind == "baseline"]
    if ranks == 1 and alone:
        return Rank(1, max(arm.threads_per_rank for arm in alone))
    fitting: list[Arm] = [arm for arm in ddp if ranks in (None, arm.world_size)]
    if not fitting:
        raise UserError(
            f"no arm of {ranks or 'several'} ranks was measured; run: {COMMAND} sweep --world-sizes {ranks or 2}"
        )
    most = max(fitting, key=lambda arm: arm.world_size)
    return Rank(most.world_size, most.threads_per_rank)


def _batch(turns: Sequence[TurnArm], launch: Launch, wanted: int | None) -> int:
    """Return the global batch of one host: the wanted one, that of the study, or the middle one of a sweep."""
    swept = sorted({turn.global_batch for turn in turns if turn.arm.kind == "ddp" and not turn.is_control})
    if wanted is None:
        is_study = any(turn.is_control for turn in turns)
        return launch.settings.global_batch if is_study else swept[len(swept) // 2]
    if wanted not in swept:
        raise UserError(
            f"--global-batch {wanted} was not measured on one host, but {', '.join(map(str, swept))}; choose one of "
            f"these, or run: {COMMAND} sweep --batches {' '.join(map(str, sorted({*swept, wanted})))}"
        )
    return wanted


def _sharing(timed: Timing, rank: Rank, alone: Mapping[int, TurnArm]) -> tuple[SharingBy, Sequence[float]]:
    """Return by launch how many times as long a step of a rank takes among others; a median over the batches."""
    if rank.per_host == 1:
        return "one rank", [1.0]
    of_ranks = [turn for turn in timed.turns if turn.arm.hosts == 1 and turn.arm.world_size == rank.per_host]
    controls = [turn for turn in of_ranks if turn.arm.comm == "none"]
    exchanging = [turn for turn in of_ranks if turn.arm.kind == "ddp" and not turn.arm.is_control]
    found = list[float]()
    for unit in timed.units:
        ratios = [
            _computing(unit, turn) * turn.global_batch / (unit.middle_s(single) * single.global_batch)
            for turn in controls or exchanging
            if turn in unit.sample_s
            and (single := alone.get(turn.global_batch // rank.per_host)) is not None
            and single in unit.sample_s
        ]
        found += [median(ratios)] if ratios else []
    if not found:
        raise UserError(
            f"one rank alone at the batch of one of {rank.per_host} ranks was not measured; run: {COMMAND} speed"
        )
    return "control" if controls else "ddp", found


def _computing(unit: Unit, turn: TurnArm) -> float:
    """Return the seconds per sample that a rank spends outside of reductions."""
    waits = unit.waits.get(turn)
    share = 1.0 if waits is None else 1.0 - waits.reducing - fmean(waits.waiting)
    return unit.middle_s(turn) * max(share, 0.05)


def _bookkeeping(timed: Timing, batch: int) -> list[float]:
    """Return by launch what DDP costs that exchanges nothing: seconds of a step. Below zero is noise."""
    by_comm = {turn.arm.comm: turn for turn in timed.at(batch) if turn.arm.is_control and turn.arm.hosts == 1}
    if not {"none", "nothing"} <= by_comm.keys():
        return []
    units = [unit for unit in timed.units if {by_comm["none"], by_comm["nothing"]} <= unit.sample_s.keys()]
    return [batch * (unit.middle_s(by_comm["nothing"]) - unit.middle_s(by_comm["none"])) for unit in units]


def _waiting(timed: Timing, rank: Rank) -> list[float]:
    """Return the spread of a step by launch, from how long the ranks of a host wait for the slowest."""
    turns = [turn for turn in timed.turns if turn.arm.world_size == rank.per_host and turn.arm.hosts == 1]
    found = list[float]()
    for unit in timed.units:
        shares = [
            fmean(unit.waits[turn].waiting) / _share_of_computing(unit, turn) for turn in turns if turn in unit.waits
        ]
        found += [max(median(shares), 1e-4) / slowest_of(rank.per_host)] if shares else []
    return found


def _share_of_computing(unit: Unit, turn: TurnArm) -> float:
    return _computing(unit, turn) / unit.middle_s(turn)


def _blocks(launches: Sequence[Launch], turns: set[TurnArm]) -> Iterator[float]:
    """Yield the spread of a step by launch, from how blocks of one process differ.

    Steps of a block differ as blocks do where what slows them lasts, and sqrt(steps) times as much where it does not.
    The geometric middle is taken.
    """
    for launch in launches:
        found = [
            each.steps**0.25 * stdev([math.log(ranks_s[0]) for ranks_s in each.block_s])
            for each in launch.visits
            if each.turn in turns and len(each.block_s) > 1
        ]
        yield max(median(found), 1e-4) if found else 1e-4
