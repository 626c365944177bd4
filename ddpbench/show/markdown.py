"""What a study says, as Markdown: summary.md, for pull requests."""

from collections.abc import Iterable

from ddpbench.errors import one_line
from ddpbench.judge import cautions
from ddpbench.judge.judgement import Judgement
from ddpbench.show.answer import Answer
from ddpbench.show.figures import name_of
from ddpbench.show.layout import Table
from ddpbench.show.phrases import conditions
from ddpbench.show.tables import arms_notes, arms_table, sweep_table

ROWS = ("speed", "whole run", "range", "fit", "check", "cost", "so")  # beside the metric; reasons stand in the report


def format_markdown(judgement: Judgement, answer: Answer) -> str:
    """Return the answer in a few lines, one table, cautions, and the conditions of a study."""
    parts = [f"**{one_line(answer.title)}** {one_line(answer.subject)}"]
    shown = (*ROWS, name_of(judgement.study.newest))
    rows = [f"- {word}: {one_line(text)}" for word, text in answer.rows if word in shown]
    parts.append("\n".join(rows))
    if judgement.sweep is not None:
        parts.append(_table(sweep_table(judgement.sweep)))
    elif judgement.results:
        parts += [_table(arms_table(judgement)), one_line("; ".join(arms_notes(judgement)))]
    notes = [f"- caution: {one_line(caution)}" for caution in cautions.find(judgement)]
    notes += [f"- left out: {one_line(reason)}" for reason in judgement.study.left_out]
    if notes:
        parts.append("\n".join(notes))
    parts.append(f"_{one_line('; '.join(conditions(judgement.study.newest, swept=judgement.sweep is not None)))}_")
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    names, *rows = table
    return "\n".join(map(_row, [names, ["-"] * len(names), *rows]))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"
