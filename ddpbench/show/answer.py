"""The answer of a study in words: a title, what is compared, and a few rows of figures, reasons and advice."""

from dataclasses import dataclass

from ddpbench.judge.comparison import Comparison
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Outcome
from ddpbench.show import crossover, findings, reasons
from ddpbench.show.phrases import arm_in_words

TITLES: dict[Outcome, str] = {
    "faster": "FASTER",
    "slower": "SLOWER",
    "no_difference": "NO DIFFERENCE THAT MATTERS",
    "cannot_tell": "CANNOT TELL",
}
LOST_TITLES: dict[Outcome, str] = {
    "faster": "FASTER, BUT LESS ACCURATE",
    "slower": "SLOWER, AND LESS ACCURATE",
    "no_difference": "EQUALLY FAST, BUT LESS ACCURATE",
    "cannot_tell": "LESS ACCURATE; CANNOT TELL HOW FAST",
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
        return Answer(title, subject, crossover.sweep_rows(judgement.sweep, noun))
    comparison = judgement.comparison
    if comparison is None:
        return _half(judgement, on_gpu=on_gpu)
    arms = [arm_in_words(result.arm, on_gpu=on_gpu) for result in (comparison.parallel, comparison.reference)]
    return Answer(title_of(comparison), " against ".join(arms), _rows(judgement, comparison, noun, on_gpu=on_gpu))


def title_of(comparison: Comparison) -> str:
    """Return the outcome in capital letters, with accuracy where it is lost."""
    accuracy = comparison.accuracy
    titles = LOST_TITLES if accuracy is not None and accuracy.outcome == "lost" else TITLES
    return titles[comparison.outcome]


def _rows(judgement: Judgement, comparison: Comparison, noun: str, *, on_gpu: bool) -> list[tuple[str, str]]:
    breakdown, accuracy = judgement.breakdown, comparison.accuracy
    rows = [("speed", findings.speed_text(comparison.speed, noun))]
    if accuracy is not None:
        rows.append(("accuracy", findings.accuracy_text(comparison, accuracy)))
    elif not judgement.study.records:
        rows.append(("accuracy", "not measured: bash launch.sh"))
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
