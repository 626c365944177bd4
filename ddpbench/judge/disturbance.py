"""How much of the machine others took away during launches, which arm suffered, and how long it takes to know more."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ddpbench.judge import stats
from ddpbench.judge.timing import Timing
from ddpbench.turns import Launch, TurnArm

STALLED = 3  # median deviations above the median: a round beyond them is called disturbed


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What disturbed two arms that are compared."""

    stolen_share: float  # of the CPU time of all cores, taken by the host of a virtual machine, 0 to 1
    stalled_shares: dict[TurnArm, float]  # of the rounds of either arm, 0 to 1
    minutes_needed: float | None  # of more launches, which would settle the outcome with 80 % chance; None: too many

    @property
    def most_stalled(self) -> TurnArm:
        """The arm of which more rounds were disturbed."""
        return max(self.stalled_shares, key=lambda turn: self.stalled_shares[turn])


def disturbance(launches: Sequence[Launch], timing: Timing, pair: Sequence[TurnArm], margin: float) -> Disturbance:
    """Describe what disturbed `pair`, the parallel arm and the reference. `margin` is a difference in speed."""
    parallel, reference = pair
    needed = stats.units_needed(timing.logs(parallel, reference), margin, timing.error)
    launch_s = fmean(launch.startup_s + sum(launch.round_s) for launch in launches)
    return Disturbance(
        stolen_share=stolen_share(launches),
        stalled_shares={turn: stalled_share(timing, turn) for turn in pair},
        minutes_needed=None if needed is None else (needed - len(launches)) * launch_s / 60,
    )


def stolen_share(launches: Sequence[Launch]) -> float:
    """Return the share of the machine's CPU time that its host took away during rounds, 0 to 1."""
    stolen_s = sum(sum(launch.stolen_s) for launch in launches)
    return stolen_s / sum(sum(launch.round_s) * launch.environment.cores for launch in launches)


def stalled_share(timing: Timing, turn: TurnArm) -> float:
    """Return the share of an arm's rounds that are more than STALLED median deviations slower than the median."""
    stalled = total = 0
    for unit in timing.units:
        values = unit.sample_s.get(turn, {}).values()
        if values:
            centre = median(values)
            spread = median(abs(value - centre) for value in values)
            stalled += sum(value > centre + STALLED * spread for value in values)
            total += len(values)
    return stalled / total
