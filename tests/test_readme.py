"""The README shows what the commands print, and points at what is there."""

import re
from pathlib import Path

import pytest

from ddpbench.judge.judgement import judge
from ddpbench.judge.study import load
from ddpbench.show.phrases import TERMS, capitalized
from docs import refresh
from tests.conftest import PROJECT
from tests.test_site import FENCE

README = (PROJECT / "README.md").read_text()


def test_it_is_short_and_its_code_is_narrow() -> None:
    code = [line for block in re.findall(r"^```\w+\n(.*?)^```$", README, re.M | re.S) for line in block.splitlines()]

    assert len(README.splitlines()) <= 130
    assert len(README.encode()) <= 8_000
    assert len(code) > 30
    assert [line for line in code if len(line) > 96] == []
    assert "sweep.png" in "\n".join(README.splitlines()[:15]), "a picture before anything is explained"


@pytest.mark.parametrize("page", refresh.PAGES, ids=lambda page: page.name)
def test_code_on_a_page_is_as_wide_as_the_site(page: Path) -> None:
    """What is wider scrolls on a screen, and breaks on paper."""
    code = [line for _, _, body in FENCE.findall(page.read_text()) for line in body.splitlines()]

    assert [line for line in code if len(line) > 96] == []


def test_the_page_explains_every_term_with_the_examples_figures() -> None:
    told = refresh.MARKDOWN.search((PROJECT / "docs/reading-a-report.md").read_text())

    assert told is not None
    breakdown = judge(load([PROJECT / "docs/example"])).breakdown
    assert breakdown is not None
    for cause in {cause for term in breakdown.terms for cause in term.causes} - {"ideal"}:
        assert capitalized(TERMS[cause]) in told["shown"] or TERMS[cause] in told["shown"]
    assert "not measured" not in told["shown"]
    assert "**Start-up, " in told["shown"]


def test_the_page_of_benchmarks_shows_their_last_figures() -> None:
    from benchmarks.__main__ import COMMANDS, page

    assert (PROJECT / "benchmarks/README.md").read_text() == page()
    assert [name for name in COMMANDS if not (PROJECT / f"benchmarks/last/{name}.json").exists()] == []


def test_the_examples_were_measured_from_a_commit_on_one_machine() -> None:
    example, swept = (load([PROJECT / "docs" / name]) for name in ("example", "example-sweep"))

    assert len({record.seed for record in example.records}) >= 3
    assert len(swept.launches) >= 5
    assert example.left_out == swept.left_out == []
    for each in (*example.records, *example.launches, *swept.launches):
        assert each.environment.commit
        assert "dirty" not in each.environment.commit


def test_the_first_screen_has_the_question_the_commands_and_the_answer() -> None:
    screen = README.split("## Why")[0]

    for shown in (
        "Will a second worker train my model faster",
        "bash launch.sh\n",
        "  speed  ",
        "  whole run",
        " minutes ",
    ):
        assert shown in screen


def test_what_people_search_for_is_there() -> None:
    for words in ("DataParallel or DDP slower", "`nn.DataParallel` my program runs slower", "DistributedDataParallel"):
        assert words in README
