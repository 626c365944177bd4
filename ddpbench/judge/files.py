"""Which files are records of runs. What is none is passed over and named; a damaged record is not, and is refused."""

import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from os.path import isdir
from pathlib import Path

import msgspec

from ddpbench.errors import UserError, one_line
from ddpbench.record import MAX_BYTES, Record

SUMMARY, PLAN = "summary.json", "plan.json"  # ours, and no records
RUN_NAME = re.compile(r"\d{8}-\d{6}-.+\.json")  # as a run names its record
HEAD_BYTES = 65_536
FEWEST_NAMES = 5  # of a record's fields, in a file that does not say its schema
MOST_NAMED = 10


def split(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Part files into records, damaged ones among them, and strays. Our own files that are no records are neither."""
    records: list[Path] = []
    strays: list[Path] = []
    for path in paths:
        if path.name not in (SUMMARY, PLAN):
            (records if is_record(path) else strays).append(path)
    return records, strays


def newest_study(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return records and strays of the study in which a run began last: `folder` itself, or a folder in it.

    Raises UserError where there is no record.
    """
    inside = [path for path in _entries(folder) if not path.name.startswith(".") and isdir(path)]  # noqa: PTH112 - raises nothing
    studies = [split_folder(folder), *(split_folder(place) for place in inside if os.access(place, os.R_OK | os.X_OK))]
    able = [(records, strays) for records, strays in studies if records]
    if not able:
        also = f" ({named(studies[0][1])}: no records)" if studies[0][1] else ""
        raise UserError(
            f"no records in {folder}{also}; run: bash launch.sh, or baseline_train.py and then ddp_train.py"
        )
    return max(able, key=lambda study: max(map(_moment, study[0])))


def split_folder(place: Path) -> tuple[list[Path], list[Path]]:
    """Part the JSON files of a folder. Hidden ones are other programs' notes about files, and never records."""
    found = [path for path in _entries(place) if path.suffix == ".json"]
    shown = [path for path in found if not path.name.startswith(".") and path.is_file()]
    records, strays = split(shown)
    return records, sorted([*strays, *(path for path in found if path not in shown)])


def is_record(path: Path) -> bool:
    """Whether a file is a record, or was one before it was damaged: by its name, or by the names in it."""
    if RUN_NAME.fullmatch(path.name):
        return True
    try:
        if path.exists() and not path.is_file():
            return False
        with path.open("rb") as file:
            return _has_names_of_a_record(file.read(MAX_BYTES))
    except OSError:
        return True  # reading it as one says why it cannot be read


def named(paths: list[Path]) -> str:
    """Name files in one line: the first, and how many more."""
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return ", ".join(one_line(path.name) for path in paths[:MOST_NAMED]) + more


def _has_names_of_a_record(content: bytes) -> bool:
    known = set(Record.__struct_fields__)
    try:
        value = msgspec.json.decode(content)
        names = set(value) if isinstance(value, dict) else set()
        others = len(names - known)
    except (ValueError, RecursionError):  # torn: then the names of its parts are among them
        names, others = {name.decode() for name in re.findall(rb'"(\w{1,40})"\s*:', content[:HEAD_BYTES])}, 0
    ours = names & known
    return ("schema" in ours or len(ours) >= FEWEST_NAMES) and len(ours) > others


def _moment(path: Path) -> str:
    """Return when a run began; of a damaged record that does not say so, when it was last written."""
    try:
        with path.open("rb") as file:
            found = re.search(rb'"started_at"\s*:\s*"([^"]*)"', file.read(HEAD_BYTES))
        written = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat()
    except OSError:
        return ""
    return found[1].decode(errors="replace") if found else written


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as problem:
        raise UserError(f"cannot read {folder}: {problem.strerror}") from problem
