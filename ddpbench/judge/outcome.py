"""Whether parallel training pays."""

from typing import Literal

from ddpbench.judge.stats import Equivalence, Estimate

Outcome = Literal["pays", "does_not_pay", "cannot_tell"]


def outcome_of(speedup: Estimate | None, accuracy: Equivalence | None = None) -> Outcome:
    """Decide from the 95 % interval of the speedup and from the accuracy.

    "pays": the whole interval is above 1. "does_not_pay": the whole interval is below 1, or accuracy is lost.
    "cannot_tell": the interval includes 1, or there is none.
    """
    if accuracy is not None and accuracy.outcome == "lost":
        return "does_not_pay"
    if speedup is None or speedup.low is None or speedup.high is None or speedup.low <= 1 <= speedup.high:
        return "cannot_tell"
    return "pays" if speedup.low > 1 else "does_not_pay"
