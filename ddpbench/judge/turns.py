"""Speed from turns: how much faster one arm is than another, over launches.

1. A round compares arms that were visited within seconds of each other: the ratio of their times per sample.
2. A launch gives the median of the ratios of its rounds, because a stalled round then decides nothing. No round is
   dropped.
3. Launches differ by more than their rounds say (memory placement, neighbours on the host). So the launch is the unit
   of the interval: Student's t over the logarithms of the launches' medians (T. Kalibera and R. Jones, ISMM 2013).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal

from scipy.special import stdtrit

from ddpbench.arm import Arm
from ddpbench.turns import FIRST_LOOK, Launch, TurnArm, Visits

# A study looks after every launch from the third on and may stop, which makes intervals too narrow. With this error at
# each look, the interval at the end covers the truth in 95 of 100 studies (benchmarks/looks.py shows it).
ERROR_OF_A_LOOK = 0.015
Outcome = Literal["faster", "slower", "no_difference", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast an arm is, with its 95 % interval over `launches`. Bounds are None for a single launch."""

    value: float
    low: float | None
    high: float | None
    launches: int

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval, relative: 0.03 is +- 3 %."""
        if self.low is None or self.high is None:
            return None
        return math.sqrt(self.high / self.low) - 1

    def outcome(self, margin: float) -> Outcome:
        """Return what the interval says where a difference below `margin`, 0.03 for 3 %, does not matter."""
        if self.low is None or self.high is None:
            return "cannot_tell"
        if self.low > 1 / (1 + margin) and self.high < 1 + margin:
            return "no_difference"
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "cannot_tell"

    def is_known(self, within: float, margin: float) -> bool:
        """Whether a study may end: the outcome is settled, or the interval is as narrow as was asked for."""
        if self.launches < FIRST_LOOK or self.half_width is None:
            return False
        return self.half_width <= within or self.outcome(margin) != "cannot_tell"


@dataclass(frozen=True, slots=True)
class Level:
    """A step of the way from ideal workers to the observed time: seconds per step of the global batch, by launch."""

    name: str
    by_launch: list[float]


def of_arm(launch: Launch, turn: TurnArm) -> Visits:
    """Return the visits of an arm. Raises KeyError where the launch has none."""
    for visits in launch.visits:
        if visits.turn == turn:
            return visits
    raise KeyError(turn)


def sample_s(visits: Visits) -> list[float]:
    """Return the seconds per sample of each round: of the slowest rank, over all samples of all ranks."""
    return [max(ranks) / (visits.steps * visits.turn.global_batch) for ranks in visits.block_s]


def log_ratio(launch: Launch, turn: TurnArm, reference: TurnArm) -> float:
    """Return the logarithm of how many times as fast `turn` is: the median over the rounds of a launch."""
    pairs = zip(sample_s(of_arm(launch, reference)), sample_s(of_arm(launch, turn)), strict=True)
    return median(math.log(before / after) for before, after in pairs)


def ratio(launches: Sequence[Launch], turn: TurnArm, reference: TurnArm) -> Ratio:
    """Estimate how many times as fast `turn` is as `reference`."""
    return interval([log_ratio(launch, turn, reference) for launch in launches])


def interval(logs: Sequence[float]) -> Ratio:
    """Estimate a ratio from the logarithms of launches: Student's t, with the error of a look."""
    centre = fmean(logs)
    if len(logs) < 2:
        return Ratio(math.exp(centre), None, None, len(logs))
    half = float(stdtrit(len(logs) - 1, 1 - ERROR_OF_A_LOOK / 2)) * stdev(logs) / math.sqrt(len(logs))
    return Ratio(math.exp(centre), math.exp(centre - half), math.exp(centre + half), len(logs))


def reference_of(launches: Sequence[Launch], global_batch: int) -> TurnArm:
    """Return the fastest single process at this batch."""
    singles = [turn for turn in turns(launches) if turn.arm.world_size == 1 and turn.global_batch == global_batch]
    return min(singles, key=lambda turn: fmean(median(sample_s(of_arm(launch, turn))) for launch in launches))


def parallel_of(launches: Sequence[Launch], global_batch: int) -> TurnArm:
    """Return the fastest arm of several ranks that trains, at this batch."""
    choices = [
        turn
        for turn in turns(launches)
        if turn.arm.world_size > 1 and turn.arm.comm not in ("none", "nothing") and turn.global_batch == global_batch
    ]
    return min(choices, key=lambda turn: fmean(median(sample_s(of_arm(launch, turn))) for launch in launches))


def turns(launches: Sequence[Launch]) -> list[TurnArm]:
    """Return the arms of a study, as its first launch has them."""
    return [visits.turn for visits in launches[0].visits]


def levels(launches: Sequence[Launch], parallel: TurnArm, reference: TurnArm) -> list[Level]:
    """Return the way from ideal workers to `parallel`, in seconds per step. Each level adds one cause.

    A level is the reference's median step, times the median ratio of the rounds. So levels of a launch are differences
    within rounds, and they add up.
    """
    size, batch, arm = parallel.arm.world_size, parallel.global_batch, parallel.arm
    worker = Arm("baseline", 1, arm.threads_per_rank, None)
    way = [
        ("ideal workers", TurnArm(arm=worker, global_batch=batch), 1 / size),
        ("smaller batches", TurnArm(arm=worker, global_batch=batch // size), 1 / size),
        ("sharing the machine", _with_comm(parallel, "none"), 1.0),
        ("DDP's bookkeeping", _with_comm(parallel, "nothing"), 1.0),
        ("exchanging gradients", parallel, 1.0),
    ]
    known = turns(launches)
    return [
        Level(name, [batch * share * _anchored_s(launch, turn, reference) for launch in launches])
        for name, turn, share in way
        if turn in known
    ]


def _anchored_s(launch: Launch, turn: TurnArm, reference: TurnArm) -> float:
    """Return seconds per sample, by the ratio to the reference in the same rounds."""
    return median(sample_s(of_arm(launch, reference))) / math.exp(log_ratio(launch, turn, reference))


def _with_comm(turn: TurnArm, comm: str) -> TurnArm:
    arm = turn.arm
    return TurnArm(arm=Arm(arm.kind, arm.world_size, arm.threads_per_rank, comm), global_batch=turn.global_batch)


def stolen_share(launches: Sequence[Launch]) -> float:
    """Return the share of the machine's CPU time that its host took away during rounds, 0 to 1."""
    stolen_s = sum(sum(launch.stolen_s) for launch in launches)
    return stolen_s / sum(sum(launch.round_s) * launch.environment.cores for launch in launches)


def stalled_share(launches: Sequence[Launch], turn: TurnArm) -> float:
    """Return the share of an arm's blocks that are more than three median deviations slower than its median."""
    stalled = total = 0
    for launch in launches:
        values = sample_s(of_arm(launch, turn))
        centre = median(values)
        spread = median(abs(value - centre) for value in values)
        stalled += sum(value > centre + 3 * spread for value in values)
        total += len(values)
    return stalled / total
