"""Why is it slower here: a paragraph for each term of a breakdown, with this study's figures, as Markdown."""

from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, IDEAL, REDUCING, SLOWED, SMALLER, UNEVEN, WAITING, Term
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import NAMES, share_text
from ddpbench.show.layout import Page
from ddpbench.show.report import PAGE, seconds

# What a term is, how it is measured, and what to do about it.
PARAGRAPHS = {
    IDEAL: (
        "one worker alone needs this for its part of the work. It is the floor: nothing below changes it but a "
        "faster network, a faster library or more workers."
    ),
    UNEVEN: (
        "an epoch takes as long as the rank with the most samples. Ours are shared out evenly, so that this is 0 "
        "unless a sampler or a data set is uneven: check that the batch divides over the ranks."
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
        "what training together takes longer than the same ranks training each for itself: the time in which a "
        "rank has nothing left to compute. It is paid once per step, so a larger global batch pays it less often;"
        " a faster `--comm` makes it smaller; a larger network hides more of it behind its own computing. Its "
        "parts:"
    ),
    REDUCING: (
        "the exchange itself, once the last rank has arrived. On one machine gloo spends it mostly on latency, "
        "which shared memory (`--comm shm`) does not have; what is left grows with the bytes of the network and the "
        "number of steps."
    ),
    WAITING: (
        "every step ends when the slowest rank has its gradients. Where one rank is always the slowest, find out "
        "what else runs on its core or GPU; where they take turns, it is the noise of the machine, and grows with"
        " the ranks."
    ),
    SLOWED: (
        "what the timers inside the run do not see: caches are cold and cores asleep after each wait, and DDP "
        "keeps books. It is the difference between two kinds of run, so all their noise is in it: read its "
        "interval."
    ),
}


def explain(judged: Judgement, page: Page = PAGE) -> str:
    """Return the paragraphs for the main parallel arm of a study. Says so when nothing was broken down."""
    return "\n".join(page.paragraph(line, hang=len(line) - len(line.lstrip(" -"))) for line in _lines(judged)) + "\n"


def _lines(judged: Judgement) -> list[str]:
    """Return a line a paragraph, and empty ones between them."""
    found = judged.main_breakdown
    if found is None:
        return ["Where the time goes was not measured in this study: bash launch.sh runs what it takes."]
    n = f"seconds of training per epoch, 95 % interval over n = {found.observed.n} seeds"
    lines = [f"An epoch of {found.arm.label} took {seconds(found.observed)} s ({n}).", ""]
    top = [term for term in found.terms if not term.part_of]
    for term in top:
        lines.append(f"- {_figures(term)}: {PARAGRAPHS[term.term]}")
        lines += [f"  - {_figures(part)}: {PARAGRAPHS[part.term]}" for part in found.terms if part.part_of == term.term]
    if judged.startup is not None:
        lines += ["", _startup(judged)]
    return lines


def _figures(term: Term) -> str:
    name = NAMES[term.term].capitalize()
    if term.seconds is None or term.share is None:
        return f"**{name}** (not measured)"
    return f"**{name}, {seconds(term.seconds)} s, {share_text(term.share)}**"


def _startup(judged: Judgement) -> str:
    assert judged.startup is not None
    before, after, even = judged.startup.reference_s, judged.startup.parallel_s, judged.startup.break_even_epochs
    said = f"**Start-up** is apart: {after.value:.1f} s against {before.value:.1f} s of the best single process, "
    said += f"n = {after.n}, because torchrun imports torch before the ranks do. "
    if even is None:
        return said + "An epoch is not shorter, so that is never earned back."
    return said + f"It is earned back after {even:.1f} epochs."
