"""What to do next: the change that would help most, derived from what this study measured, never a general hint."""

from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, SMALLER, UNEVEN, WAITING, Breakdown
from ddpbench.judge.comparison import Comparison
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import outcome_of
from ddpbench.judge.scaling import LargerBatch
from ddpbench.judge.stats import Estimate, runs_needed
from ddpbench.show.phrases import MIN_SHARE, times_as_fast

MIN_GAIN = 1.02  # a larger batch is advised if its speedup is larger by this factor


def advise(judgement: Judgement, comparison: Comparison) -> str:
    """Return the paragraph "Next" of a study in which both arms were run."""
    if comparison.accuracy is not None and comparison.accuracy.outcome == "lost":
        return (
            "Accuracy first: at an equal global batch and learning rate, parallel training should learn the same; "
            "find out what differs."
        )
    if comparison.outcome == "cannot_tell":
        return _more_seeds(comparison.ratios)
    parts = [
        f"Train with {comparison.reference.arm.label} here." if comparison.outcome == "does_not_pay" else "",
        _larger_batch(judgement.larger_batch, comparison.parallel.speedup),
        _largest_loss(judgement.main_breakdown, comparison.reference.epoch_s.value),
    ]
    return " ".join(part for part in parts if part) or "Nothing that was measured would make it faster."


def _more_seeds(ratios: list[float]) -> str:
    """Say how many seeds would make the interval narrow enough. `ratios` has one for each seed so far."""
    n = len(ratios)
    if n < 2:
        return "One run has no interval: run three seeds or more, bash launch.sh --seeds 0 1 2."
    needed = runs_needed(ratios)
    if needed is None:
        return "More seeds would hardly settle it: the difference is small compared with the noise."
    count = max(needed, n + 1)
    seeds = " ".join(map(str, range(count)))
    return f"If the difference is real, about {count} seeds would show it: bash launch.sh --seeds {seeds}."


def _larger_batch(larger: LargerBatch | None, now: Estimate | None) -> str:
    """Advise a larger batch if it was measured to help; else return no text."""
    if larger is None or now is None or larger.speedup.value < now.value * MIN_GAIN:
        return ""
    outcome = outcome_of(larger.speedup)
    effect = {"pays": "which pays", "does_not_pay": "still too slow", "cannot_tell": "not measurably different"}
    learn = (
        "its accuracy was not measured"
        if outcome == "pays"
        else "bash launch.sh sweep finds the batch from which it pays"
    )
    times = times_as_fast(larger.speedup)
    return f"A larger batch helps: at global batch {larger.global_batch} it is {times}, {effect[outcome]}; {learn}."


def _largest_loss(breakdown: Breakdown | None, reference_s: float) -> str:
    """Say what to do about the largest loss, and what the speedup would be without it; no text if it is small."""
    largest = breakdown.largest_loss if breakdown else None
    if breakdown is None or largest is None or largest.seconds is None or (largest.share or 0) < MIN_SHARE:
        return ""
    without = reference_s / (breakdown.observed.value - largest.seconds.value)
    waiting = breakdown[WAITING]
    if largest.term == COMMUNICATION and waiting is not None and waiting.value > 0.5 * largest.seconds.value:
        rank = "one rank" if breakdown.slowest_rank is None else f"rank {breakdown.slowest_rank}"
        return f"Most of the loss is waiting for {rank}: find out what else runs on its core."
    if largest.term == COMMUNICATION:
        bound = f"the speedup would be {without:.2f}; no other --comm can exceed that"
        return f"Without exposed communication over {breakdown.arm.comm} {bound}."
    advice = {
        UNEVEN: "Give every rank equally many samples",
        SMALLER: "Smaller batches cost most: use a larger global batch, or fewer ranks",
        CONTENTION: "Ranks compete for the same cores or memory: use fewer ranks, each with more threads",
    }[largest.term]
    return f"{advice} (without this loss the speedup would be {without:.2f})."
