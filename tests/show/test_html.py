"""The page: complete, safe to open, and readable on a phone, on a screen, in the dark and on paper."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from ddpbench.judge.judgement import Judgement
from ddpbench.show import answer, charts, drawing, html
from tests.judge.studies import complete, judge, launches, swept
from tests.records import ddp, make_record
from tests.show import browser as browsers

CONTRAST = """
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parts = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = parts(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const poor = [];
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), parent = walker.currentNode.parentElement;
  if (!text || ["SCRIPT", "STYLE"].includes(parent.tagName)) continue;
  const style = getComputedStyle(parent);
  const [a, b] = [light(parts(parent.closest("svg") ? style.fill : style.color)), light(behind(parent))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${text}: ${ratio.toFixed(2)}`);
}
return poor;
"""


@dataclass(frozen=True)
class Fake:
    """A chart without matplotlib."""

    slug: str = "comparison"
    finding: str = "Two are faster than one"
    conditions: str = "Test CPU\nn = 3"
    alt: str = "Two bars."
    svg: str = (
        '<?xml version="1.0"?>\n<svg width="9pt" viewBox="0 0 9 9"><path id="axes_1" style="fill: #222222"/></svg>'
    )


def page_of(judgement: Judgement, pictures: object = ()) -> str:
    return html.render(judgement, answer.write(judgement), pictures)  # type: ignore[arg-type]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    judgement = judge(tmp_path / "a study", *complete())
    path = tmp_path / "report.html"
    path.write_text(page_of(judgement, charts.build(judgement)), encoding="utf-8")
    return path


@pytest.fixture
def browser(page: Path, tmp_path: Path) -> Iterator[Chrome]:
    with browsers.opened(page, tmp_path / "profile") as opened:
        yield opened


def test_hostile_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    judgement = judge(tmp_path, make_record(), ddp())
    name = "<script>alert(1)</script>\x1b[31m\u202e"
    study = replace(judgement.study, name=name, left_out=[name, '"><img onerror=x>'])
    hostile = replace(judgement, study=study)
    page = page_of(hostile, [Fake(finding="<b>bold</b>\x1b", alt='"><b>')])

    assert not re.search("<script>alert|<img|<b>bold|\x1b|\u202e", page)
    assert 'aria-label="&quot;&gt;&lt;b&gt;"' in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    "inside",
    [
        "<script/>",
        '<path onload="x()"/>',
        '<use href="https://example.org/x"/>',
        '<path style="fill: url(https://example.org/x)"/>',
        "<foreignObject/>",
    ],
)
def test_a_chart_that_could_act_is_refused(inside: str) -> None:
    with pytest.raises(ValueError, match="an SVG of ours"):
        drawing.embed(Fake(svg=f"<svg>{inside}</svg>"))  # type: ignore[arg-type]


def test_a_drawing_takes_the_width_and_the_colours_of_the_page() -> None:
    svg = drawing.embed(Fake())  # type: ignore[arg-type]

    assert 'id="comparison-axes_1"' in svg
    assert "fill: currentColor" in svg
    assert "width=" not in svg


def test_nothing_is_fetched_and_no_id_is_used_twice(page: Path) -> None:
    text = page.read_text()
    ids = Counter(re.findall(r'\sid="([^"]*)"', text))

    assert not re.search(r"https?:|@import|src=|<link", text)
    assert [name for name, count in ids.items() if count > 1] == []
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_every_run_is_listed_and_a_thousand_are_quick(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *complete())
    many = replace(judgement, study=replace(judgement.study, records=judgement.study.records * 170))
    start = time.perf_counter()
    page = page_of(many)

    assert time.perf_counter() - start < 2
    assert len(re.findall(r"2026-11-24T00:0[\d:.+]*</td>", page)) == len(many.study.records) > 1000


def test_a_sweep_has_its_table_and_no_outcome_of_its_own(tmp_path: Path) -> None:
    page = page_of(judge(tmp_path, *swept((64, 256, 1024))))

    assert "<h2>FASTER FROM BATCH 1024 ON</h2>" in page
    assert "one process, ms" in page
    assert "Raw runs" not in page
    assert len(re.findall(r"2026-11-23T23:0[\d:.+]*</td>", page)) == 3  # launches


def test_what_was_not_measured_is_left_out_or_said(tmp_path: Path) -> None:
    page = page_of(judge(tmp_path, ddp()))

    assert "<h2>CANNOT TELL</h2>" in page
    assert "train a single process" in page


def test_launches_stand_beside_runs_and_words_are_explained(tmp_path: Path) -> None:
    page = page_of(judge(tmp_path, *complete()))
    launches_at, words_at, runs_at = (page.index(f'<section id="{slug}">') for slug in ("launches", "words", "runs"))

    assert launches_at < words_at < runs_at
    assert "<td>9</td><td>9.0</td><td>0.5 %</td><td>0.800x</td>" in re.sub(r">\s+<", "><", page)
    assert "DDP&#39;s bookkeeping, +0.50 ms" in page


def test_a_study_of_launches_alone_has_no_runs(tmp_path: Path) -> None:
    page = page_of(judge(tmp_path, *launches()))

    assert "Raw runs" not in page
    assert "Judged from 5 launches by" in page


@pytest.mark.slow
def test_the_page_asks_for_nothing_and_reports_no_error(browser: Chrome, page: Path) -> None:
    assert browsers.requested(browser, page) == [page.as_uri()]
    assert browser.get_log("browser") == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [375, 1440])
def test_the_page_fits_a_phone_and_a_screen(width: int, browser: Chrome, tmp_path: Path) -> None:
    browsers.resize(browser, width)
    boxes = browser.execute_script(
        "return Array.from(document.querySelectorAll('figure svg'), s => s.getBoundingClientRect().toJSON())"
    )

    assert len(boxes) >= 6
    assert all(box["width"] > 300 and box["height"] > 50 and 0 <= box["left"] < box["right"] <= width for box in boxes)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for scheme in ("light", "dark"):
        browsers.emulate(browser, scheme=scheme)
        browsers.photograph(browser, tmp_path / f"{width}-{scheme}.png")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(scheme: str, browser: Chrome) -> None:
    browsers.emulate(browser, scheme=scheme)

    assert browser.execute_script(CONTRAST) == []


@pytest.mark.slow
def test_the_page_can_be_walked_without_seeing_it(browser: Chrome) -> None:
    levels = [int(each.tag_name[1]) for each in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
    images = browser.find_elements(By.CSS_SELECTOR, "svg[role=img]")

    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(each.get_attribute("aria-label") for each in images)
    assert len(images) == len(browser.find_elements(By.TAG_NAME, "svg"))
    assert all(len(browser.find_elements(By.TAG_NAME, name)) == 1 for name in ("header", "nav", "main", "footer"))
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


@pytest.mark.slow
def test_a_table_is_sorted_up_down_and_as_it_was(browser: Chrome) -> None:
    def column() -> list[float]:
        return [float(each.text) for each in browser.find_elements(By.CSS_SELECTOR, "#runs tbody td:nth-child(6)")]

    as_made = column()
    head = browser.find_element(By.CSS_SELECTOR, "#runs th:nth-child(6)")
    button = head.find_element(By.TAG_NAME, "button")
    for order, expected in (
        ("ascending", sorted(as_made)),
        ("descending", sorted(as_made, reverse=True)),
        ("none", as_made),
    ):
        button.send_keys("\ue007")  # Enter

        assert head.get_attribute("aria-sort") == order
        assert column() == expected
        assert (column() == as_made) == (order == "none")


@pytest.mark.slow
def test_paper_shows_everything(browser: Chrome, tmp_path: Path) -> None:
    browsers.emulate(browser, media="print", scheme="dark")
    browsers.resize(browser, 700)
    browsers.photograph(browser, tmp_path / "print.png")

    assert browser.execute_script("return getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    hidden = "main svg, main table, main tr, main p, main h2"
    script = "return Array.from(document.querySelectorAll(arguments[0])).filter(e => !e.getClientRects().length).length"
    assert browser.execute_script(script, hidden) == 0
    clipped = "return Array.from(document.querySelectorAll('.table')).filter(e => e.scrollWidth > e.clientWidth).length"
    assert browser.execute_script(clipped) == 0
