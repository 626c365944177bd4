"""Where a step of the parallel arm goes, in words: a paragraph for each term with its figures, as Markdown."""

from dataclasses import dataclass

from ddpbench.command import COMMAND
from ddpbench.judge.breakdown import Breakdown, Cause, Term
from ddpbench.judge.comparison import Comparison, WholeRun
from ddpbench.judge.judgement import Judgement
from ddpbench.show.findings import ahead_text
from ddpbench.show.layout import Page
from ddpbench.show.phrases import (
    TERMS,
    are,
    capitalized,
    causes_text,
    count_text,
    doubt,
    share_text,
    with_interval,
    workers,
)

# What a term is, how it is measured, and what to do about it.
PARAGRAPHS: dict[Cause, str] = {
    "ideal": (
        "what one worker alone needs for the whole batch, divided by the number of workers. Only a smaller model, a "
        "faster library or more workers lower it."
    ),
    "smaller_batch": (
        "a rank works on a part of the global batch, and small batches use a core or a GPU less well. Measured by one "
        "worker alone at the batch of a rank. Use a larger global batch, or fewer workers."
    ),
    "contention": (
        "ranks on one machine share memory bandwidth, caches, and cores where there are more threads than cores. "
        "Measured by ranks that never communicate, against one worker alone. Use fewer ranks, or fewer threads for "
        "each; close other programs."
    ),
    "uneven_shares": (
        "a step takes as long as the rank with the most samples. Shares are even unless a sampler or a data set is "
        "not: check that the batch divides over the ranks."
    ),
    "bookkeeping": (
        "what DDP does in each step beside the exchange: it copies gradients into buckets and back, and calls a hook "
        "for each of them. Measured by DDP whose hook exchanges nothing, against ranks without DDP. It comes once a "
        "step, so a larger global batch has it less often."
    ),
    "exchange": (
        "ranks that exchange gradients take this much longer than the same DDP that exchanges nothing: a rank has "
        "nothing left to compute and waits. It comes once a step, so a larger global batch has it less often; a "
        "faster `--comm` makes it smaller; a larger model hides more of it behind its own computing."
    ),
    "reducing": (
        "the exchange itself, after the last rank has arrived. On one machine gloo spends it mostly on latency, which "
        "shared memory (`--comm shm`) does not have; the rest grows with the size of the model."
    ),
    "waiting": (
        "every step ends when the slowest rank has its gradients. If one rank is always the slowest, look what else "
        "runs on its core or GPU. If ranks take turns, it is the noise of the machine, which grows with the number of "
        "ranks."
    ),
    "slower_computing": (
        "what the timers inside the ranks do not see: after a wait, caches are cold and cores wake slowly. It is what "
        "is left of the exchange, and has the noise of its other parts: read its interval."
    ),
    "data": (
        "training on data that is read meanwhile takes this much longer than on a few batches in memory, which the "
        "levels before train on again and again. More processes (`--readers`) or cheaper decoding make it smaller; "
        "data that fits in memory has none of it."
    ),
    "waiting_for_data": (
        "a rank has taken its step, and the next batch is not there yet: the processes that read do not keep up."
    ),
    "beside_readers": (
        "what is left of reading data: the processes that read use cores, caches and memory of the ranks, and each "
        "batch is handed over."
    ),
}


@dataclass(frozen=True, slots=True)
class Paragraph:
    """The explanation of one term."""

    heading: str  # the term and its figures
    text: str
    is_part: bool  # of the term before


def paragraphs(judgement: Judgement) -> list[Paragraph]:
    """Return a paragraph for each term of the answer's breakdown, and one for start-up; none without a breakdown."""
    breakdown, comparison = judgement.breakdown, judgement.comparison
    if breakdown is None:
        return []
    terms = [_of_term(breakdown, term) for term in breakdown.terms]
    run = comparison.whole_run if comparison else None
    return terms + ([_startup(comparison, run)] if comparison and run else [])


def explain(judgement: Judgement, page: Page) -> str:
    """Return the paragraphs as Markdown. Says so if nothing was measured."""
    lines = [page.paragraph(opening(judgement))]
    if judgement.breakdown is not None:
        lines.append("")
    for each in paragraphs(judgement):
        lead = "  - " if each.is_part else "- "
        lines.append(page.paragraph(f"**{each.heading}**: {each.text}", lead))
    return "\n".join(lines) + "\n"


def opening(judgement: Judgement) -> str:
    """Return the sentence before the paragraphs; without a breakdown, that nothing was measured."""
    breakdown = judgement.breakdown
    if breakdown is None:
        return f"Where the time goes was not measured in this study: {COMMAND} measures what it takes."
    took = with_interval(breakdown.observed.scaled(1e3), unit=" ms")
    counted = count_text(breakdown.observed, judgement.timing.noun)
    return f"A step of {breakdown.turn.arm.label} takes {took}; {counted}."


def _of_term(breakdown: Breakdown, term: Term) -> Paragraph:
    name = causes_text(term.causes)
    if term.causes == ("ideal",):
        name = f"{breakdown.turn.arm.world_size} ideal workers"
    text = PARAGRAPHS[term.causes[0]]
    if len(term.causes) > 1:
        text = " ".join(f"{capitalized(TERMS[cause])}: {PARAGRAPHS[cause]}" for cause in term.causes)
    form = ".2f" if term.causes == ("ideal",) else "+.2f"
    heading = f"{capitalized(name)}, {with_interval(term.seconds.scaled(1e3), form, ' ms')}"
    heading += f", {share_text(term.share)}" + ("" if term.is_certain else f", {doubt(term)}")
    return Paragraph(heading, text, term.part_of is not None)


def _startup(comparison: Comparison, run: WholeRun) -> Paragraph:
    """Explain what a step does not show."""
    arm = comparison.parallel.arm
    before, after = run.startup_s
    text = "torchrun imports torch before the ranks do, and the ranks have to meet. " if arm.kind == "ddp" else ""
    text += "It is no part of a step."
    if run.turning is not None:
        text += f" With it, {workers(arm)} {are(arm)} {ahead_text(run.turning)}."
    return Paragraph(f"Start-up, {after:.1f} s against {before:.1f} s of one process", text, is_part=False)
