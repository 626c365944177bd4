"""The page of faults is whole, what pages show of commands is true, and the published schemas fit our files."""

import ast
import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import jsonschema
import pytest

from ddpbench.judge.outcome import Criteria
from ddpbench.show import answer, summary
from docs import reference, refresh
from tests.conftest import PROJECT
from tests.judge.studies import complete, judge, launches, swept, whole_runs
from tests.records import TRUTH, TWO, at, make_record

PAGE = PROJECT / "docs/faults.md"
ROW = re.compile(r"^\| ([HSCM]?\d+[bcd]?) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[[^`]*\])?`")
HOSTILE, SEVERAL = 16, 19
FAULTS = [str(number) for number in range(1, 81)]
NUMBERS = [
    *FAULTS[:21],
    "21b",
    "21c",
    "21d",
    *FAULTS[21:70],
    *(f"M{n}" for n in range(1, SEVERAL + 1)),
    *FAULTS[70:],
    *(f"H{n}" for n in range(1, HOSTILE + 1)),
    *(f"S{n}" for n in range(1, 21)),
    *(f"C{n}" for n in range(1, 31)),
]


@lru_cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_fault_is_there_once_and_in_order() -> None:
    assert [number for number, *_ in ROW.findall(PAGE.read_text())] == NUMBERS


def test_every_row_is_shown_by_tests_or_says_why_not() -> None:
    unproved = [
        number
        for number, *_, shown in ROW.findall(PAGE.read_text())
        if not re.fullmatch(rf"not tested: [^`]+|{TEST.pattern}(, {TEST.pattern})*", shown)
    ]

    assert unproved == []


def test_every_test_that_the_page_names_exists() -> None:
    named = TEST.findall(PAGE.read_text())

    assert len(named) > 100
    assert [f"{path}::{name}" for path, name, *_ in named if name not in functions(PROJECT / path)] == []


def test_no_interval_is_taken_from_a_clock_that_can_jump() -> None:
    """The time of day is a label; and where there is no /proc, it is all that says when a process began."""
    sources = [*(PROJECT / "ddpbench").rglob("*.py"), *PROJECT.glob("*.py")]
    asks = {
        (path.name, call)
        for path in sources
        for call in re.findall(r"\btime\.(?:time|time_ns|localtime|gmtime)\b|datetime\.\w+(?=\()", path.read_text())
    }

    assert asks == {
        ("entries.py", "datetime.now"),
        ("turns.py", "datetime.now"),
        ("recorder.py", "datetime.fromisoformat"),
        ("folders.py", "datetime.now"),
        ("events.py", "datetime.now"),
        ("files.py", "datetime.fromtimestamp"),
        ("processes.py", "time.time"),
        ("main.py", "datetime.now"),  # of predict, and the next of check: labels
        ("several.py", "datetime.now"),
        ("host.py", "time.time"),  # how far the clocks of hosts are apart is what check looks at
        ("leading.py", "time.time"),
    }


@pytest.mark.parametrize(
    ("path", "loads"), [("ddp_train.py", "Batches.load(cfg, here)"), ("ddpbench/train/turns.py", "found.data(")]
)
def test_data_is_loaded_before_ranks_can_wait_for_each_other(path: str, loads: str) -> None:
    """Ranks meet in `with here`: one that fetches data for minutes is not waited for there."""
    before, met, after = (PROJECT / path).read_text().partition("    with here")

    assert met
    assert before.count(loads) == 1
    assert loads not in after


@pytest.mark.slow
def test_what_the_pages_show_of_commands_is_what_these_print() -> None:
    done = subprocess.run(
        [sys.executable, "docs/refresh.py", "--check"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for page in refresh.PAGES:
        text = page.read_text()
        assert len(re.findall("^<!-- (?:output|text) of: ", text, re.M)) == len(refresh.commands_in(text)), page


def test_old_output_is_found_and_replaced() -> None:
    page = "<!-- output of: a -->\n```text\nold\n```\n<!-- text of: b -->\n\nold\n\n<!-- end of text -->\n"
    outputs = {"a": "new\n", "b": "\nnew\\1\n\n"}
    new = refresh.refreshed(page, outputs)

    assert refresh.commands_in(page) == ["a", "b"] == refresh.stale(page, outputs)
    assert refresh.stale(new, outputs) == []
    assert "\nnew\n```\n" in new
    assert "-->\n\nnew\\1\n\n<!-- end of text -->" in new


def validator(name: str) -> jsonschema.Draft202012Validator:
    """Return a validator of a published schema, which has to be one itself."""
    schema = json.loads((PROJECT / f"docs/schema/{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("name", "files"), [("summary", "summary.json"), ("record", "2*.json"), ("launch", "turns-*.json")]
)
def test_the_example_fits_the_published_schemas_and_other_values_do_not(name: str, files: str) -> None:
    schema, paths = validator(name), sorted((PROJECT / "docs/example").glob(files))
    contents = [json.loads(path.read_text()) for path in paths]

    assert contents
    for content in contents:
        schema.validate(content)
    for other in (contents[0] | {"schema": "six"}, contents[0] | {"settings": {"lr": 0.1}}, {"schema": 6}):
        assert not schema.is_valid(other)


def test_all_that_a_summary_may_lack_or_hold_fits_the_schema(tmp_path: Path) -> None:
    """A sweep, speed alone, half a study, and a whole run that is never shorter."""
    never = [*launches(), *whole_runs(startup_s=(3.0, 7.0), parallel_step_s=TRUTH[at(TWO)])]
    for number, measured in enumerate((swept(), launches(1), [make_record()], complete(), never)):
        judgement = judge(tmp_path / str(number), *measured, criteria=Criteria(price_per_hour=1.0))
        content = json.loads(summary.encode(judgement, answer.write(judgement)))
        validator("summary").validate(content)
    assert content["whole_run"]["ahead_from_epochs"]["most"] is None


def test_every_field_of_a_record_has_its_type_and_its_meaning() -> None:
    page = "\n".join(reference.fields("record"))

    assert "| `train_s` | number | slowest rank; without evaluation and record writing |" in page
    assert "| `epochs` | list of [Epoch](#epoch) |" in page
    assert "| `gpu_models` | list of text |" in page
    assert "| `lr` | number or null | peak learning rate" in page
    assert "None" not in page
