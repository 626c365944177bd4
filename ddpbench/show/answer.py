"""The answer of a study in words: a title, what is compared, and a few rows of figures, reasons and advice."""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.command import ALONE, COMMAND, on_ranks
from ddpbench.judge.comparison import Comparison
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Outcome
from ddpbench.judge.study import Study
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
class Row:
    """A row of the answer. A reader in a hurry gets its lead, and all others its text."""

    word: str
    text: str  # of several lines where it has line breaks
    lead: str  # the part of the text that says what was found, or what to do; "" where all of it explains
    more: Sequence[str] = ()  # the other parts


@dataclass(frozen=True, slots=True)
class Answer:
    """What a study says. Every figure in it was measured."""

    title: str
    subject: str  # what is compared with what
    entries: Sequence[Row]

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Return the word and the text of every row."""
        return [(row.word, row.text) for row in self.entries]


def write(judgement: Judgement) -> Answer:
    """Write the answer of a study."""
    on_gpu = judgement.study.newest.settings.device == "cuda"
    noun = judgement.timing.noun
    if judgement.sweep is not None:
        title, subject = crossover.sweep_title(judgement.sweep), crossover.sweep_subject(judgement.sweep, on_gpu=on_gpu)
        name = figures.name_of(judgement.study.newest)
        return Answer(title, subject, _of_sweep(crossover.sweep_rows(judgement.sweep, noun, name)))
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


def _rows(judgement: Judgement, comparison: Comparison, noun: str, *, on_gpu: bool) -> list[Row]:
    breakdown, learnt, name = judgement.breakdown, comparison.learnt, figures.name_of(judgement.study.newest)
    rows = [_whole("speed", findings.speed_text(comparison.speed, noun))]
    if learnt is not None:
        text, metric = findings.learnt_text(comparison, learnt), comparison.reference.runs[0].metric
        rows.append(Row(name, text, findings.learnt_lead(comparison, learnt), [figures.difference(metric, learnt)]))
    else:
        rows.append(_whole(name, _not_learnt(judgement.study)))
    if comparison.whole_run is not None:
        lead, *more = findings.whole_run_parts(comparison, comparison.whole_run)
        rows.append(Row("whole run", "; ".join([lead, *more]), lead, more))
    if comparison.cost is not None:
        rows.append(_whole("cost", findings.cost_text(comparison.cost)))
    if breakdown is not None:
        rows.append(_reason("why", reasons.why_text(judgement, breakdown)))
    if of_hosts := findings.hosts_parts(judgement.scaling):
        rows.append(Row("hosts", "; ".join(of_hosts), of_hosts[0], of_hosts[1:]))
    if comparison.outcome == "cannot_tell":
        *why, cure = reasons.unsure_lines(comparison, on_gpu=on_gpu) or [""]
        rows.append(Row("unsure", "\n".join([*why, cure]), cure, why))
    what, *others = reasons.so_parts(judgement, comparison, on_gpu=on_gpu)
    rows.append(Row("so", "; ".join([what, *others]), reasons.so_lead(judgement, comparison), others))
    return [row for row in rows if row.text]


def _not_learnt(study: Study) -> str:
    """Return what is missing of the whole runs. There may be some of an arm that was the fastest before --more."""
    if not study.records:
        return f"not measured: {COMMAND}"
    return f"not measured of both arms with one seed: {COMMAND}{' --more' if study.launches else ''}"


def _of_sweep(rows: Sequence[tuple[str, str]]) -> list[Row]:
    """Return the rows of a sweep: how its fit was made and checked explains what was found."""
    return [(_reason if word in ("fit", "check") else _whole)(word, text) for word, text in rows]


def _whole(word: str, text: str) -> Row:
    return Row(word, text, text)


def _reason(word: str, text: str) -> Row:
    """Return a row that explains, each line by itself."""
    return Row(word, text, "", text.split("\n"))


def _half(judgement: Judgement, *, on_gpu: bool) -> Answer:
    """Return the answer of a study that has not both arms."""
    measured = judgement.reference or judgement.parallel
    subject = "no arm to compare" if measured is None else f"only {arm_in_words(measured.arm, on_gpu=on_gpu)}"
    missing = f"a parallel arm: {on_ranks(2)}"
    if judgement.reference is None:
        missing = f"a single process: {ALONE}"
    return Answer(TITLES["cannot_tell"], subject, [_whole("so", f"train {missing}; or everything: {COMMAND}")])
