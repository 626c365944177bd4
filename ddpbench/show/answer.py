"""The answer of a study in words: a title, what is compared, and a few rows of figures, reasons and advice."""

from dataclasses import dataclass

from ddpbench.judge.comparison import Comparison
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Outcome
from ddpbench.show import crossover, figures, findings, reasons
from ddpbench.show.phrases import arm_in_words

TITLES: dict[Outcome, str] = {
    "faster": "FASTER",
    "slower": "SLOWER",
    "no_difference": "NO DIFFERENCE THAT MATTERS",
    "cannot_tell": "CANNOT TELL",
}
LOST_TITLES: dict[Outcome, str] = {
    "faster": "FASTER, BUT {lost}",
    "slower": "SLOWER, AND {lost}",
    "no_difference": "EQUALLY FAST, BUT {lost}",
    "cannot_tell": "{lost}; CANNOT TELL HOW FAST",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a study says. Every figure in it was measured."""

    title: str
    subject: str  # what is compared with what
    rows: list[tuple[str, str]]  # a word, and its text: of several lines where it has line breaks


def write(judgement: Judgement) -> Answer:
    """Write the answer of a study."""
    on_gpu = judgement.study.newest.settings.device == "cuda"
    noun = judgement.timing.noun
    if judgement.sweep is not None:
        title, subject = crossover.sweep_title(judgement.sweep), crossover.sweep_subject(judgement.sweep, on_gpu=on_gpu)
        name = figures.name_of(judgement.study.newest)
        return Answer(title, subject, crossover.sweep_rows(judgement.sweep, noun, name))
    comparison = judgement.comparison
    if comparison is None:
        return _half(judgement, on_gpu=on_gpu)
    arms = [arm_in_words(result.arm, on_gpu=on_gpu) for result in (comparison.parallel, comparison.reference)]
    return Answer(title_of(comparison), " against ".join(arms), _rows(judgement, comparison, noun, on_gpu=on_gpu))


def title_of(comparison: Comparison) -> str:
    """Return the outcome in capital letters, with what is learnt where less is."""
    if comparison.learnt is None or comparison.learnt.outcome != "lost":
        return TITLES[comparison.outcome]
    words = figures.words_of(comparison.reference.runs[0].metric)
    return LOST_TITLES[comparison.outcome].format(lost=words.lost)


def _rows(judgement: Judgement, comparison: Comparison, noun: str, *, on_gpu: bool) -> list[tuple[str, str]]:
    breakdown, learnt = judgement.breakdown, comparison.learnt
    rows, name = [("speed", findings.speed_text(comparison.speed, noun))], figures.name_of(judgement.study.newest)
    if learnt is not None:
        rows.append((name, findings.learnt_text(comparison, learnt)))
    elif not judgement.study.records:
        rows.append((name, "not measured: bash launch.sh"))
    if comparison.whole_run is not None:
        rows.append(("whole run", findings.whole_run_text(comparison, comparison.whole_run)))
    if comparison.cost is not None:
        rows.append(("cost", findings.cost_text(comparison.cost)))
    if breakdown is not None:
        rows.append(("why", reasons.why_text(judgement, breakdown)))
    if comparison.outcome == "cannot_tell":
        rows.append(("unsure", reasons.unsure_text(comparison, on_gpu=on_gpu)))
    rows.append(("so", reasons.so_text(judgement, comparison, on_gpu=on_gpu)))
    return [(word, text) for word, text in rows if text]


def _half(judgement: Judgement, *, on_gpu: bool) -> Answer:
    """Return the answer of a study that has not both arms."""
    measured = judgement.reference or judgement.parallel
    subject = "no arm to compare" if measured is None else f"only {arm_in_words(measured.arm, on_gpu=on_gpu)}"
    missing = "a parallel arm: torchrun --nproc_per_node=2 ddp_train.py"
    if judgement.reference is None:
        missing = "a single process: python baseline_train.py"
    return Answer(TITLES["cannot_tell"], subject, [("so", f"train {missing}; or everything: bash launch.sh")])
