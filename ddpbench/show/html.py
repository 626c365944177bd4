"""What a study says, as one page: report.html. It fetches nothing, and it can be read on a phone and on paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddpbench import __version__
from ddpbench.arm import plural
from ddpbench.errors import one_line
from ddpbench.judge import cautions
from ddpbench.judge.judgement import Judgement
from ddpbench.show import explain
from ddpbench.show.answer import Answer
from ddpbench.show.phrases import conditions
from ddpbench.show.sections import sections_of
from ddpbench.show.strip import Strip, place
from ddpbench.show.tables import count

if TYPE_CHECKING:  # the module imports matplotlib
    from ddpbench.show.charts.style import Chart


def render(judgement: Judgement, answer: Answer, charts: "Sequence[Chart]") -> str:
    """Return the page: the answer on its first screen, then why, pictures, and all else folded away."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = judgement.study
    return environment.get_template("report.html.j2").render(
        study=one_line(study.name),
        outcome=judgement.outcome or "many",
        title=answer.title,
        subject=one_line(answer.subject),
        rows=[(row.word, one_line(row.lead)) for row in answer.entries if row.lead],
        strip=_strip(judgement),
        margin=1 + judgement.criteria.speed,
        percent="{:.2%}".format,
        cautions=[one_line(caution.text) for caution in cautions.collect(judgement) if caution.touches],
        conditions=conditions(study.newest, swept=judgement.sweep is not None),
        reasons=_reasons(answer),
        why="Batch by batch" if judgement.sweep else "Why",
        opening="" if judgement.sweep else explain.opening(judgement),
        paragraphs=explain.paragraphs(judgement),
        parts=sections_of(judgement, charts),
        version=__version__,
        judged=_judged(judgement),
    )


def _reasons(answer: Answer) -> list[tuple[str, list[str]]]:
    """Return what explains the rows of the answer, the way of a step first."""
    rows = sorted((row for row in answer.entries if row.more), key=lambda row: row.word != "why")
    return [("a step" if row.word == "why" else row.word, list(map(one_line, row.more))) for row in rows]


def _strip(judgement: Judgement) -> Strip | None:
    """Return the interval of the speed, as it is drawn below its figures."""
    speed = judgement.comparison.speed if judgement.comparison else None
    return None if speed is None else place(speed)


def _judged(judgement: Judgement) -> str:
    """Return what the answer rests on: `8 launches and 6 runs`."""
    launches, runs = len(judgement.study.launches), len(judgement.study.records)
    counted = [count(launches, "launch")] if launches else []
    return " and ".join(counted + ([plural(runs, "run")] if runs else []))
