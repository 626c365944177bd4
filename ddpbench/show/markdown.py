"""What a study says, as Markdown: summary.md, for pull requests."""

from collections.abc import Iterable, Iterator, Sequence

from ddpbench.errors import one_line
from ddpbench.judge import cautions
from ddpbench.judge.judgement import Judgement
from ddpbench.show.answer import Answer, Row
from ddpbench.show.figures import name_of
from ddpbench.show.layout import Table
from ddpbench.show.phrases import conditions
from ddpbench.show.tables import arms_notes, arms_table, sweep_table


def format_markdown(judgement: Judgement, answer: Answer) -> str:
    """Return the answer in three lines, the cautions that touch it, and one table. All else is folded."""
    found = ("speed", "range", name_of(judgement.study.newest))
    leads = [row for row in answer.entries if row.lead]
    lines = [_line(row for row in leads if (row.word in found) is is_found) for is_found in (True, False)]
    collected = cautions.collect(judgement)
    lines += [f"- **caution** {_plain(caution.text)}" for caution in collected if caution.touches]
    parts = [f"**{_plain(answer.title)}** {_plain(answer.subject)}", "\n".join(filter(None, lines))]
    if judgement.sweep is not None:
        parts.append(_table(sweep_table(judgement.sweep)))
    elif judgement.results:
        parts.append(_table(arms_table(judgement)))
    others = [caution.text for caution in collected if not caution.touches]
    parts += [
        "<details><summary>Why, and where it was measured</summary>",
        "\n".join(_folded(judgement, answer, others)),
        "</details>",
    ]
    return "\n\n".join(parts) + "\n"


def _line(rows: Iterable[Row]) -> str:
    """Return rows in one line, each behind its word; no text without rows."""
    text = "; ".join(f"**{_plain(row.word)}** {_plain(row.lead)}" for row in rows)
    return text and f"- {text}"


def _folded(judgement: Judgement, answer: Answer, others: Sequence[str]) -> Iterator[str]:
    """Yield what explains the answer, other cautions, what is left out, how to read the table, and the conditions."""
    for row in answer.entries:
        yield from (f"- {_plain(row.word)}: {_plain(text)}" for text in row.more)
    yield from (f"- caution: {_plain(text)}" for text in others)
    yield from (f"- left out: {_plain(reason)}" for reason in judgement.study.left_out)
    if judgement.results:
        yield from (f"- {_plain(note)}" for note in arms_notes(judgement))
    yield from (f"- {_plain(text)}" for text in conditions(judgement.study.newest, swept=judgement.sweep is not None))


def _table(table: Table) -> str:
    names, *rows = table
    return "\n".join(map(_row, [names, ["-"] * len(names), *rows]))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Return one line in which nothing is HTML: a name must not end the folded part."""
    return one_line(text).replace("<", "&lt;")
