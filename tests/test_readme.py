"""The README shows what the commands print, and points at what is there."""

import re
import subprocess
import sys

import pytest

from ddpbench.judge.judgement import judge
from ddpbench.judge.study import load
from ddpbench.show.phrases import TERMS, capitalized
from docs import refresh
from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text()


@pytest.mark.slow
def test_every_block_is_real_output() -> None:
    done = subprocess.run(
        [sys.executable, "docs/refresh.py", "--check"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert README.count("<!-- output of: ") == len(refresh.FENCED.findall(README)) >= 3
    assert README.count("<!-- text of: ") == len(refresh.MARKDOWN.findall(README)) == 2


def test_the_page_explains_every_term_with_the_examples_figures() -> None:
    told = refresh.MARKDOWN.search(README)

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


def test_links_and_paths_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(r"`((?:ddpbench|tests|docs)/[\w./]*)`", README)

    assert len(targets) > 8
    assert [target for target in targets if not (PROJECT / target).exists()] == []


def test_the_example_was_measured_from_a_commit_on_one_machine() -> None:
    from ddpbench.judge import study

    example = study.load([PROJECT / "docs/example"])

    assert len({record.seed for record in example.records}) >= 3
    assert example.left_out == []
    assert all(record.environment.commit and "dirty" not in record.environment.commit for record in example.records)


def test_the_first_screen_has_the_question_the_commands_the_output_and_the_chart() -> None:
    screen = README.split("## ")[0]

    for shown in (
        "Is data-parallel training faster",
        "bash launch.sh test",
        "  speed  ",
        "  whole run",
        "strip.png",
    ):
        assert shown in screen
