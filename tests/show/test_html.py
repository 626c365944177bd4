"""The page: complete, safe to open, and readable on a phone, on a screen, in the dark and on paper."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria
from ddpbench.record import Metric
from ddpbench.show import answer, charts, drawing, explain, html
from ddpbench.show.layout import Page
from tests.judge.studies import complete, faster, judge, launches, scored, swept, whole_runs
from tests.records import MACHINE, ddp, make_launch, make_record
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


BOXES = """
const lines = (e) => Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight));
return Array.from(document.querySelectorAll("#answer dd"), e => [
  e.previousElementSibling.textContent, e.getBoundingClientRect().bottom, lines(e.querySelector("p"))]);
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


def test_cautions_that_touch_the_answer_stand_in_it_and_others_are_folded_away(tmp_path: Path) -> None:
    dirty = msgspec.structs.replace(MACHINE, commit="0123-dirty")
    page = page_of(judge(tmp_path, make_record(environment=dirty), ddp(environment=dirty)))
    answered, _, below = page.partition('<section id="why">')

    assert re.findall("<b>Caution</b>: (.*)</p>", answered) == [
        "an arm has only 1 run: for a usable interval run three seeds or more"
    ]
    assert "Read with a caution" in answered
    assert "<li>the code differed from commit 0123; commit, then run again</li>" in below.partition('id="cautions">')[2]
    assert "Cautions that do not touch the answer: 1" in below
    assert "caution" not in page_of(judge(tmp_path / "calm", *complete())).partition("</style>")[2].lower()


def test_the_text_of_explain_stands_on_the_page(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *complete())
    page = " ".join(unescape(re.sub("<[^>]*>", "", page_of(judgement))).split())
    said = re.sub(r"[*`]|(?<=\n) *- ", "", explain.explain(judgement, Page()))

    assert len(said) > 2000
    assert [text for text in said.split("\n\n") if " ".join(text.split()) not in page] == []


def test_a_speed_without_an_interval_has_no_strip(tmp_path: Path) -> None:
    assert 'class="strip"' not in page_of(judge(tmp_path / "one", *launches(1)))
    assert 'class="strip"' in page_of(judge(tmp_path / "two", *launches(2)))


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
    words_at, launches_at, runs_at = (
        page.index(f'<details id="{slug}">') for slug in ("words", "every-launch", "runs")
    )

    assert words_at < launches_at < runs_at
    assert "<td>9</td><td>9.0</td><td>0.5 %</td><td>0.800x</td>" in re.sub(r">\s+<", "><", page)
    assert "DDP&#39;s bookkeeping, +0.50 ms" in page


def test_a_study_of_launches_alone_has_no_runs(tmp_path: Path) -> None:
    page = page_of(judge(tmp_path, *launches()))

    assert "Raw runs" not in page
    assert "judged from 5 launches</p>" in page


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
    menu = browser.find_elements(By.CSS_SELECTOR, "nav a")
    targets = [each.get_attribute("href").partition("#")[2] for each in menu]
    assert [each.text for each in menu] == [
        browser.find_element(By.CSS_SELECTOR, f"section[id='{slug}'] > h2").text for slug in targets
    ]
    assert len(menu) == levels.count(2) - 1  # the first is the outcome, which stands on the first screen
    assert all(len(browser.find_elements(By.TAG_NAME, name)) == 1 for name in ("header", "nav", "main", "footer"))
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"


@pytest.mark.slow
def test_a_table_is_sorted_up_down_and_as_it_was(browser: Chrome) -> None:
    def column() -> list[float]:
        return [float(each.text) for each in browser.find_elements(By.CSS_SELECTOR, "#runs tbody td:nth-child(6)")]

    browser.find_element(By.CSS_SELECTOR, "#runs summary").click()
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
    sheets = browsers.pages_on_paper(browser)
    browser.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert browsers.pages_on_paper(browser) == sheets
    clipped = "return Array.from(document.querySelectorAll('.table')).filter(e => e.scrollWidth > e.clientWidth).length"
    assert browser.execute_script(clipped) == 0
    browser.execute_script("document.querySelectorAll('details').forEach(e => { e.remove(); })")
    assert browsers.pages_on_paper(browser) < sheets


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(375, 800), (1440, 900)])
def test_the_first_screen_has_the_whole_answer(width: int, height: int, browser: Chrome, tmp_path: Path) -> None:
    dear = judge(tmp_path / "dear", *complete(times=1.25), criteria=Criteria(price_per_hour=1.0))
    path = tmp_path / "dear.html"
    path.write_text(page_of(dear), encoding="utf-8")
    browser.get(path.as_uri())
    browsers.resize(browser, width, height)
    boxes = browser.execute_script(BOXES)
    words, lows, lines = zip(*boxes, strict=True)

    assert words == ("speed", "accuracy", "whole run", "cost", "so")
    assert max(lows) <= height
    assert max(lines) <= 3
    assert browser.find_element(By.CSS_SELECTOR, "#answer h2").text == "FASTER"
    strip = {
        name: browser.find_element(By.CSS_SELECTOR, f".strip {name}").rect for name in (".interval", ".equal", "circle")
    }
    assert strip[".equal"]["x"] < strip[".interval"]["x"] < strip["circle"]["x"]


@pytest.mark.slow
def test_what_is_folded_opens_by_mouse_and_by_keyboard_and_without_a_script(
    browser: Chrome, page: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.html"
    plain.write_text(re.sub("<script>.*</script>", "", page.read_text(), flags=re.S))
    for each in (page, plain):
        browser.get(each.as_uri())
        settings, words = (browser.find_element(By.ID, slug) for slug in ("settings", "words"))
        assert "one-cycle" not in settings.text
        assert browser.find_element(By.CSS_SELECTOR, "#settings tbody").is_displayed() is False
        settings.find_element(By.TAG_NAME, "summary").click()
        words.find_element(By.TAG_NAME, "summary").send_keys("\ue007")  # Enter

        assert "one-cycle" in settings.text
        assert "one update of the weights" in words.text
        buttons = browser.find_elements(By.TAG_NAME, "button")
        assert bool(buttons) == (each == page), "a button that does nothing"
        assert browser.find_element(By.ID, "sorting").is_displayed() == (each == page)


@pytest.mark.slow
def test_a_sweep_another_metric_and_a_study_that_cannot_tell_fit_a_phone_in_the_dark(
    browser: Chrome, tmp_path: Path
) -> None:
    metric = Metric(name="x" * 40, unit="mg/dl", lower_is_better=True, margin=0.5, parts=[], counts=[9.0])
    unsure = [make_launch(n, lambda turn, _, n=n: 1 + n * (turn.arm.world_size - 1)) for n in range(2)]  # type: ignore[misc]
    studies = {
        "sweep": swept((64, 256, 1024)),
        "metric": [*launches(6, faster(1.25)), *scored(metric, [(12.2, 14.1), (12.3, 14.3), (12.4, 14.5)])],
        "unsure": [*unsure, *whole_runs(1)],
    }
    browsers.resize(browser, 375, 800)
    browsers.emulate(browser, scheme="dark")
    for name, measured in studies.items():
        path = tmp_path / f"{name}.html"
        path.write_text(page_of(judge(tmp_path / name, *measured)), encoding="utf-8")
        browser.get(path.as_uri())
        browser.execute_script("document.querySelectorAll('details').forEach(e => { e.open = true; })")

        assert browser.execute_script("return document.documentElement.scrollWidth") <= 375, name
        assert browser.execute_script(CONTRAST) == [], name
        lows = [low for _, low, _ in browser.execute_script(BOXES)]
        assert max(lows) <= 800, name
