"""What a study says, as text for a terminal. Every figure has its unit, n and interval."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ddpbench.errors import one_line
from ddpbench.judge.breakdown import Breakdown
from ddpbench.judge.judgement import Judgement
from ddpbench.show.layout import NO_VALUE, Page, Table
from ddpbench.show.phrases import CONCLUSIONS, NOT_MEASURED, conditions, with_interval
from ddpbench.show.tables import (
    SWEEP_LEGEND,
    arms_legend,
    arms_table,
    breakdown_check,
    breakdown_table,
    breakdown_title,
    scaling_table,
    sweep_table,
)
from ddpbench.show.verdict import Verdict

PAGE = Page()


def format_all(judgements: Sequence[Judgement], verdicts: Sequence[Verdict], page: Page = PAGE) -> str:
    """Return the report of each study; after several, also a table with a row for each."""
    parts = [format_report(*each, page) for each in zip(judgements, verdicts, strict=True)]
    if len(parts) > 1:
        parts.append(page.table(studies_table(judgements)))
    return "\n\n\n".join(parts)


def format_report(judgement: Judgement, verdict: Verdict, page: Page = PAGE) -> str:
    """Return the report of one study. The verdict comes first, then the tables, then cautions."""
    sweep, results = judgement.sweep, judgement.results
    parts = [_lines(conditions(judgement.study.newest), page), format_verdict(verdict, page)]
    if sweep is not None:
        parts += [page.table(sweep_table(sweep)), _lines([SWEEP_LEGEND], page)]
    elif results:
        parts += [page.table(arms_table(results)), _lines(arms_legend(results), page)]
    parts += [format_breakdown(each, page) for each in judgement.breakdowns]
    if len(judgement.scaling) > 1:
        parts.append(page.table(scaling_table(judgement.scaling)))
    notes = [page.paragraph(one_line(caution), "caution: ") for caution in judgement.cautions]
    notes += [page.paragraph(one_line(reason), "left out: ") for reason in judgement.study.left_out]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def format_verdict(verdict: Verdict, page: Page = PAGE) -> str:
    """Return the three paragraphs, each behind its word."""
    paragraphs = (("Verdict", verdict.verdict), ("Why", verdict.why), ("Next", verdict.next))
    return "\n".join(page.paragraph(one_line(text), word.ljust(9)) for word, text in paragraphs)


def format_breakdown(breakdown: Breakdown, page: Page = PAGE) -> str:
    """Return the terms of one arm as a table with its title, and the check of the last term."""
    title, check = _lines([breakdown_title(breakdown)], page), _lines(breakdown_check(breakdown), page)
    return f"{title}\n{page.table(breakdown_table(breakdown))}\n{check}".rstrip()


def format_files(written: Iterable[Sequence[Path]], page: Page = PAGE) -> str:
    """Return which files were written, a paragraph for each study. A path stays whole, so that it can be copied."""
    texts = (one_line(f"in {paths[0].parent}: {', '.join(path.name for path in paths)}") for paths in written)
    return "\n".join(page.paragraph(text, hang=2, whole_words=True) for text in texts)


def studies_table(judgements: Sequence[Judgement]) -> Table:
    """Return a row for each study. Studies may be of different machines: their figures are never divided."""
    table: Table = [("study", "machine", "model, batch", "arm", "speedup", "efficiency", "accuracy", "verdict")]
    for judgement in judgements:
        record = judgement.study.newest
        machine, settings = record.environment, record.settings
        hardware = machine.gpu_models[0] if machine.gpu_models else f"{machine.cpu_model}, {machine.cores} cores"
        parallel, comparison, outcome = judgement.parallel, judgement.comparison, judgement.outcome
        accuracy = comparison.accuracy if comparison else None
        table.append(
            (
                one_line(judgement.study.name),
                hardware,
                f"{settings.model}, {'swept' if judgement.sweep else settings.global_batch}",
                parallel.arm.label if parallel else NO_VALUE,
                with_interval(parallel.speedup if parallel else None),
                with_interval(parallel.efficiency if parallel else None, ".0%"),
                f"{100 * accuracy.difference.value:+.2f} points" if accuracy else NOT_MEASURED,
                CONCLUSIONS[outcome] if outcome else "see its own report",
            )
        )
    return table


def _lines(lines: Iterable[str], page: Page) -> str:
    """Return lines, each wrapped where the page is narrow."""
    return "\n".join(page.paragraph(line, hang=2) for line in lines)
