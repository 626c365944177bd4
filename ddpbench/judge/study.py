"""Which records are judged together: one study, complete runs, equal conditions."""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

from ddpbench.errors import UserError
from ddpbench.judge import fairness
from ddpbench.record import Record, arm_of, plural, read_record


@dataclass(frozen=True, slots=True)
class Study:
    """Comparable, complete runs, in the order they were made, and what was left out of the judgement."""

    name: str
    folder: Path  # where charts go
    records: list[Record]
    left_out: list[str]  # a reason each


def load(paths: Sequence[Path]) -> Study:
    """Load the study that `paths` name: record files, or one folder, in which the newest study is taken.

    Raises UserError when there is nothing to judge, or when the runs answer different questions.
    """
    folders = [path for path in paths if isdir(path)]  # noqa: PTH112 - no error for a name too long
    if folders and len(paths) == 1:
        return _from_folder(paths[0])
    if folders:
        raise UserError(f"{folders[0]} is a folder: name one folder, or only records")
    records, left_out = _complete(paths)
    different = fairness.differences(records)
    if different:
        raise UserError(f"unfair comparison: {fairness.describe(different)}; leave records out, or run again")
    return _checked(Study(paths[0].resolve().parent.name, paths[0].parent, records, left_out))


def _from_folder(folder: Path) -> Study:
    """Take the newest study in `folder` and, of its runs, those under the conditions of the newest one."""
    files = _newest_study(folder)
    records, left_out = _complete(files)
    newest = records[-1]
    fair = [record for record in records if not fairness.differences([record, newest])]
    others = [record for record in records if fairness.differences([record, newest])]
    if len({arm_of(record) for record in fair}) < 2 and others:
        partner = next((record for record in reversed(others) if arm_of(record) != arm_of(newest)), others[-1])
        said = fairness.describe(fairness.differences([partner, newest]))
        raise UserError(f"unfair comparison in {files[0].parent}: {said}; run again with equal flags")
    for record in others:
        said = fairness.describe(fairness.differences([record, newest]))
        left_out.append(f"{arm_of(record).label}, seed {record.seed}, of {record.started_at[:19]}: {said}")
    return _checked(Study(files[0].resolve().parent.name, files[0].parent, fair, left_out))


def _newest_study(folder: Path) -> list[Path]:
    """Return the record files of the newest study: names begin with the moment a run began."""
    studies = [sorted(place.glob("*.json")) for place in (folder, *sorted(folder.iterdir())) if place.is_dir()]
    studies = [files for files in studies if files]
    if not studies:
        raise UserError(f"no records in {folder}; run: bash launch.sh, or baseline_train.py and then ddp_train.py")
    return max(studies, key=lambda files: files[-1].name)


def _complete(paths: Sequence[Path]) -> tuple[list[Record], list[str]]:
    """Read records; split complete ones, by time, from the reasons why others are left out."""
    records = [(path, read_record(path)) for path in paths]
    records.sort(key=lambda pair: pair[1].started_at)
    left_out = [f"{path.name}: {record.status}" for path, record in records if record.status != "complete"]
    complete = [record for _, record in records if record.status == "complete"]
    if not complete:
        raise UserError(f"no complete run among {plural(len(records), 'record')}; run again, or wait for it to end")
    return complete, left_out


def _checked(study: Study) -> Study:
    """Raise UserError unless there is something to divide by and something to divide."""
    arms = {arm_of(record) for record in study.records}
    if not any(arm.kind == "baseline" for arm in arms):
        raise UserError(f"no baseline run in {study.folder} to compare with; run: python baseline_train.py")
    if not any(arm.kind != "baseline" and not arm.is_control for arm in arms):
        raise UserError(
            f"only baseline runs in {study.folder}: nothing to compare; run: torchrun --nproc_per_node=2 ddp_train.py"
        )
    return study
