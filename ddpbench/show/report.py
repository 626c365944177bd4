"""What a study says, as text for a terminal: the answer, one table, and what a reader must know. At most 80 columns."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ddpbench.errors import one_line
from ddpbench.judge import cautions
from ddpbench.judge.change import Change
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Outcome
from ddpbench.show import tables
from ddpbench.show.answer import Answer
from ddpbench.show.layout import NO_VALUE, Page, Table
from ddpbench.show.phrases import arm_in_words, change_with_interval, conditions, count_text, with_interval
from ddpbench.show.strip import strip

PAGE = Page()
WORD_WIDTH = 13  # columns of the word before a row
CHANGES: dict[Outcome, str] = {
    "faster": "FASTER THAN BEFORE",
    "slower": "SLOWER THAN BEFORE",
    "no_difference": "NO CHANGE THAT MATTERS",
    "cannot_tell": "CANNOT TELL",
}


def format_all(judgements: Sequence[Judgement], answers: Sequence[Answer], page: Page = PAGE) -> str:
    """Return the report of each study; after several, also a table with a row for each."""
    parts = [format_report(*each, page) for each in zip(judgements, answers, strict=True)]
    if len(parts) > 1:
        parts.append(page.table(studies_table(judgements, answers)))
    return "\n\n\n".join(parts)


def format_report(judgement: Judgement, answer: Answer, page: Page = PAGE) -> str:
    """Return the report of one study: the answer, one table, where it was measured, and cautions."""
    comparison = judgement.comparison
    drawn = strip(comparison.speed) if comparison and comparison.speed else None
    parts = [format_answer(answer, page, drawn)]
    if judgement.sweep is not None:
        parts.append(page.table(tables.sweep_table(judgement.sweep)))
    elif any(not result.arm.is_control for result in judgement.results):
        below = _lines(tables.arms_notes(judgement), page)
        parts.append(f"{page.table(tables.arms_table(judgement))}\n{below}")
    parts.append(_lines(conditions(judgement.study.newest, swept=judgement.sweep is not None), page))
    notes = [page.paragraph(one_line(caution), "caution: ", hang=2) for caution in cautions.find(judgement)]
    notes += [page.paragraph(one_line(reason), "left out: ", hang=2) for reason in judgement.study.left_out]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def format_answer(answer: Answer, page: Page = PAGE, drawn: str | None = None) -> str:
    """Return the title, what is compared, and the rows, each behind its word. `drawn` stands below the speed."""
    lines = _headline(answer.title, answer.subject, page)
    for word, text in answer.rows:
        first = f"  {word} ".ljust(WORD_WIDTH)
        for line in text.split("\n"):
            lines.append(page.paragraph(one_line(line), first, hang=WORD_WIDTH))
            first = " " * WORD_WIDTH
        if word == "speed" and drawn is not None and WORD_WIDTH + len(drawn) <= page.width:
            lines.append(page.paragraph(drawn, first))
    return "\n".join(lines)


def format_change(change: Change, page: Page = PAGE) -> str:
    """Return whether a study has become slower than a stored one: a title, and a row for each arm."""
    old, new = (one_line(each.study.name) for each in (change.old, change.new))
    on_gpu = change.new.study.newest.settings.device == "cuda"
    now, was = (arm_in_words(turn.arm, on_gpu=on_gpu) for turn in (change.fastest.turn, change.fastest.before))
    swept = change.new.sweep is not None
    what = f"{now}{'' if now == was else f'; before: {was}'}"
    subject = f"{what}, batch {change.fastest.turn.global_batch}" if swept else what
    table: Table = [("arm", "batch", "ms before", "ms now", "how much")]
    for each in change.arms:
        milliseconds = (f"{1e3 * step_s.value:.2f}" for step_s in (each.old_step_s, each.new_step_s))
        label, batch = each.turn.label, str(each.turn.global_batch)
        table.append((label, batch, *milliseconds, change_with_interval(each.times_as_fast)))
    speed, noun = change.fastest.times_as_fast, change.new.timing.noun
    counted = count_text(speed, noun) if speed.low is None else "95 %"
    text = f"{change_with_interval(speed)} ({counted})"
    headline = _headline(CHANGES[change.outcome], subject, page)
    parts = [
        "\n".join([*headline, page.paragraph(text, "  speed".ljust(WORD_WIDTH))]),
        page.table(table),
        _lines([f"before: {old}", f"now: {new}", *conditions(change.new.study.newest, swept=swept)], page),
    ]
    notes = [
        page.paragraph(one_line(caution), f"caution, {name}: ", hang=2)
        for name, judged in (("before", change.old), ("now", change.new))
        for caution in cautions.find(judged)
    ]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def format_files(written: Iterable[Sequence[Path]], page: Page = PAGE) -> str:
    """Return which files were written, a paragraph for each study. A path stays whole, so that it can be copied."""
    texts = (one_line(f"in {paths[0].parent}: {', '.join(path.name for path in paths)}") for paths in written)
    return "\n".join(page.paragraph(text, hang=2, whole_words=True) for text in texts)


def studies_table(judgements: Sequence[Judgement], answers: Sequence[Answer]) -> Table:
    """Return a row for each study. Studies may be of different machines: their figures are never divided."""
    table: Table = [("study", "machine", "model, batch", "arm", "speed (95 %)", "answer")]
    for judgement, answer in zip(judgements, answers, strict=True):
        newest, sweep = judgement.study.newest, judgement.sweep
        machine, settings = newest.environment, newest.settings
        hardware = machine.gpu_models[0] if machine.gpu_models else f"{machine.cpu_model}, {machine.cores} cores"
        arm = sweep.arm if sweep else judgement.parallel.arm if judgement.parallel else None
        table.append(
            (
                one_line(judgement.study.name),
                hardware,
                f"{settings.model}, {'swept' if sweep else settings.global_batch}",
                arm.label if arm else NO_VALUE,
                with_interval(judgement.parallel.speed, unit="x") if judgement.parallel else NO_VALUE,
                answer.title,
            )
        )
    return table


def _headline(title: str, subject: str, page: Page) -> list[str]:
    """Return title and subject in one line if they fit, else one below the other."""
    together = f"{title}   {subject}"
    if len(together) <= page.width:
        return [together]
    return [*page.paragraph(title).split("\n"), *page.paragraph(subject, "  ", hang=2).split("\n")]


def _lines(lines: Iterable[str], page: Page) -> str:
    """Return lines, each wrapped where the page is narrow."""
    return "\n".join(page.paragraph(line, hang=2) for line in lines)
