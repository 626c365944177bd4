"""Which records are judged together: complete runs of one study, under equal conditions."""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

import msgspec

from ddpbench.arm import arm_of, plural
from ddpbench.errors import UserError, one_line
from ddpbench.judge import fairness, files
from ddpbench.judge.epochs import is_undisturbed
from ddpbench.record import Record, read_record


@dataclass(frozen=True, slots=True)
class Study:
    """Comparable, complete runs, in the order in which they were made, and what is left out of the judgement."""

    name: str
    folder: Path  # where charts and report are written
    records: list[Record]  # whole runs
    timed: list[Record]  # short runs at any batch size: their times count, their accuracy does not
    left_out: list[str]  # one reason in each line

    @property
    def all_runs(self) -> list[Record]:
        """Every run that is judged, whole or timed, in the order in which they were made."""
        return sorted([*self.records, *self.timed], key=lambda record: record.started_at)

    @property
    def newest(self) -> Record:
        """The newest whole run. It stands for the conditions of the study; without whole runs a timed one does."""
        return (self.records or self.timed)[-1]


def load(paths: Sequence[Path], *, allow_injected: bool = False) -> Study:
    """Load the study that `paths` name: files of records, or one folder, of which the newest study is taken.

    `allow_injected` admits runs that a test slowed on purpose. Raises UserError if there is nothing to judge, if a
    record is damaged, or if the runs were made under different conditions.
    """
    folders = [path for path in paths if isdir(path)]  # noqa: PTH112 - no error for a name too long
    if folders and len(paths) > 1:
        raise UserError(f"{folders[0]} is a folder: name folders, or only records")
    paths, others = files.newest_study(paths[0]) if folders else files.split(paths)
    if not paths:
        raise UserError(
            f"{files.named(others) or 'these files'}: no record of a run; name a study's folder, or records"
        )
    complete, left_out = _complete(paths, allow_injected=allow_injected)
    if others:
        left_out.append(f"{files.named(others)}: no records")
    if folders:
        complete = _under_newest_conditions(complete, left_out, paths[0].parent)
    else:
        _require_equal_conditions(complete)
    whole, timed = _whole(complete), [record for record in complete if record.settings.steps is not None]
    return Study(one_line(paths[0].resolve().parent.name), paths[0].parent, whole, timed, left_out)


def load_each(paths: Sequence[Path], *, allow_injected: bool = False) -> list[Study]:
    """Load one study for each folder if all of several `paths` are folders; otherwise the one study of `load`."""
    if len(paths) > 1 and all(isdir(path) for path in paths):  # noqa: PTH112
        return [load([path], allow_injected=allow_injected) for path in paths]
    return [load(paths, allow_injected=allow_injected)]


def run_label(record: Record) -> str:
    """Return the name of a run in messages: `ddp 2 x 1, gloo, seed 0`."""
    return f"{arm_of(record).label}, seed {record.seed}"


def _whole(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.settings.steps is None]


def _require_equal_conditions(records: Sequence[Record]) -> None:
    different = fairness.differences(_whole(records)) or fairness.differences(records)
    if different:
        raise UserError(f"unfair comparison: {fairness.describe(different)}; leave records out, or run again")


def _under_newest_conditions(complete: list[Record], left_out: list[str], folder: Path) -> list[Record]:
    """Return the runs under the conditions of the newest one. The others are named in `left_out`.

    Raises UserError if only one arm remains because of that.
    """
    # The newest whole run decides, because a timed run may have any batch size.
    newest = (_whole(complete) or complete)[-1]
    fair = [record for record in complete if not fairness.differences([record, newest])]
    others = [record for record in complete if fairness.differences([record, newest])]
    if len({arm_of(record) for record in fair}) < 2 and others:
        partner = next((record for record in reversed(others) if arm_of(record) != arm_of(newest)), others[-1])
        different = fairness.describe(fairness.differences([partner, newest]))
        raise UserError(f"unfair comparison in {folder}: {different}; run again with equal flags")
    for record in others:
        different = fairness.describe(fairness.differences([record, newest]))
        left_out.append(f"{run_label(record)}, of {record.started_at[:19]}: {different}")
    return fair


def _complete(paths: Sequence[Path], *, allow_injected: bool) -> tuple[list[Record], list[str]]:
    """Read records. Return the complete ones, by time, and the reasons why others are left out."""
    records = [(path, read_record(path)) for path in paths]
    records.sort(key=lambda pair: pair[1].started_at)
    for path, record in records:
        if record.injected is not None and not allow_injected:
            raise UserError(f"{path} was spoilt on purpose ({record.injected}): no result; leave it out")
    left_out = [
        f"{run_label(record)}: {record.status} ({one_line(path.name)})"
        for path, record in records
        if record.status != "complete"
    ]
    complete = _without_copies([(path, record) for path, record in records if record.status == "complete"], left_out)
    for record in [each for each in complete if not any(map(is_undisturbed, each.epochs))]:
        complete.remove(record)
        left_out.append(f"{run_label(record)}: interrupted in every epoch; run it again")
    if not complete:
        states = "; ".join(left_out)
        raise UserError(f"no complete run among {plural(len(records), 'record')}: {states}; run again, or wait")
    return complete, left_out


def _without_copies(records: list[tuple[Path, Record]], left_out: list[str]) -> list[Record]:
    """Return every run once. A second file of the same run would make an interval too narrow."""
    first: dict[bytes, Path] = {}
    runs = []
    for path, record in records:
        original = first.setdefault(msgspec.json.encode(record), path)
        if original is path:
            runs.append(record)
        else:
            left_out.append(f"{one_line(path.name)}: the same run as {one_line(original.name)}")
    return runs
