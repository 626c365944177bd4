"""Words and formats that several outputs share, so that a figure reads the same everywhere."""

from collections.abc import Sequence
from typing import NamedTuple

from ddpbench.arm import Arm, plural
from ddpbench.errors import one_line
from ddpbench.judge.breakdown import Cause, Term
from ddpbench.judge.outcome import Outcome
from ddpbench.judge.stats import Estimate
from ddpbench.record import Record
from ddpbench.turns import Launch

NOT_MEASURED = "not measured"
MOST_TIMES = 10  # as fast: a bound beyond it, as two launches may give, is said to be more
OUTCOMES: dict[Outcome, str] = {
    "faster": "faster",
    "slower": "slower",
    "no_difference": "no difference",
    "cannot_tell": "cannot tell",
}
TERMS: dict[Cause, str] = {
    "ideal": "ideal workers",
    "smaller_batch": "smaller batches",
    "contention": "sharing the machine",
    "uneven_shares": "uneven shares of the batch",
    "bookkeeping": "DDP's bookkeeping",
    "exchange": "exchanging gradients",
    "reducing": "reducing gradients",
    "waiting": "waiting for the slowest rank",
    "slower_computing": "slower computing",
    "data": "reading data",
    "waiting_for_data": "waiting for data",
    "beside_readers": "sharing cores with the readers",
}
COMMS = {
    "shm": "(DDP, shared memory)",
    "shm+gloo": "(DDP, shared memory and gloo)",
    "gloo": "(DDP, gloo)",
    "nccl": "(DDP, NCCL)",
    "fp16": "(DDP, gradients in fp16)",
    "bf16": "(DDP, gradients in bf16)",
    "powersgd": "(DDP, PowerSGD)",
    "none": "that never communicate",
    "nothing": "(DDP, nothing exchanged)",
}


class Scale(NamedTuple):
    """The words of a ratio: above 1, below 1, and for a factor of two or more."""

    more: str
    less: str
    times: str


SPEED = Scale("faster", "slower", "as fast")
LENGTH = Scale("longer", "shorter", "as long")
PRICE = Scale("dearer", "cheaper", "as dear")


def arm_in_words(arm: Arm, *, on_gpu: bool) -> str:
    """Return an arm for a sentence: `2 workers (DDP, shared memory)`, `one process (2 threads)`."""
    if arm.kind == "data_parallel":
        return "one process (nn.DataParallel)"
    if arm.kind == "compiled":
        return "one process (torch.compile)"
    if arm.kind == "baseline":
        return f"one process ({'one GPU' if on_gpu else plural(arm.threads_per_rank, 'thread')})"
    each = f" of {plural(arm.threads_per_rank, 'thread')}" if arm.threads_per_rank > 1 and not on_gpu else ""
    return f"{plural(arm.world_size, 'worker')}{each}{_on_hosts(arm)} {COMMS[arm.comm or 'gloo']}"


def workers(arm: Arm) -> str:
    """Return an arm in few words: `2 workers`, `4 workers on 2 hosts`, `one process`, `nn.DataParallel`."""
    if arm.kind == "data_parallel":
        return "nn.DataParallel"
    return f"{plural(arm.world_size, 'worker')}{_on_hosts(arm)}" if arm.kind == "ddp" else "one process"


def _on_hosts(arm: Arm) -> str:
    return f" on {arm.hosts} hosts" if arm.hosts > 1 else ""


def are(arm: Arm) -> str:
    """Return the verb that follows `workers`."""
    return "are" if arm.world_size > 1 else "is"


def change(ratio: float, scale: Scale = SPEED) -> str:
    """Return a ratio in words: `7 % faster`, `20 % slower`, `2.50 times as fast`."""
    if ratio == 1:
        return f"equally {scale.times.removeprefix('as ')}"
    if ratio > MOST_TIMES:
        return f"more than {MOST_TIMES} times {scale.times}"
    if ratio < 1 / MOST_TIMES:
        return f"more than {100 * (1 - 1 / MOST_TIMES):.0f} % {scale.less}"
    if not _is_near_one(ratio):
        return f"{ratio:.2f} times {scale.times}"
    word = scale.more if ratio > 1 else scale.less
    size = _size(ratio)
    return f"{size} % {word}" if float(size) else f"less than 0.1 % {word}"


