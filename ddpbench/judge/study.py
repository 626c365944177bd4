"""Which records are judged together: complete runs and launches of one study, under equal conditions."""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path
from typing import TypeVar

import msgspec

from ddpbench.arm import arm_of, plural
from ddpbench.errors import UserError, one_line
from ddpbench.judge import fairness, files
from ddpbench.judge.epochs import is_undisturbed
from ddpbench.record import Metric, Record, read_record
from ddpbench.turns import Launch, read_launch

Measured = TypeVar("Measured", Record, Launch)


@dataclass(frozen=True, slots=True)
class Study:
    """Comparable, complete runs and launches, in the order in which they were made, and what is left out."""

    name: str
    folder: Path  # where charts and report are written
    records: list[Record]  # whole runs
    launches: list[Launch]  # of turns
    left_out: list[str]  # one reason in each line

    @property
    def newest(self) -> Record | Launch:
        """The newest whole run, without one the newest launch. It stands for the conditions of the study."""
        return (self.records or self.launches)[-1]

    @property
    def metric(self) -> Metric | None:
        """What its whole runs count over the test set; None without them."""
        return self.records[-1].metric if self.records else None


def load(paths: Sequence[Path], *, allow_injected: bool = False) -> Study:
    """Load the study that `paths` name: files of records, or one folder, of which the newest study is taken.

    `allow_injected` admits runs and launches that a hook has watched. Raises UserError if there is nothing to judge, if
    a record is damaged, or if runs were made under different conditions.
    """
    folders = [path for path in paths if isdir(path)]  # noqa: PTH112 - no error for a name too long
    if folders and len(paths) > 1:
        raise UserError(f"{folders[0]} is a folder: name folders, or only records")
    given = files.newest_study(paths[0]) if folders else files.split(paths)
    if not given.records and not given.turns:
        raise UserError(
            f"{files.named(given.others) or 'these files'}: no record of a run; name a study's folder, or records"
        )
    records, left_out = _complete(given.records, allow_injected=allow_injected, may_be_none=bool(given.turns))
    launches = _launches(given.turns, left_out, allow_injected=allow_injected)
    if given.others:
        left_out.append(f"{files.named(given.others)}: no records")
    folder = (given.records or given.turns)[0].parent
    if folders:
        newest = (records or launches)[-1]
        records = _fair(records, newest, left_out)
        launches = _fair(launches, newest, left_out)
        if not launches:
            _require_partner(records, left_out, folder)
    elif different := fairness.differences([*records, *launches]):
        raise UserError(f"unfair comparison: {fairness.describe(different)}; leave records out, or run again")
    return Study(one_line(folder.resolve().name), folder, records, launches, left_out)


def load_each(paths: Sequence[Path], *, allow_injected: bool = False) -> list[Study]:
    """Load one study for each folder if all of several `paths` are folders; otherwise the one study of `load`."""
    if len(paths) > 1 and all(isdir(path) for path in paths):  # noqa: PTH112
        return [load([path], allow_injected=allow_injected) for path in paths]
    return [load(paths, allow_injected=allow_injected)]


def findings(launches: Sequence[Launch]) -> list[str]:
    """Return what the check of the task has found, which the first launch of a study has made."""
    return [finding for launch in launches if launch.check is not None for finding in launch.check.findings]


def run_label(record: Record) -> str:
    """Return the name of a run in messages: `ddp 2 x 1, gloo, seed 0`."""
    return f"{arm_of(record).label}, seed {record.seed}"


def _launches(paths: Sequence[Path], left_out: list[str], *, allow_injected: bool) -> list[Launch]:
    """Read launches. A second copy of a launch is left out."""
    pairs = [(path, read_launch(path)) for path in paths]
    for path, launch in pairs:
        if launch.injected is not None and not allow_injected:
            raise UserError(f"{path} was watched by a hook ({launch.injected}): no result; leave it out")
    return _without_copies(sorted(pairs, key=lambda pair: pair[1].started_at), left_out)


def _fair(measured: Sequence[Measured], newest: Record | Launch, left_out: list[str]) -> list[Measured]:
    """Return what was measured under the conditions of the newest. The rest is named in `left_out`."""
    fair = []
    for each in measured:
        if different := fairness.differences([each, newest]):
            name = run_label(each) if isinstance(each, Record) else f"launch {each.number + 1}"
            left_out.append(f"{name}, of {each.started_at[:19]}: {fairness.describe(different)}")
        else:
            fair.append(each)
    return fair


def _require_partner(fair: Sequence[Record], left_out: Sequence[str], folder: Path) -> None:
    """Raise UserError where other conditions leave a single arm, which can be compared with nothing."""
    others = [reason for reason in left_out if " differs (" in reason]
    if len({arm_of(record) for record in fair}) < 2 and others:
        different = others[-1].partition(": ")[2]
        raise UserError(f"unfair comparison in {folder}: {different}; run again with equal flags")


def _complete(paths: Sequence[Path], *, allow_injected: bool, may_be_none: bool) -> tuple[list[Record], list[str]]:
    """Read records. Return the complete ones, by time, and the reasons why others are left out."""
    records = [(path, read_record(path)) for path in paths]
    records.sort(key=lambda pair: pair[1].started_at)
    for path, record in records:
        if record.injected is not None and not allow_injected:
            raise UserError(f"{path} was watched by a hook ({record.injected}): no result; leave it out")
    left_out = [
        f"{run_label(record)}: {record.status} ({one_line(path.name)})"
        for path, record in records
        if record.status != "complete"
    ]
    complete = _without_copies([(path, record) for path, record in records if record.status == "complete"], left_out)
    for record in [each for each in complete if not any(map(is_undisturbed, each.epochs))]:
        complete.remove(record)
        left_out.append(f"{run_label(record)}: interrupted in every epoch; run it again")
    if not complete and not may_be_none:
        states = "; ".join(left_out)
        raise UserError(f"no complete run among {plural(len(records), 'record')}: {states}; run again, or wait")
    return complete, left_out


def _without_copies(measured: Sequence[tuple[Path, Measured]], left_out: list[str]) -> list[Measured]:
    """Return everything once. A second file of the same run or launch would make an interval too narrow."""
    first: dict[bytes, Path] = {}
    once = []
    for path, each in measured:
        original = first.setdefault(msgspec.json.encode(each), path)
        if original is path:
            once.append(each)
        else:
            what = "run" if isinstance(each, Record) else "launch"
            left_out.append(f"{one_line(path.name)}: the same {what} as {one_line(original.name)}")
    return once
