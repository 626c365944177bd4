"""Which files are records, of runs or of turns. Others are passed over and named; a damaged record is refused."""

import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from os.path import isdir
from pathlib import Path
from typing import NamedTuple

import msgspec

from ddpbench.command import COMMAND
from ddpbench.errors import UserError, one_line
from ddpbench.record import MAX_BYTES, Record

SUMMARY, PLAN = "summary.json", "plan.json"  # JSON files that ddpbench writes and that are no records
TURNS_NAME = re.compile(r"turns-\d{3,}\.json")
RUN_NAME = re.compile(r"\d{8}-\d{6}-.+\.json")  # the name that a run gives its record
HEAD_BYTES = 65_536  # of a damaged file that are searched for names
MIN_FIELDS = 5  # a file without `schema` is a record if it has so many of a record's fields
MAX_NAMED = 10  # files in one line


class Found(NamedTuple):
    """The files that were named, or that a folder has."""

    records: list[Path]  # of whole runs, damaged ones among them
    turns: list[Path]  # records of launches of turns
    others: list[Path]  # no records; without SUMMARY and PLAN


def split(paths: Iterable[Path]) -> Found:
    """Split files by what they hold."""
    found = Found([], [], [])
    for path in paths:
        if TURNS_NAME.fullmatch(path.name):
            found.turns.append(path)
        elif path.name not in (SUMMARY, PLAN):
            (found.records if is_record(path) else found.others).append(path)
    return found


def newest_study(folder: Path) -> Found:
    """Return the files of the newest study in `folder`: in the folder itself, or one level below.

    The newest study is the one in which a run or a launch began last. Raises UserError if there is no record.
    """
    inside = [path for path in _entries(folder) if not path.name.startswith(".") and isdir(path)]  # noqa: PTH112 - raises nothing
    readable = [place for place in inside if os.access(place, os.R_OK | os.X_OK)]
    studies = [split_folder(place) for place in (folder, *readable)]
    with_records = [found for found in studies if found.records or found.turns]
    if not with_records:
        also = f" ({named(studies[0].others)}: no records)" if studies[0].others else ""
        raise UserError(f"no records in {folder}{also}; run: {COMMAND}")
    return max(with_records, key=lambda found: max(map(_moment, [*found.records, *found.turns])))


def split_folder(folder: Path) -> Found:
    """Split the JSON files of a folder like `split`. Hidden ones belong to other programs and are never records."""
    paths = [path for path in _entries(folder) if path.suffix == ".json"]
    plain = [path for path in paths if not path.name.startswith(".") and path.is_file()]
    found = split(plain)
    return found._replace(others=sorted([*found.others, *(path for path in paths if path not in plain)]))


def is_record(path: Path) -> bool:
    """Return whether a file is a record, or was one before it was damaged: by its name, or by the names in it."""
    if RUN_NAME.fullmatch(path.name):
        return True
    try:
        if path.exists() and not path.is_file():
            return False
        with path.open("rb") as file:
            return _has_fields_of_a_record(file.read(MAX_BYTES))
    except OSError:
        return True  # `read_record` will say why it cannot be read


def named(paths: list[Path]) -> str:
    """Name files in one line: the first MAX_NAMED, and how many more there are."""
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(one_line(path.name) for path in paths[:MAX_NAMED]) + more


def _has_fields_of_a_record(content: bytes) -> bool:
    fields = set(Record.__struct_fields__)
    try:
        value = msgspec.json.decode(content)
        names = set(value) if isinstance(value, dict) else set()
        foreign = len(names - fields)
    except (ValueError, RecursionError):
        # The file is damaged. Names of inner objects are found as well, so foreign names prove nothing.
        names, foreign = {name.decode() for name in re.findall(rb'"(\w{1,40})"\s*:', content[:HEAD_BYTES])}, 0
    known = names & fields
    return ("schema" in known or len(known) >= MIN_FIELDS) and len(known) > foreign


def _moment(path: Path) -> str:
    """Return when a run began. For a damaged record that does not tell, return when the file was last written."""
    try:
        with path.open("rb") as file:
            match = re.search(rb'"started_at"\s*:\s*"([^"]*)"', file.read(HEAD_BYTES))
        written = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat()
    except OSError:
        return ""
    return match[1].decode(errors="replace") if match else written


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as problem:
        raise UserError(f"cannot read {folder}: {problem.strerror}") from problem
