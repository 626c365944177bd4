"""Verdict, why, next: three short paragraphs, every figure of them measured."""

from dataclasses import dataclass

from ddpbench.arm import plural
from ddpbench.judge.breakdown import IDEAL, WAITING, Breakdown
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import NAMES, SAID, WORTH_SAYING, Outcome, outcome_of, times
from ddpbench.judge.stats import Equivalence
from ddpbench.judge.sweep import Sweep
from ddpbench.show.advice import advise


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
    return Verdict(outcome, _verdict(judged, outcome), _why(judged), advise(judged, outcome))


def _missing(judged: Judgement) -> tuple[str, str]:
    if judged.reference is None:
        return "single-process", "Run: python baseline_train.py"
    return "parallel", "Run: torchrun --nproc_per_node=2 ddp_train.py"


def _verdict(judged: Judgement, outcome: Outcome) -> str:
    assert judged.parallel is not None
    assert judged.reference is not None
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


def _of_which(found: Breakdown, name: str) -> str:
    """Say what a term consists of, where its parts were measured."""
    parts = [
        f"{term.seconds.value:.2f} s {NAMES[term.term]}{_which_rank(found, term.term)}"
        for term in found.terms
        if term.part_of == name and term.seconds and abs(term.share or 0) > WORTH_SAYING
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _which_rank(found: Breakdown, name: str) -> str:
    return f", rank {found.slowest_rank}" if name == WAITING and found.slowest_rank is not None else ""


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
