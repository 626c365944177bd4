"""What matters to the user, what an interval of speed says, and whether a study knows enough to end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ddpbench.judge import stats
from ddpbench.judge.stats import Estimate
from ddpbench.record import Metric
from ddpbench.turns import FIRST_LOOK

# A study looks after every launch from the fifth on and may stop, which makes intervals too narrow. With this error at
# each look, the interval at the end covers the truth in 95 of 100 studies (benchmarks/looks.py shows it).
ERROR_OF_A_LOOK = 0.025
# A study that stops because it likes the outcome finds more than there is. So it stops for that only after so many
# launches, where a stricter interval has the same outcome; and how much faster is an answer, too.
SETTLED_FROM, ERROR_OF_SETTLED = 10, 0.005
SETTLED = 5 / 3  # times --within: how wide the interval may then be

Outcome = Literal["faster", "slower", "no_difference", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Criteria:
    """What matters to the user."""

    margin: float | None = None  # the smallest difference in the metric that matters, in its unit; None: the task's
    speed: float = 0.03  # the smallest difference in speed that matters: 3 %
    price_per_hour: float | None = None  # of one worker; None: not given

    def margin_of(self, metric: Metric) -> float | None:
        """Return the smallest difference in a metric that matters: the user's, else the task's; None without both."""
        return metric.margin if self.margin is None else self.margin


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


def is_known(logs: Sequence[float], within: float, margin: float) -> bool:
    """Return whether a study may end: the interval is as narrow as was asked for, or nearly so and settled.

    `logs` are the logarithms of the speed in each launch.
    """
    half_width = stats.ratio(logs, ERROR_OF_A_LOOK).half_width
    return len(logs) >= FIRST_LOOK and half_width is not None and half_width <= enough(logs, within, margin)


def enough(logs: Sequence[float], within: float, margin: float) -> float:
    """Return half the width of the interval at which a study may end, as things are: 0.03 is +- 3 %."""
    return SETTLED * within if len(logs) >= SETTLED_FROM and is_settled(logs, margin) else within


def is_settled(logs: Sequence[float], margin: float) -> bool:
    """Return whether a stricter interval than the one that is shown has an outcome, too."""
    return outcome_of(stats.ratio(logs, ERROR_OF_SETTLED), margin) != "cannot_tell"
