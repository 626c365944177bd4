"""What a study says, as Markdown: summary.md, for pull requests."""

from collections.abc import Iterable

from ddpbench.errors import one_line
from ddpbench.judge.judgement import Judgement
from ddpbench.show.layout import Table
from ddpbench.show.phrases import conditions
from ddpbench.show.tables import arms_table, breakdown_table, scaling_table, sweep_table
from ddpbench.show.verdict import Verdict


def format_markdown(judgement: Judgement, verdict: Verdict) -> str:
    """Return the verdict, the tables, cautions and conditions of a study."""
    sweep, results = judgement.sweep, judgement.results
    paragraphs = [f"**Verdict** {verdict.verdict}", f"**Why** {verdict.why}", f"**Next** {verdict.next}"]
    tables = [sweep_table(sweep)] if sweep else [arms_table(results)] if results else []
    tables += map(breakdown_table, judgement.breakdowns)
    if len(judgement.scaling) > 1:
        tables.append(scaling_table(judgement.scaling))
    notes = [f"- caution: {caution}" for caution in judgement.cautions]
    notes += [f"- left out: {reason}" for reason in judgement.study.left_out]
    notes.append(f"_{'; '.join(conditions(judgement.study.newest))}_")
    return "\n\n".join([*map(one_line, paragraphs), *map(_table, tables), *map(one_line, notes)]) + "\n"


def _table(table: Table) -> str:
    names, *rows = table
    return "\n".join(map(_row, [names, ["-"] * len(names), *rows]))


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"
