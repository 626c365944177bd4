"""Whether it pays, and the words for it that every output shares."""

from typing import Literal

from ddpbench.arm import plural
from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, IDEAL, REDUCING, SLOWED, SMALLER, UNEVEN, WAITING
from ddpbench.judge.stats import Equivalence, Estimate
from ddpbench.record import Settings

Outcome = Literal["pays", "does_not_pay", "cannot_tell"]
WORTH_SAYING = 0.02  # of the observed epoch
SAID = {"pays": "DDP pays here", "does_not_pay": "DDP does not pay here", "cannot_tell": "Cannot tell"}
NAMES = {
    IDEAL: "ideal",
    UNEVEN: "uneven shares",
    SMALLER: "smaller batches",
    CONTENTION: "contention for cores and memory",
    COMMUNICATION: "exposed communication",
    REDUCING: "reducing gradients",
    WAITING: "waiting for the slowest rank",
    SLOWED: "slower computing beside it",
}


def outcome_of(speedup: Estimate | None, accuracy: Equivalence | None = None) -> Outcome:
    """Pays: the whole 95 % interval of the speedup is above 1, and accuracy is not lost. Does not pay: all below 1."""
    if accuracy is not None and accuracy.outcome == "lost":
        return "does_not_pay"
    if speedup is None or speedup.low is None or speedup.high is None or speedup.low <= 1 <= speedup.high:
        return "cannot_tell"
    return "pays" if speedup.low > 1 else "does_not_pay"


def interval(estimate: Estimate, unit: str = "") -> str:
    """Return the 95 % interval in words, or that a single run has none."""
    if estimate.low is None or estimate.high is None:
        return f"n = {estimate.n}, no interval"
    return f"95 % CI {estimate.low:.2f} to {estimate.high:.2f}{unit}, n = {estimate.n} seeds"


def times(speedup: Estimate) -> str:
    """Return a speedup with its interval."""
    return f"{speedup.value:.2f} times as fast ({interval(speedup)})"


def length(settings: Settings) -> str:
    """Return how long a run trains: `3 epochs`, or until it reaches its target."""
    if settings.target_accuracy is None:
        return plural(settings.epochs, "epoch")
    return f"until {100 * settings.target_accuracy:g}% or {plural(settings.epochs, 'epoch')}"


def share_text(share: float) -> str:
    """Return a share of an epoch: 33%."""
    return f"{share:.0%}".replace("-0%", "0%")
