"""Which records are judged together: one study, complete runs, equal conditions."""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

import msgspec

from ddpbench.arm import arm_of, plural
from ddpbench.errors import UserError, one_line
from ddpbench.judge import fairness, files
from ddpbench.judge.arms import is_timed
from ddpbench.record import Record, read_record


@dataclass(frozen=True, slots=True)
class Study:
    """Comparable, complete runs, in the order they were made, and what was left out of the judgement."""

    name: str
    folder: Path  # where charts and report go
    records: list[Record]  # whole runs
    timed: list[Record]  # short runs at any batch size: their times count, their accuracy does not
    left_out: list[str]  # a reason each

    @property
    def all_runs(self) -> list[Record]:
        """Every run that is judged, whole or timed, in the order they were made."""
        return sorted([*self.records, *self.timed], key=lambda record: record.started_at)


def load(paths: Sequence[Path], *, allow_injected: bool = False) -> Study:
    """Load the study that `paths` name: record files, or one folder, in which the newest study is taken.

    Raises UserError when there is nothing to judge, or when the runs answer different questions.
    """
    folders = [path for path in paths if isdir(path)]  # noqa: PTH112 - no error for a name too long
    if folders and len(paths) > 1:
        raise UserError(f"{folders[0]} is a folder: name folders, or only records")
    paths, strays = files.newest_study(paths[0]) if folders else files.split(paths)
    if not paths:
        raise UserError(f"{files.named(strays) or 'nothing'}: no record of a run; name a study's folder, or records")
    complete, left_out = _complete(paths, allow_injected=allow_injected)
    if strays:
        left_out.append(f"{files.named(strays)}: no records")
    if folders:
        complete = _under_newest_conditions(complete, left_out, paths[0].parent)
    else:
        whole = [record for record in complete if record.settings.steps is None]
        different = fairness.differences(whole) or fairness.differences(complete)
        if different:
            raise UserError(f"unfair comparison: {fairness.describe(different)}; leave records out, or run again")
    timed = [record for record in complete if record.settings.steps is not None]
    whole = [record for record in complete if record.settings.steps is None]
    return Study(one_line(paths[0].resolve().parent.name), paths[0].parent, whole, timed, left_out)


def load_each(paths: Sequence[Path], *, allow_injected: bool = False) -> list[Study]:
    """Load several studies, a folder each, to be shown side by side; or the one that `load` would."""
    if len(paths) > 1 and all(isdir(path) for path in paths):  # noqa: PTH112
        return [load([path], allow_injected=allow_injected) for path in paths]
    return [load(paths, allow_injected=allow_injected)]


def _under_newest_conditions(complete: list[Record], left_out: list[str], folder: Path) -> list[Record]:
    """Return the runs under the conditions of the newest one; the others are added to `left_out` by name."""
    # A study's whole runs decide: a timed run is fair beside any batch size.
    newest = next((record for record in reversed(complete) if record.settings.steps is None), complete[-1])
    fair = [record for record in complete if not fairness.differences([record, newest])]
    others = [record for record in complete if fairness.differences([record, newest])]
    if len({arm_of(record) for record in fair}) < 2 and others:
        partner = next((record for record in reversed(others) if arm_of(record) != arm_of(newest)), others[-1])
        said = fairness.describe(fairness.differences([partner, newest]))
        raise UserError(f"unfair comparison in {folder}: {said}; run again with equal flags")
    for record in others:
        said = fairness.describe(fairness.differences([record, newest]))
        left_out.append(f"{arm_of(record).label}, seed {record.seed}, of {record.started_at[:19]}: {said}")
    return fair


def _complete(paths: Sequence[Path], *, allow_injected: bool) -> tuple[list[Record], list[str]]:
    """Read records; split complete ones, by time, from the reasons why others are left out."""
    records = [(path, read_record(path)) for path in paths]
    records.sort(key=lambda pair: pair[1].started_at)
    for path, record in records:
        if record.injected is not None and not allow_injected:
            raise UserError(f"{path} was spoilt on purpose ({record.injected}): no result; leave it out")
    left_out = [
        f"{arm_of(record).label}, seed {record.seed}: {record.status} ({one_line(path.name)})"
        for path, record in records
        if record.status != "complete"
    ]
    complete = _once([(path, record) for path, record in records if record.status == "complete"], left_out)
    for record in [each for each in complete if not any(map(is_timed, each.epochs))]:
        complete.remove(record)
        left_out.append(f"{arm_of(record).label}, seed {record.seed}: interrupted in every epoch; run it again")
    if not complete:
        states = "; ".join(left_out)
        raise UserError(f"no complete run among {plural(len(records), 'record')}: {states}; run again, or wait")
    return complete, left_out


def _once(found: list[tuple[Path, Record]], left_out: list[str]) -> list[Record]:
    """Return every run once: a copy of its record is no second run, and would make an interval too narrow."""
    first: dict[bytes, Path] = {}
    runs = []
    for path, record in found:
        original = first.setdefault(msgspec.json.encode(record), path)
        if original is path:
            runs.append(record)
        else:
            left_out.append(f"{one_line(path.name)}: the same run as {one_line(original.name)}")
    return runs
