"""Where the time of the main parallel arm goes, in words: a paragraph for each term with its figures, as Markdown."""

from ddpbench.arm import plural
from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, IDEAL, REDUCING, SLOWED, SMALLER, UNEVEN, WAITING, Term
from ddpbench.judge.comparison import StartUp
from ddpbench.judge.judgement import Judgement
from ddpbench.show.layout import Page
from ddpbench.show.phrases import TERMS, share_text, with_interval

# What a term is, how it is measured, and what to do about it.
PARAGRAPHS = {
    IDEAL: (
        "one worker alone needs this for its part of the work. It is the floor: only a smaller model, a faster library "
        "or more workers lower it."
    ),
    UNEVEN: (
        "an epoch takes as long as the rank with the most samples. Samples are shared out evenly, so this is 0 unless "
        "a sampler or a data set is uneven: check that the batch divides over the ranks."
    ),
    SMALLER: (
        "a rank works on a fraction of the global batch, and small batches use a core or a GPU less well. "
        "Measured by one worker alone at the rank batch. Use a larger global batch, or fewer ranks."
    ),
    CONTENTION: (
        "ranks on one machine share memory bandwidth, caches, and cores where there are more threads than cores. "
        "Measured by ranks that never communicate against one alone. Use fewer ranks, or fewer threads for each; "
        "close other programs."
    ),
    COMMUNICATION: (
        "ranks that train together take this much longer than the same ranks that never communicate: a rank has "
        "nothing left to compute and waits for gradients. It is paid once per step, so a larger global batch pays it "
        "less often; a faster `--comm` makes it smaller; a larger model hides more of it behind its own computing. Its "
        "parts:"
    ),
    REDUCING: (
        "the exchange itself, after the last rank has arrived. On one machine gloo spends it mostly on latency, "
        "which shared memory (`--comm shm`) does not have; the rest grows with the size of the model and the number of "
        "steps."
    ),
    WAITING: (
        "every step ends when the slowest rank has its gradients. If one rank is always the slowest, find out what "
        "else runs on its core or GPU. If ranks take turns, it is the noise of the machine, which grows with the "
        "number of ranks."
    ),
    SLOWED: (
        "what the timers inside the run do not see: after a wait, caches are cold and cores wake slowly, and DDP does "
        "its bookkeeping. It is the difference between two kinds of runs and has the noise of both: read its interval."
    ),
}


def explain(judgement: Judgement, page: Page) -> str:
    """Return a paragraph for each term of the main parallel arm. Says so if nothing was measured."""
    lines = _lines(judgement)
    return "\n".join(page.paragraph(line, hang=len(line) - len(line.lstrip(" -"))) for line in lines) + "\n"


def _lines(judgement: Judgement) -> list[str]:
    """Return one line for each paragraph; empty lines separate them."""
    breakdown = judgement.main_breakdown
    if breakdown is None:
        return ["Where the time goes was not measured in this study: bash launch.sh runs the controls that it takes."]
    n = plural(breakdown.observed.n, "seed")
    took = f"{with_interval(breakdown.observed)} s of training"
    lines = [f"An epoch of {breakdown.arm.label} took {took} (95 % interval over n = {n}).", ""]
    for term in breakdown.terms:
        lines.append(f"{'  ' if term.part_of else ''}- {_figures(term)}: {PARAGRAPHS[term.term]}")
    if judgement.comparison is not None:
        lines += ["", _startup(judgement.comparison.startup)]
    return lines


def _figures(term: Term) -> str:
    name = TERMS[term.term].capitalize()
    if term.seconds is None or term.share is None:
        return f"**{name}** (not measured)"
    return f"**{name}, {with_interval(term.seconds)} s, {share_text(term.share)}**"


def _startup(startup: StartUp) -> str:
    before, after, even = startup.reference_s, startup.parallel_s, startup.break_even_epochs
    text = f"**Start-up** is apart: {after.value:.1f} s against {before.value:.1f} s of the best single process, "
    text += f"n = {after.n}, because torchrun imports torch before the ranks do. "
    if even is None:
        return text + "An epoch is not shorter, so it is never earned back."
    return text + f"It is earned back after {even:.1f} epochs."
