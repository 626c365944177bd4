"""Which files are records of runs. Other files are passed over and named; a damaged record is refused."""

import os
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from os.path import isdir
from pathlib import Path

import msgspec

from ddpbench.errors import UserError, one_line
from ddpbench.record import MAX_BYTES, Record

SUMMARY, PLAN = "summary.json", "plan.json"  # JSON files that ddpbench writes and that are no records
RUN_NAME = re.compile(r"\d{8}-\d{6}-.+\.json")  # the name that a run gives its record
HEAD_BYTES = 65_536  # of a damaged file that are searched for names
MIN_FIELDS = 5  # a file without `schema` is a record if it has so many of a record's fields
MAX_NAMED = 10  # files in one line


def split(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Split files into records (damaged ones among them) and other files. SUMMARY and PLAN are in neither list."""
    records: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if path.name not in (SUMMARY, PLAN):
            (records if is_record(path) else others).append(path)
    return records, others


def newest_study(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the records and other files of the newest study in `folder`: in the folder itself, or one level below.

    The newest study is the one in which a run began last. Raises UserError if there is no record.
    """
    inside = [path for path in _entries(folder) if not path.name.startswith(".") and isdir(path)]  # noqa: PTH112 - raises nothing
    readable = [place for place in inside if os.access(place, os.R_OK | os.X_OK)]
    studies = [split_folder(place) for place in (folder, *readable)]
    with_records = [(records, others) for records, others in studies if records]
    if not with_records:
        also = f" ({named(studies[0][1])}: no records)" if studies[0][1] else ""
        raise UserError(
            f"no records in {folder}{also}; run: bash launch.sh, or baseline_train.py and then ddp_train.py"
        )
    return max(with_records, key=lambda study: max(map(_moment, study[0])))


def split_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Split the JSON files of a folder like `split`. Hidden ones belong to other programs and are never records."""
    paths = [path for path in _entries(folder) if path.suffix == ".json"]
    plain = [path for path in paths if not path.name.startswith(".") and path.is_file()]
    records, others = split(plain)
    return records, sorted([*others, *(path for path in paths if path not in plain)])


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
