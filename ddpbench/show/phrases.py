"""Words and formats that several outputs share, so that a figure reads the same everywhere."""

from ddpbench.arm import plural
from ddpbench.errors import one_line
from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, IDEAL, REDUCING, SLOWED, SMALLER, UNEVEN, WAITING
from ddpbench.judge.outcome import Outcome
from ddpbench.judge.stats import Estimate
from ddpbench.record import Record

NOT_MEASURED = "not measured"
MIN_SHARE = 0.02  # of an epoch: smaller terms are not mentioned in sentences
OUTCOMES: dict[Outcome, str] = {"pays": "pays", "does_not_pay": "does not pay", "cannot_tell": "cannot tell"}
CONCLUSIONS: dict[Outcome, str] = {
    "pays": "DDP pays here",
    "does_not_pay": "DDP does not pay here",
    "cannot_tell": "Cannot tell",
}
TERMS = {
    IDEAL: "ideal",
    UNEVEN: "uneven shares",
    SMALLER: "smaller batches",
    CONTENTION: "contention for cores and memory",
    COMMUNICATION: "exposed communication",
    REDUCING: "reducing gradients",
    WAITING: "waiting for the slowest rank",
    SLOWED: "slower computing",
}


def with_interval(estimate: Estimate | None, form: str = ".2f") -> str:
    """Return a value and its interval for a cell of a table: `1.08 (0.98 - 1.19)`; a single run has no interval."""
    if estimate is None:
        return NOT_MEASURED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} ({estimate.low:{form}} - {estimate.high:{form}})"


def times_as_fast(speedup: Estimate) -> str:
    """Return a speedup for a sentence: `1.08 times as fast (95 % CI 0.98 to 1.19, n = 3 seeds)`."""
    if speedup.low is None or speedup.high is None:
        interval = f"n = {speedup.n}, no interval"
    else:
        interval = f"95 % CI {speedup.low:.2f} to {speedup.high:.2f}, n = {speedup.n} seeds"
    return f"{speedup.value:.2f} times as fast ({interval})"


def share_text(share: float) -> str:
    """Return a share of an epoch: `33%`."""
    return f"{share:.0%}".replace("-0%", "0%")


def length(record: Record) -> str:
    """Return how long a run trains: `3 epochs`, or `until 98% or 3 epochs`."""
    epochs, target = plural(record.settings.epochs, "epoch"), record.settings.target_accuracy
    return epochs if target is None else f"until {100 * target:g}% or {epochs}"


def conditions(record: Record) -> list[str]:
    """Return two lines: the machine, and what was trained on it."""
    machine, settings = record.environment, record.settings
    gpus = f"{len(machine.gpu_models)} x {machine.gpu_models[0]}" if machine.gpu_models else "no GPU"
    hardware = f"{machine.cpu_model}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {gpus}"
    training = [
        f"{settings.dataset}, {settings.model} ({record.parameters:,} parameters)",
        f"global batch {settings.global_batch}",
        length(record),
        f"{settings.optimizer} {settings.schedule} lr {settings.lr}",
        f"{settings.precision}{', channels last' if settings.channels_last else ''}",
    ]
    return [one_line(f"{hardware}, torch {machine.torch}, {settings.device}"), one_line(", ".join(training))]
