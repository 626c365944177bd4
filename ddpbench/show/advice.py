"""The change that would help most, derived from what this study measured: never a general hint."""

from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, IDEAL, SMALLER, UNEVEN, WAITING
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import WORTH_SAYING, Outcome, outcome_of, times
from ddpbench.judge.stats import runs_needed


def advise(judged: Judgement, outcome: Outcome) -> str:
    """Say the change that would help most, from what was measured."""
    assert judged.parallel is not None
    assert judged.reference is not None
    if judged.accuracy is not None and judged.accuracy.outcome == "lost":
        return "Accuracy first: at equal batch and rate two ranks should learn the same; look for what differs."
    if outcome == "cannot_tell":
        return _more_seeds(judged)
    said = [_larger_batch(judged), _largest_term(judged)]
    if outcome == "does_not_pay":
        said.insert(0, f"Train with {judged.reference.arm.label} here.")
    return " ".join(part for part in said if part) or "Nothing that was measured would help more."


def _more_seeds(judged: Judgement) -> str:
    n = len(judged.ratios)
    if n < 2:
        return "One run has no interval: run three seeds or more, bash launch.sh --seeds 0 1 2."
    enough = runs_needed(judged.ratios)
    if enough is None:
        return "More seeds would hardly settle it: the difference is too small beside the noise to matter."
    seeds = " ".join(map(str, range(max(enough, n + 1))))
    return f"If the difference is real, about {max(enough, n + 1)} seeds would show it: bash launch.sh --seeds {seeds}."


def _larger_batch(judged: Judgement) -> str:
    larger, now = judged.larger_batch, judged.parallel.speedup if judged.parallel else None
    if larger is None or now is None or larger.speedup.value < now.value * 1.02:
        return ""
    outcome = outcome_of(larger.speedup)
    turn = {"pays": "where it pays", "does_not_pay": "still too slow", "cannot_tell": "no measurable difference"}[
        outcome
    ]
    learn = "its accuracy was not measured" if outcome == "pays" else "bash launch.sh sweep finds where it would pay"
    return (
        f"A larger batch helps: at global batch {larger.global_batch} it is {times(larger.speedup)}, {turn}; {learn}."
    )


def _largest_term(judged: Judgement) -> str:
    """Say what removing the largest loss would be worth."""
    found, reference = judged.main_breakdown, judged.reference
    if found is None or reference is None:
        return ""
    losses = [term for term in found.terms if term.seconds and term.term != IDEAL and not term.part_of]
    largest = max(losses, key=lambda term: term.seconds.value if term.seconds else 0, default=None)
    if largest is None or largest.seconds is None or (largest.share or 0) < WORTH_SAYING:
        return ""
    without = reference.epoch_s.value / (found.observed.value - largest.seconds.value)
    if largest.term == COMMUNICATION:
        waiting = found[WAITING]
        if waiting is not None and waiting.value > 0.5 * largest.seconds.value:
            who = "one rank" if found.slowest_rank is None else f"rank {found.slowest_rank}"
            return f"Most of the loss is waiting for {who}: find out what else runs on its core."
        comm = found.arm.comm
        return (
            f"Without exposed communication over {comm} the speedup would be {without:.2f}: that bounds any other comm."
        )
    advice = {
        UNEVEN: "give every rank as many samples",
        SMALLER: "smaller batches cost most: a larger global batch, or fewer ranks",
        CONTENTION: "ranks compete for the same cores or memory: fewer ranks, each with more threads",
    }[largest.term]
    return f"{advice[0].upper()}{advice[1:]} (without this loss the speedup would be {without:.2f})."
