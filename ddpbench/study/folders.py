"""The folders of studies: each holds the plan of its study, as JSON, and the records of its launches and runs."""

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ddpbench.errors import UserError
from ddpbench.files import write_whole
from ddpbench.record import Record, read_record
from ddpbench.study.plan import SCHEMA, Plan, Request

PLAN = "plan.json"
MAX_NAMED = 3  # of the studies that could be resumed, the newest


def make(results: Path) -> Path:
    """Make a folder for a new study in `results`, named by the time of day in UTC. Returns its path."""
    name, count = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}", 1
    folder = results / name
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            count += 1
            folder = results / f"{name}-{count}"


def write_plan(folder: Path, plan: Plan) -> None:
    """Keep a plan in the study's folder. Raises DiskError where the disk refuses."""
    write_whole(folder / PLAN, msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")


def read_plan(folder: Path) -> Plan | None:
    """Return the plan of a study; None where there is none that this version can read."""
    try:
        plan = msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return plan if plan.schema == SCHEMA else None


def records_in(folder: Path) -> list[Record]:
    """Return the records of a folder. A damaged file is left out, so that its run is run again."""
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(read_record(path))
        except UserError:
            continue
    return records


def find_equal(request: Request, results: Path) -> tuple[Path, Plan] | None:
    """Return the folder and the plan of the newest study with this request; None where there is none."""
    return next(((folder, plan) for folder, plan in _studies(results) if plan.request == request), None)


def find_alike(request: Request, results: Path) -> tuple[Path, Plan] | None:
    """Return the folder and the plan of the newest study with this request, whatever its seeds; None without one."""
    return next(((folder, plan) for folder, plan in _studies(results) if _same_seeds(plan, request) == request), None)


def explain_unequal(request: Request, results: Path) -> str:
    """Return the line which says that no study has this request, with what differs in those that are unfinished."""
    others = []
    for folder, plan in _studies(results):
        if not plan.is_finished(records_in(folder)):
            others.append(f"{folder} ({'; '.join(request.differences(plan.request))})")
            if len(others) == MAX_NAMED:
                break
    if not others:
        return f"no unfinished study in {results}: starting a new one"
    return f"no unfinished study has these settings: starting a new one. Unfinished: {', '.join(others)}"


def explain_unlike(request: Request, results: Path) -> str:
    """Return the line which says that --more has no study to go on with, with what differs in the newest ones."""
    others = [
        f"{folder} ({'; '.join(request.differences(_same_seeds(plan, request)))})"
        for folder, plan in islice(_studies(results), MAX_NAMED)
    ]
    if not others:
        return f"--more goes on with an earlier study, and {results} has none; leave it out to start one"
    return f"--more goes on with a study of the same settings, and there is none: {', '.join(others)}; leave it out"


def _same_seeds(plan: Plan, request: Request) -> Request:
    """Return the request of a plan with the seeds of another request."""
    return replace(plan.request, seeds=request.seeds)


def _studies(results: Path) -> Iterator[tuple[Path, Plan]]:
    """Yield the folders of `results` that hold a plan, and the plans; the newest first."""
    for path in sorted(results.glob(f"*/{PLAN}"), reverse=True):
        plan = read_plan(path.parent)
        if plan is not None:
            yield path.parent, plan
