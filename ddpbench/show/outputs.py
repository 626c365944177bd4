"""The files that compare.py writes beside the records of a study. Each is written whole or not at all."""

from pathlib import Path

from ddpbench.files import write_whole
from ddpbench.judge.files import SUMMARY
from ddpbench.judge.judgement import Judgement
from ddpbench.show import charts, html, markdown, summary
from ddpbench.show.answer import Answer


def write_all(judgement: Judgement, answer: Answer) -> list[Path]:
    """Write report.html, summary.json, summary.md and the charts into the study's folder. Returns their paths.

    Raises DiskError for the first that cannot be written.
    """
    pictures = charts.build(judgement)
    contents = {
        "report.html": html.render(judgement, answer, pictures).encode(),
        SUMMARY: summary.encode(judgement, answer),
        "summary.md": markdown.format_markdown(judgement, answer).encode(),
    }
    contents |= {f"{picture.slug}.png": picture.png for picture in [*pictures, *charts.build_originals(judgement)]}
    for name, content in contents.items():
        write_whole(judgement.study.folder / name, content)
    return [judgement.study.folder / name for name in contents]
