"""A study that was interrupted: its plan lies in its folder, and what is complete is not run again."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ddpbench.errors import UserError
from ddpbench.files import write_whole
from ddpbench.record import Record, read_record

PLAN, CHECK = "plan.tsv", "plan-check.tsv"  # of a study; of the runs that check a sweep's prediction


def keep(path: Path, command: str, runs: Sequence[str]) -> None:
    """Write a plan: the command it is of, then a line per run."""
    write_whole(path, "".join(f"{line}\n" for line in (command, *runs)).encode())


def command_of(seeds: str, sizes: str, batches: str, flags: Sequence[str]) -> str:
    """Return what makes a study, as one line: two with the same plan the same runs."""
    return json.dumps([seeds, sizes, batches, [flag for flag in flags if flag not in {"--resume", "--no-resume"}]])


def newest(results: Path, command: str) -> Path | None:
    """Return the folder of the newest study that this command has made, or None."""
    plans = sorted(results.glob(f"*/{PLAN}"), reverse=True)
    return next((path.parent for path in plans if _read(path)[:1] == [command]), None)


def left(plan: Path) -> tuple[list[str], int]:
    """Return the runs of a plan that are not complete, told to go on where they have begun, and how many are."""
    records = [record for record in map(_record, sorted(plan.parent.glob("*.json"))) if record is not None]
    complete = {_of_record(record) for record in records if record.status == "complete"}
    begun = {_of_record(record) for record in records if record.status != "complete"}
    runs = _read(plan)[1:]
    todo = [line for line in runs if _of_line(line) not in complete]
    return [_told(line, resume=_of_line(line) in begun) for line in todo], len(runs) - len(todo)


def _told(line: str, *, resume: bool) -> str:
    kind, ranks, threads, flags, label = line.split("\t")
    return "\t".join((kind, ranks, threads, f"{flags} {'--resume' if resume else '--no-resume'}", label))


def _read(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _record(path: Path) -> Record | None:
    try:
        return read_record(path)
    except UserError:  # a summary, or damaged: then its run is run again
        return None


def _of_record(record: Record) -> tuple[object, ...]:
    told = record.settings
    arm = (record.kind, record.world_size, record.threads_per_rank, record.comm)
    return (*arm, record.seed, told.global_batch, told.epochs, told.steps)


def _of_line(line: str) -> tuple[object, ...]:
    kind, ranks, threads, flags, _ = line.split("\t")
    told = dict(re.findall(r"--([a-z-]+) (\S+)", flags))
    numbers = (int(told[name]) if name in told else None for name in ("seed", "global-batch", "epochs", "steps"))
    return (kind, int(ranks), int(threads), told.get("comm"), *numbers)
