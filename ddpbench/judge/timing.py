"""How long the arms of a study take, from turns or from whole runs, in one shape.

1. A unit is what was timed at one go: a launch of turns, or the whole runs of one seed. Arms are compared within it.
2. A round of a launch compares arms that were visited within seconds of each other. The launch gives the centre of
   its rounds (stats.centre), because a stalled round then decides nothing. No round is dropped. The runs of a seed are
   one round.
3. Launches differ by more than their rounds say (memory placement, neighbours on the host). So the unit is what
   intervals count: Student's t over the logarithms of units (T. Kalibera and R. Jones, ISMM 2013).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal

from ddpbench.arm import Arm, arm_of
from ddpbench.judge import stats
from ddpbench.judge.epochs import mean_counted, num_steps
from ddpbench.judge.outcome import ERROR_OF_A_LOOK
from ddpbench.judge.stats import SIGNIFICANCE, Estimate
from ddpbench.record import Record
from ddpbench.turns import Launch, TurnArm, Visits


@dataclass(frozen=True, slots=True)
class Waits:
    """What timers inside the ranks measured, as shares of the arm's time."""

    reducing: float  # of the rank that reduces least
    waiting: list[float]  # for the slowest rank of each step, by rank


@dataclass(frozen=True, slots=True)
class Unit:
    """What was timed at one go."""

    sample_s: Mapping[TurnArm, Mapping[int, float]]  # seconds per sample by round, of the rounds that the arm was in
    waits: Mapping[TurnArm, Waits] = field(default_factory=dict)  # only of arms that reduce gradients
    data: Mapping[TurnArm, float] = field(default_factory=dict)  # share of the time that the slowest rank waits for it

    def logs(self, turn: TurnArm, reference: TurnArm) -> list[float]:
        """Return the logarithm of how many times as fast `turn` is, for each round that both were in."""
        before, after = self.sample_s[reference], self.sample_s[turn]
        return [math.log(before[number] / after[number]) for number in before if number in after]

    def log_speed(self, turn: TurnArm, reference: TurnArm) -> float:
        """Return the logarithm of how many times as fast `turn` is: the centre of the rounds."""
        return stats.centre(self.logs(turn, reference))

    def middle_s(self, turn: TurnArm) -> float:
        """Return the seconds per sample of an arm: the median over its rounds."""
        return median(self.sample_s[turn].values())


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of every arm, unit by unit."""

    units: Sequence[Unit]
    noun: Literal["launch", "seed"]  # what a unit is

    @property
    def error(self) -> float:
        """The probability that an interval may miss the truth, at every look."""
        return ERROR_OF_A_LOOK if self.noun == "launch" else SIGNIFICANCE

    @property
    def turns(self) -> list[TurnArm]:
        """Every arm, in the order in which arms are shown: controls last, single processes before ddp."""
        found = dict.fromkeys(turn for unit in self.units for turn in unit.sample_s)
        return sorted(found, key=lambda turn: (turn.global_batch, turn.is_control, *_order(turn.arm)))

    def at(self, global_batch: int, *, replayed: bool = False) -> list[TurnArm]:
        """Return the arms at one global batch: those that read their data, or those that are `replayed`."""
        return [turn for turn in self.turns if turn.global_batch == global_batch and turn.replayed == replayed]

    def logs(self, turn: TurnArm, reference: TurnArm) -> list[float]:
        """Return, for every unit that has both, the logarithm of how many times as fast `turn` is, per sample."""
        return [unit.log_speed(turn, reference) for unit in self.units if {turn, reference} <= unit.sample_s.keys()]

    def speed(self, turn: TurnArm, reference: TurnArm) -> Estimate | None:
        """Estimate how many times as fast `turn` is, per sample; None where no unit has both."""
        logs = self.logs(turn, reference)
        return stats.ratio(logs, self.error) if logs else None

    def step_s(self, turn: TurnArm) -> Estimate:
        """Estimate the seconds of a step."""
        return stats.mean([turn.global_batch * value for value in self.of(turn)], self.error)

    def of(self, turn: TurnArm) -> list[float]:
        """Return the seconds per sample of an arm in every unit that has it: medians of rounds."""
        return [unit.middle_s(turn) for unit in self.units if turn in unit.sample_s]

    def reference(self, global_batch: int) -> TurnArm | None:
        """Return the fastest single process at this batch; None without one."""
        return self._fastest([turn for turn in self.at(global_batch) if turn.arm.kind == "baseline"])

    def parallel(self, global_batch: int) -> TurnArm | None:
        """Return the fastest arm that trains in parallel at this batch, ddp before DataParallel; None without one."""
        choices = [turn for turn in self.at(global_batch) if is_parallel_choice(turn.arm)]
        return self._fastest([turn for turn in choices if turn.arm.kind == "ddp"] or choices)

    def one_worker(self, turn: TurnArm, *, on_gpu: bool, global_batch: int | None = None) -> TurnArm | None:
        """Return the single process with the resources of one rank of a ddp arm, at the same or another batch.

        On GPUs that is one GPU, whatever the number of threads of its process. None if it was not measured.
        """
        batch = turn.global_batch if global_batch is None else global_batch
        singles = [other for other in self.at(batch, replayed=turn.replayed) if other.arm.kind == "baseline"]
        threads = turn.arm.threads_per_rank
        return self._fastest([other for other in singles if on_gpu or other.arm.threads_per_rank == threads])

    def one_host(self, turn: TurnArm, *, on_gpu: bool, global_batch: int) -> TurnArm | None:
        """Return what one of the hosts of a ddp arm does alone at a batch, with as many ranks as the arm has on it.

        It is the fastest that combines gradients as they are, whatever the comm. One rank is a single process, or one
        rank of DDP. None if it was not measured.
        """
        arm = turn.arm
        return self._fastest(
            [
                other
                for other in self.at(global_batch, replayed=turn.replayed)
                if (other.arm.hosts, other.arm.world_size) == (1, arm.ranks_per_host)
                and other.arm.kind in ("baseline", "ddp")
                and other.arm.is_exact
                and not other.arm.is_control
                and (on_gpu or other.arm.threads_per_rank == arm.threads_per_rank)
            ]
        )

    def _fastest(self, turns: Sequence[TurnArm]) -> TurnArm | None:
        """Return the fastest arm, by the units that all of them have; by the units of each where none has all."""
        shared = [unit for unit in self.units if all(turn in unit.sample_s for turn in turns)]
        return min(turns, key=lambda turn: fmean(Timing(shared or self.units, self.noun).of(turn)), default=None)


def is_parallel_choice(arm: Arm) -> bool:
    """Return whether a user could choose this arm to train in parallel: no single process, and no control."""
    return arm.kind in ("ddp", "data_parallel") and not arm.is_control


def of_launches(launches: Sequence[Launch]) -> Timing:
    """Return the times of launches of turns."""
    return Timing([_of_launch(launch) for launch in launches], "launch")


def of_runs(records: Sequence[Record]) -> Timing:
    """Return the times of whole runs. Runs of one arm that share a seed count once, with their mean."""
    units = []
    for seed in dict.fromkeys(record.seed for record in records):
        runs: dict[TurnArm, list[Record]] = {}
        for record in records:
            if record.seed == seed:
                runs.setdefault(TurnArm(arm=arm_of(record), global_batch=record.settings.global_batch), []).append(
                    record
                )
        sample_s = {turn: {0: fmean(map(_run_sample_s, alike))} for turn, alike in runs.items()}
        waits = {turn: _run_waits(alike[-1]) for turn, alike in runs.items() if _has_reduction_times(alike[-1])}
        units.append(Unit(sample_s, waits))
    return Timing(units, "seed")


def share_of_work(rank_batches: Sequence[int], rank: int) -> float:
    """Return a rank's samples / the samples of an even share: 1 if all ranks have equally many."""
    return rank_batches[rank] * len(rank_batches) / sum(rank_batches)


