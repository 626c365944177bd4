"""The runs of a results folder: what they are called, and which of them a new attempt goes on with."""

from pathlib import Path

import msgspec

from ddpbench.arm import arm_of
from ddpbench.errors import DataError, UserError
from ddpbench.record import Record, read_record
from ddpbench.train import process
from ddpbench.train.checkpoint import SUFFIX, Checkpoint, newest


def attempts(path: Path) -> int:
    """Return how often the run of this record has been tried; 1 where the record cannot be read."""
    try:
        return read_record(path).attempts
    except UserError:
        return 1


def unused(folder: Path, name: str) -> Path:
    """Return a record's path that no earlier run has taken."""
    path, again = folder / f"{name}.json", 1
    while path.exists():
        again += 1
        path = folder / f"{name}-{again}.json"
    return path


def differences(ours: Record, theirs: Record) -> list[str]:
    """Return what keeps a run from going on as another: names, and both values."""
    arms = (arm_of(ours), arm_of(theirs))
    pairs = {"arm": (arms[0].label, arms[1].label), "seed": (ours.seed, theirs.seed)}
    pairs |= {
        name: (getattr(ours.settings, name), getattr(theirs.settings, name)) for name in ours.settings.__struct_fields__
    }
    pairs["torch"] = (ours.environment.torch, theirs.environment.torch)
    return [f"{name} {now}, there {then}" for name, (now, then) in pairs.items() if now != then]


def to_resume(results: Path, ours: Record, *, by_launcher: bool) -> tuple[Path | None, Checkpoint | None, list[str]]:
    """Find the unfinished run in `results` that `ours` is to go on as: its record's path, and its newest checkpoint.

    The checkpoint is None where the run had not come to one. Last, what is to be said about it. `by_launcher`: torchrun
    tries again, and nobody has asked for --resume; then only a run of this launch is meant. Raises UserError where
    every unfinished run there is of other settings, and DataError where all checkpoints of the right one are damaged or
    are another run's, or where it cannot be told whose the damaged ones are.
    """
    stems = {path.with_suffix("") for ending in (".json", SUFFIX) for path in results.glob(f"*{ending}")}
    if by_launcher and (begun := process.runs_begun()) is not None:
        stems = {stem for stem in stems if stem.name in begun}
    found: list[tuple[Path, Record]] = []
    damaged: list[DataError] = []
    for stem in sorted(stems, reverse=True):
        try:
            found += _unfinished(stem)
        except DataError as problem:
            damaged.append(problem)
    apart = [differences(ours, record) for _, record in found]
    match = next((path for (path, _), differing in zip(found, apart, strict=True) if not differing), None)
    if match is not None:
        checkpoint, wrong = newest(match.with_suffix(SUFFIX))
        foreign = differences(ours, checkpoint.manifest.record) if checkpoint else []
        if foreign:  # somebody has moved folders
            said = "; ".join(foreign)
            raise DataError(f"{match.with_suffix(SUFFIX)} holds another run ({said}); to start anew, remove it")
        return match, checkpoint, [f"{said}; using the one before" for said in wrong]
    if damaged:
        raise damaged[0]
    if found and not by_launcher:
        path = found[0][0]
        raise UserError(
            f"{path} cannot be resumed with other settings ({'; '.join(apart[0])}); without --resume it is left"
        )
    return None, None, [] if by_launcher else [f"no unfinished run in {results}: starting anew"]


def _unfinished(stem: Path) -> list[tuple[Path, Record]]:
    """Return the path of a run's record and the record, where it is not complete; nothing for any other file.

    Where the record is damaged, the newest checkpoint has one. Raises DataError where that is damaged too.
    """
    path = stem.with_suffix(".json")
    try:
        record = msgspec.json.decode(path.read_bytes() if path.is_file() else b"", type=Record)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        found, _ = newest(stem.with_suffix(SUFFIX))
        if found is None:
            return []
        record = found.manifest.record
    return [] if record.status == "complete" else [(path, record)]


def describe(path: Path, found: Checkpoint | None, attempt: int, failure: str | None) -> str:
    """Say from where a run goes on, and why it has to."""
    where = f"at {found.where}" if found else "from its start: there is no checkpoint"
    return f"{f'{failure}; ' if failure else ''}attempt {attempt} goes on with {path.stem} {where}"
