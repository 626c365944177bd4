"""What matters to the user, what an interval of speed says, and whether a study knows enough to end."""

from dataclasses import dataclass
from typing import Literal

from ddpbench.judge.stats import Estimate
from ddpbench.turns import FIRST_LOOK

SETTLED = 5 / 3  # times --within: how wide an interval may be whose outcome is settled. How much is an answer, too.

Outcome = Literal["faster", "slower", "no_difference", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Criteria:
    """What matters to the user."""

    accuracy: float = 0.003  # the smallest difference in accuracy that matters, 0 to 1
    speed: float = 0.03  # the smallest difference in speed that matters: 3 %
    price_per_hour: float | None = None  # of one worker; None: not given


def outcome_of(speed: Estimate | None, margin: float) -> Outcome:
    """Return what the 95 % interval of a speed against another says. 1 is equally fast.

    "no_difference": the whole interval lies within `margin`, 0.03 for 3 %. "faster" and "slower": the whole interval is
    on one side of 1. "cannot_tell": neither, or there is no interval.
    """
    if speed is None or speed.low is None or speed.high is None:
        return "cannot_tell"
    if speed.low > 1 / (1 + margin) and speed.high < 1 + margin:
        return "no_difference"
    if speed.low > 1:
        return "faster"
    return "slower" if speed.high < 1 else "cannot_tell"


def is_known(speed: Estimate | None, within: float, margin: float) -> bool:
    """Return whether a study may end: the interval is as narrow as was asked for, or nearly so and settled."""
    if speed is None or speed.n < FIRST_LOOK or speed.half_width is None:
        return False
    return speed.half_width <= enough(outcome_of(speed, margin), within)


def enough(outcome: Outcome, within: float) -> float:
    """Return half the width of an interval with this outcome at which a study may end."""
    return within if outcome == "cannot_tell" else SETTLED * within