def change_with_interval(estimate: Estimate, scale: Scale = SPEED) -> str:
    """Return a ratio and its interval: `7 % faster: 5 to 9 %`, `1 % faster: 2 % slower to 3 % faster`."""
    value, low, high = estimate.value, estimate.low, estimate.high
    if low is None or high is None or low == high:
        return change(value, scale)
    least, most = sorted((low, high), key=_far)
    if all(map(_is_near_one, (value, low, high))) and (low > 1 or high < 1) and float(_size(least)):
        digits = 1 if _size(least) == _size(most) else 0
        return f"{change(value, scale)}: {_size(least, digits)} to {_size(most, digits)} %"
    return f"{change(value, scale)}: {change(low, scale)} to {change(high, scale)}"


def count_text(estimate: Estimate, noun: str) -> str:
    """Return what an interval rests on: `95 %, n = 5 launches`, or `one launch: no interval`."""
    if estimate.low is None:
        return f"one {noun}: no interval"
    return f"95 %, n = {estimate.n} {noun}{'es' if noun.endswith('ch') else 's'}"


def with_interval(estimate: Estimate | None, form: str = ".2f", unit: str = "") -> str:
    """Return a value and its interval for a cell of a table: `1.08x (0.98 - 1.19)`; one unit has no interval."""
    if estimate is None:
        return NOT_MEASURED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}{unit}"
    between = " to " if "+" in form else " - "
    return f"{estimate.value:{form}}{unit} ({estimate.low:{form}}{between}{estimate.high:{form}})"


def causes_text(causes: Sequence[Cause]) -> str:
    """Return causes in words: `smaller batches, sharing the machine and exchanging gradients`."""
    names = [TERMS[cause] for cause in causes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def doubt(term: Term) -> str:
    """Return what is not certain about a term of a breakdown: "" where all is."""
    if term.is_certain:
        return ""
    if term.seconds.low is None:
        return "measured once"
    is_something = term.seconds.excludes_zero and len(term.causes) > 1
    return "which of them is not known" if is_something else "may be nothing"


def capitalized(text: str) -> str:
    """Return a text that begins with a capital letter; str.capitalize() would make DDP small."""
    return text[:1].upper() + text[1:]


def share_text(share: float) -> str:
    """Return a share: `33 %`."""
    return f"{share:.0%}".replace("-0%", "0%").replace("%", " %")


def length(measured: Record | Launch) -> str:
    """Return how long a run trains: `3 epochs`, or `until 98% or 3 epochs`."""
    epochs, target = plural(measured.settings.epochs, "epoch"), measured.settings.target_accuracy
    return epochs if target is None else f"until {100 * target:g}% or {epochs}"


def conditions(measured: Record | Launch, *, swept: bool = False) -> list[str]:
    """Return two lines: the machine, and what was trained on it. A sweep has no batch of its own."""
    machine, settings = measured.environment, measured.settings
    gpus = f"{len(machine.gpu_models)} x {machine.gpu_models[0]}" if machine.gpu_models else "no GPU"
    hosts = f"{measured.hosts} hosts, the first: " if measured.hosts > 1 else ""
    hardware = f"{hosts}{machine.cpu_model}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {gpus}"
    optimizer = f"{settings.optimizer} {settings.schedule}"
    if settings.optimizer == "task":
        optimizer = "the task's optimizer"
    training = [
        f"{settings.dataset}, {settings.model} ({measured.parameters:,} parameters)",
        *([] if swept else [f"global batch {settings.global_batch}"]),
        *([length(measured)] if isinstance(measured, Record) else []),
        *settings.set,
        f"{optimizer} lr {settings.lr}",
        f"{settings.precision}{', channels last' if settings.channels_last else ''}",
    ]
    return [one_line(f"{hardware}, torch {machine.torch}, {settings.device}"), one_line(", ".join(training))]


def _is_near_one(ratio: float) -> bool:
    """Return whether a ratio is read more easily in percent."""
    return 0.5 <= ratio < 2


def _far(ratio: float) -> float:
    return abs(ratio - 1)


def _size(ratio: float, digits: int = 0) -> str:
    """Return how far a ratio is from 1, in percent. Small ones have a digit after the point."""
    percent = 100 * _far(ratio)
    return f"{percent:.1f}".removesuffix(".0") if percent < 1.95 else f"{percent:.{digits}f}"
