"""Verdict, why, next: three short paragraphs, every figure of them measured."""

from dataclasses import dataclass
from typing import Literal

from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, IDEAL, SMALLER, UNEVEN, WAITING, Breakdown
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Equivalence, Estimate, runs_needed
from ddpbench.judge.sweep import Sweep
from ddpbench.record import plural

Outcome = Literal["pays", "does_not_pay", "cannot_tell"]
WORTH_SAYING = 0.02  # of the observed epoch
SAID = {"pays": "DDP pays here", "does_not_pay": "DDP does not pay here", "cannot_tell": "Cannot tell"}
NAMES = {
    IDEAL: "ideal",
    UNEVEN: "uneven shares",
    SMALLER: "smaller batches",
    CONTENTION: "contention for cores and memory",
    COMMUNICATION: "exposed communication",
    WAITING: "waiting for the slowest rank",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and the paragraphs. The outcome of a sweep is None: it has one for every batch."""

    outcome: Outcome | None
    verdict: str
    why: str
    next: str


def of(judged: Judgement) -> Verdict:
    """Reach the verdict."""
    if judged.sweep is not None:
        return Verdict(None, *_sweep_paragraphs(judged.sweep))
    if judged.reference is None or judged.parallel is None:
        missing, run = _missing(judged)
        return Verdict("cannot_tell", f"Cannot tell: there is no complete {missing} run.", "Not measured.", run)
    outcome = outcome_of(judged.parallel.speedup, judged.accuracy)
    return Verdict(outcome, _verdict(judged, outcome), _why(judged), _next(judged, outcome))


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


def _missing(judged: Judgement) -> tuple[str, str]:
    if judged.reference is None:
        return "single-process", "Run: python baseline_train.py"
    return "parallel", "Run: torchrun --nproc_per_node=2 ddp_train.py"


def _verdict(judged: Judgement, outcome: Outcome) -> str:
    assert judged.parallel is not None and judged.reference is not None
    parallel, reference = judged.parallel, judged.reference
    name = SAID[outcome] if parallel.arm.kind == "ddp" else SAID[outcome].replace("DDP", "DataParallel")
    if parallel.speedup is None:
        return f"{name}: {parallel.arm.label} and {reference.arm.label} share no seed; run the same seeds in both."
    said = f"{name}: {parallel.arm.label} is {times(parallel.speedup)} as {reference.arm.label}, "
    said += "the fastest single process"
    if parallel.efficiency is not None:
        said += f"; efficiency {parallel.efficiency.value:.0%}"
    return f"{said}. {_accuracy(judged.accuracy)}{_break_even(judged)}"


def _accuracy(accuracy: Equivalence | None) -> str:
    if accuracy is None:
        return "Accuracy was not compared: no common seed."
    gain, margin = accuracy.difference.scaled(100), 100 * accuracy.margin
    figures = f"difference {gain.value:+.2f} points"
    if gain.low is not None and gain.high is not None:
        figures += f", 95 % CI {gain.low:+.2f} to {gain.high:+.2f}"
    figures += f", n = {gain.n}, margin {margin:g}"
    said = {
        "kept": "Accuracy is kept",
        "lost": "Accuracy is lost",
        "cannot_tell": "Whether accuracy is kept: cannot tell",
    }
    return f"{said[accuracy.outcome]} ({figures})."


def _break_even(judged: Judgement) -> str:
    startup = judged.startup
    if startup is None or startup.break_even_epochs is None:
        return ""
    extra = startup.parallel_s.value - startup.reference_s.value
    if extra <= 0:
        return " It starts no later."
    return f" Starting takes {extra:.1f} s longer, earned back after {startup.break_even_epochs:.1f} epochs."


def _why(judged: Judgement) -> str:
    """Say where the time went: the largest terms, with figures."""
    found = judged.main_breakdown
    if found is None or found[IDEAL] is None:
        return (
            "Where the time went was not measured: that needs ddp, its control and one worker alone (bash launch.sh)."
        )
    ideal, observed = found[IDEAL], found.observed
    assert ideal is not None
    lost = observed.value - ideal.value
    workers = found.arm.world_size
    said = f"{workers} perfect workers would train an epoch in {ideal.value:.2f} s; it took {observed.value:.2f} s."
    parts = [
        f"{term.seconds.value:+.2f} s {NAMES[term.term]}{_of_which(found, term.term)}"
        for term in sorted(found.terms, key=lambda term: -abs(term.share or 0))
        if term.seconds and term.term != IDEAL and not term.part_of and abs(term.share or 0) > WORTH_SAYING
    ]
    if parts:
        said += f" The {lost:.2f} s between: {', '.join(parts)}."
    absent = [NAMES[term.term] for term in found.terms if term.seconds is None and not term.part_of]
    if absent:
        said += f" Not measured: {', '.join(absent)}."
    if judged.reference is not None and judged.reference.arm.threads_per_rank > found.arm.threads_per_rank:
        one = judged.reference
        share = ideal.value / one.epoch_s.value
        said += f" {one.arm.label.capitalize()}, alone reaches {share:.0%} of {workers} perfect workers without DDP."
    return said


def _of_which(found: Breakdown, term: str) -> str:
    waiting = found[WAITING]
    if term != COMMUNICATION or waiting is None or waiting.value <= WORTH_SAYING * found.observed.value:
        return ""
    slowest = "" if found.slowest_rank is None else f", rank {found.slowest_rank}"
    return f" (of which {waiting.value:.2f} s waiting for the slowest rank{slowest})"


def _next(judged: Judgement, outcome: Outcome) -> str:
    """Say the change that would help most, from what was measured."""
    assert judged.parallel is not None and judged.reference is not None
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
        return 'One run has no interval: run three seeds or more, SEEDS="0 1 2" bash launch.sh.'
    enough = runs_needed(judged.ratios)
    if enough is None:
        return "More seeds would hardly settle it: the difference is too small beside the noise to matter."
    seeds = " ".join(map(str, range(max(enough, n + 1))))
    return f'If the difference is real, about {max(enough, n + 1)} seeds would show it: SEEDS="{seeds}" bash launch.sh.'


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
    losses = [term for term in found.terms if term.seconds and term.term not in (IDEAL, WAITING)]
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


def _sweep_paragraphs(sweep: Sweep) -> tuple[str, str, str]:
    paying = [point.global_batch for point in sweep.points if outcome_of(point.speedup) == "pays"]
    batches = [point.global_batch for point in sweep.points]
    label = sweep.arm.label
    across = f"between global batch {batches[0]} and {batches[-1]}"
    if sweep.measured_batch is not None:
        verdict = f"{label} overtakes the best single process at a global batch of about {sweep.measured_batch:.0f}."
    elif paying == batches:
        verdict = f"{label} pays at every batch {across}."
    elif all(point.speedup and point.speedup.value < 1 for point in sweep.points):
        verdict = f"{label} does not pay {across}."
    else:
        verdict = f"{label} shows no clear crossover {across}."
    verdict += " Times alone were measured, not accuracy."
    lines = [f"{line.arm.label} {1e3 * line.a_s:.2f} ms + {1e6 * line.c_s:.2f} us x batch" for line in sweep.lines]
    why = f"Fitted seconds of a step: {'; '.join(lines)}." if lines else "Too few batches for a fit."
    if sweep.predicted_batch is not None:
        why += f" The lines meet at {sweep.predicted_batch:.0f}"
        why += f"; measured {sweep.measured_batch:.0f}" if sweep.measured_batch else "; not found when measured"
        why += f", prediction error {sweep.prediction_error:+.0%}." if sweep.prediction_error is not None else "."
    best = max((point for point in sweep.points if point.speedup), key=lambda point: point.speedup.value)  # type: ignore[union-attr]
    assert best.speedup is not None
    follow = f"Best: global batch {best.global_batch}, {times(best.speedup)}."
    follow += f" See what it learns: bash launch.sh --global-batch {best.global_batch}"
    return verdict, why, f"{follow} ({plural(len(batches), 'batch size')} measured)."
