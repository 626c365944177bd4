"""The rows of the answer that explain: where a step's time goes, why the outcome is open, and what to do."""

import math

from ddpbench.arm import plural
from ddpbench.command import COMMAND
from ddpbench.judge.breakdown import Breakdown, Term
from ddpbench.judge.comparison import Comparison
from ddpbench.judge.disturbance import Disturbance
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import outcome_of
from ddpbench.judge.scaling import LargerBatch
from ddpbench.judge.stats import Estimate
from ddpbench.show.figures import name_of
from ddpbench.show.findings import other_model
from ddpbench.show.phrases import (
    are,
    arm_in_words,
    causes_text,
    change,
    change_with_interval,
    doubt,
    share_text,
    workers,
)

MORE = f"{COMMAND} --more"
MIN_SHARE = 0.02  # of a step: the advice names no smaller loss
SMALLEST = 0.01  # of the blocks, or of the CPU time: a smaller disturbance is not named


def why_text(judgement: Judgement, breakdown: Breakdown) -> str:
    """Return the way from ideal workers to the observed step: a line for each certain loss, the largest first.

    Losses that are not certain follow, each with its doubt.
    """
    ideal = breakdown["ideal"]
    if ideal is None:
        return ""
    count = breakdown.turn.arm.world_size
    lines = [f"a step takes {_ms(breakdown.observed)} ms; {count} ideal workers would take {_ms(ideal)} ms"]
    reference = judgement.reference
    if reference is not None and reference.arm.threads_per_rank > breakdown.turn.arm.threads_per_rank:
        busy = ideal.value / reference.step_s.value
        lines.append(f"one process reaches {busy:.0%} of the speed of {count} ideal workers".replace("%", " %"))
    lines += [
        f"{_cost(term.seconds)}: {causes_text(term.causes)}{_parts(breakdown, term)}" for term in breakdown.losses
    ]
    lines += [
        f"{_cost(term.seconds)}, {doubt(term)}: {causes_text(term.causes)}"
        for term in breakdown.terms
        if not term.is_certain and not term.part_of
    ]
    return "\n".join(lines)


def unsure_lines(comparison: Comparison, *, on_gpu: bool) -> list[str]:
    """Return why the outcome is open; in the last line, what would settle it. No line where nothing was measured."""
    found, speed = comparison.disturbance, comparison.speed
    if speed is None:
        return []
    if found is None:
        why = "one run of each has no interval" if speed.low is None else "whole runs differ too much to settle it"
        return [f"{why}; measure in turns: {COMMAND}"]
    if speed.low is None:
        return [f"one launch has no interval; add launches: {MORE}"]
    return [*_disturbed(found, on_gpu=on_gpu), _minutes(found)]


def so_lead(judgement: Judgement, comparison: Comparison) -> str:
    """Return what to do in short: the subject of the answer says which workers and which process."""
    one, many = (workers(each.arm) for each in (comparison.reference, comparison.parallel))
    return _lost(judgement, comparison) or _choice(comparison, one, many)


def so_parts(judgement: Judgement, comparison: Comparison, *, on_gpu: bool) -> list[str]:
    """Return what to do, then what else helps. A cause is named only where its interval excludes zero."""
    if lost := _lost(judgement, comparison):
        return [lost]
    both = (comparison.reference, comparison.parallel)
    parts = [
        _choice(comparison, *(arm_in_words(each.arm, on_gpu=on_gpu) for each in both)),
        _larger(judgement.larger_batch, comparison.speed, judgement.criteria.speed, comparison),
        _largest_loss(judgement.breakdown),
        _compiled(judgement),
    ]
    return [part for part in parts if part]


def _lost(judgement: Judgement, comparison: Comparison) -> str:
    """Return what to do where workers learn less; no text where they do not."""
    if comparison.learnt is None or comparison.learnt.outcome != "lost":
        return ""
    return f"{name_of(judgement.study.newest)} first: {_why_lost(comparison)}"


def _why_lost(comparison: Comparison) -> str:
    """Return why workers learn less, where the check of the task knows it, and what to do."""
    if why := other_model(comparison):
        cures = {
            "batch_norm": "use a larger batch, or a norm that looks at one sample at a time",
            "batch_loss": "see the caution about the loss",
        }
        cure = cures[comparison.equal_gradient or ""] if comparison.parallel.arm.is_exact else "name other --comms"
        return f"workers train another model, because {why}; {cure}"
    if comparison.equal_gradient == "exact":
        return "workers compute the same gradient as one process, so they should learn the same; look for the fault"
    return "at an equal batch and learning rate parallel training should learn the same; look for what differs"


def _choice(comparison: Comparison, one: str, many: str) -> str:
    """Return which arm to train with. `one` and `many` name the reference and the parallel arm."""
    speed, run = comparison.speed, comparison.whole_run
    if comparison.outcome == "cannot_tell":
        stay, arm = f"until then stay with {one}", comparison.parallel.arm
        if speed is None or speed.high is None or speed.high <= 1:
            return stay
        return f"{stay}: {workers(arm)} {are(arm)} at most {change(speed.high)}"
    if comparison.outcome != "faster":
        return f"stay with {one}"
    if run is None:
        return f"use {many}"
    turning = run.turning
    if turning is None or run.epochs is None:
        return _until_the_target(run.times_as_long, one, many)
    if math.isinf(turning.least):
        return f"stay with {one}: whole runs of {many} are never shorter"
    if run.epochs >= turning.most:
        return f"use {many}"
    surely = "" if math.isinf(turning.most) else f"; use {many} from {math.ceil(turning.most):,} epochs on"
    if run.epochs < turning.least:
        return f"for a run this short stay with {one}{surely}"
    return f"a run of {plural(run.epochs, 'epoch')} takes about as long with either{surely}"


