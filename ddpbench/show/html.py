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
from ddpbench.show.answer import Answer
from ddpbench.show.phrases import conditions
from ddpbench.show.sections import sections_of
from ddpbench.show.tables import count

if TYPE_CHECKING:  # the module imports matplotlib
    from ddpbench.show.charts.style import Chart


def render(judgement: Judgement, answer: Answer, charts: "Sequence[Chart]") -> str:
    """Return the page: the answer, every chart with its tables, cautions, settings, launches and raw runs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = judgement.study
    judged = [count(len(study.launches), "launch")] if study.launches else []
    judged += [plural(len(study.records), "run")] if study.records else []
    return environment.get_template("report.html.j2").render(
        study=one_line(study.name),
        outcome=judgement.outcome or "many",
        title=answer.title,
        subject=one_line(answer.subject),
        rows=[(word, list(map(one_line, text.split("\n")))) for word, text in answer.rows],
        conditions=conditions(study.newest, swept=judgement.sweep is not None),
        cautions=list(map(one_line, cautions.find(judgement))),
        left_out=list(map(one_line, study.left_out)),
        sections=sections_of(judgement, charts),
        version=__version__,
        judged=" and ".join(judged),
    )
