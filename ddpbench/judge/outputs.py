"""Every file that a judgement leaves beside its records, each whole or not at all."""

from ddpbench.files import write_whole
from ddpbench.judge import charts, html, summary
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.verdict import Verdict


def write_all(judged: Judgement, verdict: Verdict) -> str:
    """Write report.html, summary.json, summary.md and the charts into the study's folder. Returns a line about it."""
    pictures, folder = charts.of(judged), judged.study.folder
    page = folder / "report.html"
    write_whole(page, html.render(judged, verdict, pictures).encode())
    written = [page, *summary.write(judged, verdict)]
    for picture in [*pictures, *charts.of_each_arm(judged)]:
        written.append(folder / f"{picture.slug}.png")
        write_whole(written[-1], picture.png)
    return f"in {folder}: {', '.join(path.name for path in written)}"
