"""The verdict on a study in three short paragraphs: what was found, why, and what to do next."""

from dataclasses import dataclass

from ddpbench.arm import plural
from ddpbench.judge.breakdown import IDEAL, WAITING, Breakdown
from ddpbench.judge.comparison import Comparison, StartUp
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Equivalence
from ddpbench.judge.sweep import Sweep
from ddpbench.show.advice import advise
from ddpbench.show.phrases import CONCLUSIONS, MIN_SHARE, TERMS, times_as_fast


@dataclass(frozen=True, slots=True)
class Verdict:
    """The three paragraphs. Every figure in them was measured."""

    verdict: str
    why: str
    next: str


def write(judgement: Judgement) -> Verdict:
    """Write the verdict on a study."""
    comparison = judgement.comparison
    if judgement.sweep is not None:
        return _of_sweep(judgement.sweep)
    if comparison is not None:
        return Verdict(_conclusion(comparison), _why(judgement), advise(judgement, comparison))
    missing, command = "parallel", "torchrun --nproc_per_node=2 ddp_train.py"
    if judgement.reference is None:
        missing, command = "single-process", "python baseline_train.py"
    return Verdict(f"Cannot tell: there is no complete {missing} run.", "Not measured.", f"Run: {command}")


def _conclusion(comparison: Comparison) -> str:
    parallel, reference = comparison.parallel, comparison.reference
    conclusion = CONCLUSIONS[comparison.outcome]
    if parallel.arm.kind != "ddp":
        conclusion = conclusion.replace("DDP", "DataParallel")
    if parallel.speedup is None:
        return (
            f"{conclusion}: {parallel.arm.label} and {reference.arm.label} share no seed; run the same seeds in both."
        )
    text = f"{conclusion}: {parallel.arm.label} is {times_as_fast(parallel.speedup)} as {reference.arm.label}, "
    text += "the fastest single process"
    if parallel.efficiency is not None:
        text += f"; efficiency {parallel.efficiency.value:.0%}"
    return f"{text}. {_accuracy(comparison.accuracy)}{_break_even(comparison.startup)}"


def _accuracy(accuracy: Equivalence | None) -> str:
    if accuracy is None:
        return "Accuracy was not compared: no common seed."
    gain, margin = accuracy.difference.scaled(100), 100 * accuracy.margin
    figures = f"difference {gain.value:+.2f} points"
    if gain.low is not None and gain.high is not None:
        figures += f", 95 % CI {gain.low:+.2f} to {gain.high:+.2f}"
    figures += f", n = {gain.n}, margin {margin:g}"
    outcome = {
        "kept": "Accuracy is kept",
        "lost": "Accuracy is lost",
        "cannot_tell": "Cannot tell whether accuracy is kept",
    }[accuracy.outcome]
    return f"{outcome} ({figures})."


def _break_even(startup: StartUp) -> str:
    if startup.break_even_epochs is None:
        return ""
    extra_s = startup.parallel_s.value - startup.reference_s.value
    if extra_s <= 0:
        return " Starting takes no longer."
    return f" Starting takes {extra_s:.1f} s longer, earned back after {startup.break_even_epochs:.1f} epochs."


def _why(judgement: Judgement) -> str:
    """Say where the time went: the largest terms, with their seconds."""
    breakdown = judgement.main_breakdown
    ideal = breakdown[IDEAL] if breakdown else None
    if breakdown is None or ideal is None:
        return (
            "Where the time went was not measured: that needs ddp, its control and one worker alone (bash launch.sh)."
        )
    observed, workers = breakdown.observed, breakdown.arm.world_size
    text = f"{workers} perfect workers would train an epoch in {ideal.value:.2f} s; it took {observed.value:.2f} s."
    losses = [
        f"{term.seconds.value:+.2f} s {TERMS[term.term]}{_parts(breakdown, term.term)}"
        for term in sorted(breakdown.terms, key=lambda term: -abs(term.share or 0))
        if term.seconds and term.term != IDEAL and not term.part_of and abs(term.share or 0) > MIN_SHARE
    ]
    if losses:
        text += f" The difference is {observed.value - ideal.value:.2f} s: {', '.join(losses)}."
    absent = [TERMS[term.term] for term in breakdown.terms if term.seconds is None and not term.part_of]
    if absent:
        text += f" Not measured: {', '.join(absent)}."
    reference = judgement.reference
    if reference is not None and reference.arm.threads_per_rank > breakdown.arm.threads_per_rank:
        share = ideal.value / reference.epoch_s.value
        text += f" Without DDP, one process ({reference.arm.label}) reaches {share:.0%} of {workers} perfect workers."
    return text


def _parts(breakdown: Breakdown, name: str) -> str:
    """Return the parts of a term in brackets; no text if they were not measured."""
    rank = breakdown.slowest_rank
    parts = [
        f"{term.seconds.value:.2f} s {TERMS[term.term]}"
        f"{f', rank {rank}' if term.term == WAITING and rank is not None else ''}"
        for term in breakdown.terms
        if term.part_of == name and term.seconds and abs(term.share or 0) > MIN_SHARE
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _of_sweep(sweep: Sweep) -> Verdict:
    points, label = sweep.points, sweep.arm.label
    across = f"between global batch {points[0].global_batch} and {points[-1].global_batch}"
    if sweep.measured_batch is not None:
        conclusion = f"{label} overtakes the best single process at a global batch of about {sweep.measured_batch:.0f}."
    elif all(point.outcome == "pays" for point in points):
        conclusion = f"{label} pays at every batch {across}."
    elif all(point.speedup.value < 1 for point in points):
        conclusion = f"{label} does not pay {across}."
    else:
        conclusion = f"{label} shows no clear crossover {across}."
    best = max(points, key=lambda point: point.speedup.value)
    advice = f"Best of {plural(len(points), 'batch size')}: {best.global_batch}, {times_as_fast(best.speedup)}. "
    advice += f"To measure its accuracy: bash launch.sh --global-batch {best.global_batch}"
    return Verdict(f"{conclusion} Times alone were measured, not accuracy.", _why_of_sweep(sweep), advice)


def _why_of_sweep(sweep: Sweep) -> str:
    """Return the fitted lines, where they cross, and how far that is from the measured crossover."""
    lines = [f"{line.arm.label} {1e3 * line.a_s:.2f} ms + {1e6 * line.c_s:.2f} us x batch" for line in sweep.lines]
    text = f"Fitted seconds of a step: {'; '.join(lines)}." if lines else "Too few batches for a fit."
    if sweep.predicted_batch is None:
        return text
    text += f" The lines cross at {sweep.predicted_batch:.0f}; the measured speedup "
    if sweep.measured_batch is None or sweep.prediction_error is None:
        return f"{text}does not cross 1."
    error = f"{sweep.prediction_error:+.0%}".replace("-0%", "+0%")
    return f"{text}crosses 1 at {sweep.measured_batch:.0f}, prediction error {error}."