def _until_the_target(times_as_long: Estimate, one: str, many: str) -> str:
    """Return which arm to train with where runs differ in length: the one whose whole runs are shorter."""
    low, high = times_as_long.low, times_as_long.high
    if low is None or high is None or low <= 1 <= high:
        return f"it is not known which reaches the target first: run more seeds; a step is faster with {many}"
    return f"use {many}" if high < 1 else f"to reach the target stay with {one}: its whole runs are shorter"


def _larger(larger: LargerBatch | None, speed: Estimate | None, margin: float, comparison: Comparison) -> str:
    """Advise to measure larger batches where one looked faster, and clearly more so than the study's batch.

    It says no figure: an arm that explains has a turn in every sixth round. With tensors beyond 32 MiB, which the
    C library gives back after each step, its steps then take up to a fifth longer than those of a run.
    """
    if larger is None or speed is None or outcome_of(larger.speed, margin) != "faster":
        return ""
    if comparison.outcome == "faster" and (larger.speed.low or 0) <= (speed.high or math.inf):
        return ""
    still = " still" if comparison.outcome == "faster" else ""
    many = workers(comparison.parallel.arm)
    return f"at batch {larger.global_batch}, {many} may be faster{still}: {COMMAND} sweep measures by how much"


def _largest_loss(breakdown: Breakdown | None) -> str:
    """Name the largest certain loss and what makes it smaller; no text where none is certain and large."""
    losses = [term for term in breakdown.losses if _is_large(term)] if breakdown else []
    if breakdown is None or not losses:
        return ""
    largest = losses[0]
    waiting = breakdown["waiting"]
    is_waiting = waiting is not None and waiting.excludes_zero and waiting.value > 0.5 * largest.seconds.value
    if largest.causes == ("exchange",) and is_waiting:
        rank = "the slowest rank" if breakdown.slowest_rank is None else f"rank {breakdown.slowest_rank}"
        return f"the largest loss is waiting for {rank}: look what else runs on its core"
    remedies = {
        "smaller_batch": "a larger batch, or fewer workers, would help",
        "contention": "fewer workers, each with more threads, would help",
        "uneven_shares": "give every rank equally many samples",
        "bookkeeping": "a larger batch has it less often",
        "exchange": "a larger batch has it less often",
        "data": "more --readers, or data that stays in memory, would help",
    }
    remedy = f": {remedies[largest.causes[0]]}" if len(largest.causes) == 1 else ""
    return f"the largest loss is {causes_text(largest.causes)}{remedy}"


def _compiled(judgement: Judgement) -> str:
    """Return what torch.compile does for one process, where it was measured to be faster."""
    speed = next((each.speed for each in judgement.results if each.arm.kind == "compiled"), None)
    if speed is None or outcome_of(speed, judgement.criteria.speed) != "faster":
        return ""
    return f"torch.compile makes one process {_in_brackets(speed)}, without a second worker"


def _in_brackets(speed: Estimate) -> str:
    """Return `31 % faster (22 to 39 %)`; without an interval `31 % faster`."""
    value, is_there, interval = change_with_interval(speed).partition(": ")
    return f"{value} ({interval})" if is_there else value


def _is_large(term: Term) -> bool:
    return term.seconds.excludes_zero and term.share > MIN_SHARE


def _parts(breakdown: Breakdown, term: Term) -> str:
    """Return the certain parts of the exchange, or of reading data, in brackets."""
    if term.causes not in (("exchange",), ("data",)):
        return ""
    parts = [
        f"{_ms(part.seconds)} ms {causes_text(part.causes)}"
        for part in breakdown.parts_of(term.causes[0])
        if part.is_certain and part.share > MIN_SHARE
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _disturbed(found: Disturbance, *, on_gpu: bool) -> list[str]:
    """Return which arm was disturbed most, and how much of the machine its host took."""
    arm, lines = found.most_stalled, []
    share = found.stalled_shares[arm]
    if share >= SMALLEST:
        others = [
            f"{share_text(less)} with {workers(turn.arm)}" for turn, less in found.stalled_shares.items() if turn != arm
        ]
        most = f"{share_text(share)} of the blocks with {arm_in_words(arm.arm, on_gpu=on_gpu)}"
        lines.append(f"disturbed were {most}, {' and '.join(others)}")
    if found.stolen_share >= SMALLEST:
        lines.append(f"the host took {share_text(found.stolen_share)} of the CPU time away")
    return lines or ["nothing disturbed either arm for long: the launches themselves differ"]


def _minutes(found: Disturbance) -> str:
    """Return how much longer it takes to know."""
    if found.minutes_needed is None:
        return f"more launches would hardly settle it: the difference is small beside the noise ({MORE} adds some)"
    minutes = max(1, math.ceil(found.minutes_needed))
    return f"about {minutes} more minute{'s' if minutes > 1 else ''} would settle it with 80 % chance: {MORE}"


def _cost(seconds: Estimate) -> str:
    bounds = ""
    if seconds.low is not None and seconds.high is not None:
        bounds = f" ({1e3 * seconds.low:+.2f} to {1e3 * seconds.high:+.2f})"
    return f"{1e3 * seconds.value:+.2f} ms{bounds}"


def _ms(seconds: Estimate) -> str:
    return f"{1e3 * seconds.value:.2f}"
