"""Every file that a judgement leaves beside its records, each whole or not at all."""

from ddpbench.errors import one_line
from ddpbench.files import write_whole
from ddpbench.judge.judgement import Judgement
from ddpbench.show import charts, html, summary
from ddpbench.show.layout import Page
from ddpbench.show.verdict import Verdict


def write_all(judged: Judgement, verdict: Verdict, page: Page) -> str:
    """Write report.html, summary.json, summary.md and the charts into the study's folder. Says so."""
    pictures, folder = charts.of(judged), judged.study.folder
    document = folder / "report.html"
    write_whole(document, html.render(judged, verdict, pictures).encode())
    written = [document, *summary.write(judged, verdict)]
    for picture in [*pictures, *charts.of_each_arm(judged)]:
        written.append(folder / f"{picture.slug}.png")
        write_whole(written[-1], picture.png)
    said = one_line(f"in {folder}: {', '.join(path.name for path in written)}")
    return page.paragraph(said, hang=2, whole_words=True)
