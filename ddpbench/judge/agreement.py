"""Whether a turn is a run: the speed measured in turns against that of the whole runs of the same study."""

import math
from dataclasses import dataclass

from ddpbench.judge import stats
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing
from ddpbench.turns import TurnArm

TOLERANCE = 0.02  # turns and runs agree where they differ by no more than this, whatever their intervals


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many times as fast the parallel arm is: by turns, and by the steps of whole runs."""

    in_turns: Estimate
    in_runs: Estimate
    apart: Estimate | None  # the speed in runs / the speed in turns; None where either was measured once

    @property
    def agrees(self) -> bool:
        """Whether the difference is small, or may be chance. True as well where that cannot be told."""
        if self.apart is None or self.apart.low is None or self.apart.high is None:
            return True
        return abs(math.log(self.apart.value)) <= TOLERANCE or self.apart.low <= 1 <= self.apart.high


def agreement(turns: Timing, runs: Timing, parallel: TurnArm, reference: TurnArm) -> Agreement | None:
    """Compare two measurements of one speed; None where either is missing."""
    in_turns, in_runs = turns.speed(parallel, reference), runs.speed(parallel, reference)
    if in_turns is None or in_runs is None:
        return None
    logs = stats.apart(turns.logs(parallel, reference), runs.logs(parallel, reference))
    apart = None
    if logs is not None and logs.low is not None and logs.high is not None:
        apart = Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.n)
    return Agreement(in_turns, in_runs, apart)