def arm_s(arm: Arm, ranks_s: Sequence[float], rank_batches: Sequence[int]) -> float:
    """Return the time of an arm from the times of its ranks: that of the slowest.

    Of a control it is the time of the fastest rank, scaled to an even share of the batch, because time lost to a slower
    rank is waiting, and time lost to a larger share has a cause of its own.
    """
    if not arm.is_control:
        return max(ranks_s)
    return min(seconds / share_of_work(rank_batches, rank) for rank, seconds in enumerate(ranks_s))


def _of_launch(launch: Launch) -> Unit:
    sample_s = {}
    for index, each in enumerate(launch.visits):
        rounds = [number for number, order in enumerate(launch.order) if index in order]
        samples = each.steps * each.turn.global_batch
        sample_s[each.turn] = {
            number: arm_s(each.turn.arm, ranks_s, each.rank_batches) / samples
            for number, ranks_s in zip(rounds, each.block_s, strict=True)
        }
    waits = {each.turn: _waits(each) for each in launch.visits if each.reduce_s and each.late_s}
    return Unit(sample_s, waits, {each.turn: _data(each) for each in launch.visits if each.data_s})


def _waits(visits: Visits) -> Waits:
    """Return the waits of an arm in a launch: medians over its rounds."""
    assert visits.reduce_s is not None
    assert visits.late_s is not None
    rounds = [
        ([late / max(block_s) for late in late_s], min(map(float.__sub__, reduce_s, late_s)) / max(block_s))
        for block_s, reduce_s, late_s in zip(visits.block_s, visits.reduce_s, visits.late_s, strict=True)
    ]
    by_rank = zip(*(late for late, _ in rounds), strict=True)
    return Waits(median(reducing for _, reducing in rounds), [median(rank) for rank in by_rank])


def _data(visits: Visits) -> float:
    """Return the share of an arm's time that the rank which waits longest waits for data: a median over rounds."""
    assert visits.data_s is not None
    return median(max(data_s) / max(block_s) for block_s, data_s in zip(visits.block_s, visits.data_s, strict=True))


def _run_sample_s(record: Record) -> float:
    """Return the seconds per sample of a run: the mean over the epochs that count."""
    arm, samples = arm_of(record), num_steps(record) * record.settings.global_batch
    if not arm.is_control:
        return mean_counted(record, [epoch.train_s for epoch in record.epochs]) / samples
    ranks_s = [mean_counted(record, rank.train_s) for rank in record.ranks]
    return arm_s(arm, ranks_s, [rank.rank_batch for rank in record.ranks]) / samples


def _run_waits(record: Record) -> Waits:
    whole_s = mean_counted(record, [epoch.train_s for epoch in record.epochs])
    reduce_s, late_s = (
        [mean_counted(record, values) for values in column]
        for column in ([rank.reduce_s for rank in record.ranks], [rank.late_s for rank in record.ranks])
    )
    reducing = min(reduced - late for reduced, late in zip(reduce_s, late_s, strict=True))
    return Waits(reducing / whole_s, [late / whole_s for late in late_s])


def _has_reduction_times(record: Record) -> bool:
    """Return whether timers inside the run measured how long its ranks reduced gradients."""
    return all(rank.reduce_s and rank.late_s for rank in record.ranks)


def _order(arm: Arm) -> tuple[str, int, int, int, str]:
    return arm.kind, arm.hosts, arm.world_size, arm.threads_per_rank, arm.slug
