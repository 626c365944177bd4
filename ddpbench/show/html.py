"""What a study says, as one page: report.html. It fetches nothing, and it can be read on a phone and on paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddpbench import __version__
from ddpbench.arm import plural
from ddpbench.errors import one_line
from ddpbench.judge.judgement import Judgement
from ddpbench.show.phrases import OUTCOMES, conditions
from ddpbench.show.sections import sections_of
from ddpbench.show.verdict import Verdict

if TYPE_CHECKING:  # the module imports matplotlib
    from ddpbench.show.charts.style import Chart


def render(judgement: Judgement, verdict: Verdict, charts: "Sequence[Chart]") -> str:
    """Return the page: the verdict, cautions, every chart with its tables, settings, and raw runs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study, outcome = judgement.study, judgement.outcome
    return environment.get_template("report.html.j2").render(
        study=one_line(study.name),
        outcome=outcome or "many",
        outcome_text=OUTCOMES[outcome] if outcome else "one for every batch size",
        paragraphs=[
            ("Verdict", one_line(verdict.verdict)),
            ("Why", one_line(verdict.why)),
            ("Next", one_line(verdict.next)),
        ],
        conditions=conditions(study.newest),
        cautions=list(map(one_line, judgement.cautions)),
        left_out=list(map(one_line, study.left_out)),
        sections=sections_of(judgement, charts),
        version=__version__,
        judged=plural(len(study.all_runs), "run"),
    )
