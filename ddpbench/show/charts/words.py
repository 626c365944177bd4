"""Words that titles share. A title claims no more than its interval does."""

import math
from collections.abc import Sequence

from ddpbench.arm import Arm, plural
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing
from ddpbench.show import phrases

REFERENCE = "one process"  # the fastest single one


def is_or_are(arm: Arm) -> str:
    """Return the verb that follows `phrases.workers`."""
    return "is" if arm.kind == "data_parallel" or arm.world_size == 1 else "are"


def who(arm: Arm, reference: Arm) -> str:
    """Return what the names in a title stand for: a part of the small lines."""
    return f"{phrases.workers(arm)}: {arm.label}; {REFERENCE}: {reference.label}"


def units(timing: Timing, count: int) -> str:
    """Return `3 launches`, `1 seed`."""
    return f"{count} launches" if timing.noun == "launch" and count != 1 else plural(count, timing.noun)


def percent(share: float) -> str:
    """Return a share in words, rounded to what it can bear: `0.4 %`, `12 %`."""
    value = 100 * abs(share)
    if 0 < value < 0.05:
        return "under 0.1 %"
    return f"{round(value, 1 if value < 2 else None):g} %"


def ms(value: float) -> str:
    """Return milliseconds with three figures that count: `12.0 ms`, `0.123 ms`."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f} ms"


def speed_range(low: float, high: float) -> str:
    """Return an interval of times as fast: `5 % to 12 % faster`, `between 2 % slower and 3 % faster`."""
    if low > 1:
        return (
            f"{percent(low - 1)} to {percent(high - 1)} faster" if high < 2 else f"{low:.2f} to {phrases.change(high)}"
        )
    if high < 1:
        return f"{percent(1 - high)} to {percent(1 - low)} slower"
    return f"between {phrases.change(low)} and {phrases.change(high)}"


def interval(estimate: Estimate, form: str = ".2f") -> str:
    """Return a value with its interval, if it has one: `2.81 (2.60 to 3.02)`."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def together(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
