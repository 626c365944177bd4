"""The page of faults is whole, and what it points at is there."""

import ast
import re
from functools import lru_cache
from pathlib import Path

from tests.conftest import PROJECT

PAGE = PROJECT / "docs/faults.md"
ROW = re.compile(r"^\| ([HSC]?\d+[bcd]?) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[[^`]*\])?`")
HOSTILE = 16
FAULTS = [str(number) for number in range(1, 81)]
NUMBERS = [
    *FAULTS[:21],
    "21b",
    "21c",
    "21d",
    *FAULTS[21:],
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
    }
