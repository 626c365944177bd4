"""Which unfinished run a new attempt goes on with, and where."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import safetensors.torch

from ddpbench.arm import arm_of
from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.errors import DataError, UserError
from ddpbench.record import Record, read_record
from ddpbench.tasks.task import floating
from ddpbench.train import checkpoint, progress
from ddpbench.train.checkpoint import SUFFIX, Checkpoint, Manifest
from ddpbench.train.recorder import Recorder
from ddpbench.train.state import TrainState
from ddpbench.train.world import World


@dataclass(frozen=True)
class Unfinished:
    """What a new attempt goes on with: a record and its newest checkpoint, where there are any, and what to print."""

    path: Path | None = None
    newest: Checkpoint | None = None
    remarks: list[str] = field(default_factory=list)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What rank 0 tells the others of an unfinished run. Its tensors follow."""

    attempts: int = 0  # so far; 0: there is no such run
    manifest: Manifest | None = None


def restore(state: TrainState, recorder: Recorder, cfg: TrainConfig, here: World) -> None:
    """Go on as the unfinished run of the same settings, where there is one and this attempt may. A collective.

    A restart by a supervisor, or by torchrun, goes on with a run of this launch only; --resume with any in --results.
    Rank 0 reads its folder and sends what is in it to the others, whose folder may be another. Raises what `find`
    raises, on rank 0.
    """
    process = here.process
    if not (cfg.resume or process.attempt):
        return
    is_restart = not cfg.resume
    names = {*process.launch.begun} if is_restart and process.launch is not None else None
    unfinished = find(cfg.results, recorder.record, names, is_restart=is_restart) if here.is_main else Unfinished()
    told = here.gather(_told(unfinished))[0]
    remarks, path, newest = unfinished.remarks, unfinished.path, _sent(unfinished.newest, told, here)
    if told.attempts:
        before, path = told.attempts, path or recorder.path
        recorder.continue_as(path, before + 1, newest.manifest.record if newest else None)
        failure = process.launch.failure if process.launch else None
        where = f"at {newest.where}" if newest else "from its start: there is no checkpoint"
        because = f"{failure}; " if failure else ""
        remarks = [*remarks, f"{because}attempt {before + 1} goes on with {path.stem} {where}"]
    if newest is not None:
        _restore(state, newest, cfg, here)
    if here.is_main:
        for remark in remarks:
            progress.say(remark, sys.stderr)


def _told(unfinished: Unfinished) -> Told:
    if unfinished.path is None:
        return Told()
    manifest = unfinished.newest.manifest if unfinished.newest else None
    attempts = max(_attempts(unfinished.path), manifest.record.attempts if manifest else 1)
    return Told(attempts=attempts, manifest=manifest)


def _sent(newest: Checkpoint | None, told: Told, here: World) -> Checkpoint | None:
    """Return rank 0's checkpoint on every rank; None where it has none. A collective."""
    if told.manifest is None or here.size == 1:
        return newest
    content = here.send(safetensors.torch.save(newest.tensors) if newest else b"")
    return newest or Checkpoint(told.manifest, safetensors.torch.load(content))


def find(results: Path, ours: Record, names: set[str] | None, *, is_restart: bool) -> Unfinished:
    """Find the newest unfinished run in `results` that `ours` may go on as, among `names` where they are known.

    Raises UserError where every unfinished run has other settings, unless this is a restart, which nobody asked for.
    Raises DataError where all checkpoints of the right run are damaged or belong to another run, or where damage hides
    whose checkpoints they are.
    """
    stems = {path.with_suffix("") for ending in (".json", SUFFIX) for path in results.glob(f"*{ending}")}
    runs: list[tuple[Path, Record]] = []
    damaged: list[DataError] = []
    for stem in sorted(stems, reverse=True):
        if names is None or stem.name in names:
            try:
                runs += _unfinished(stem)
            except DataError as problem:
                damaged.append(problem)
    apart = [differences(ours, record) for _, record in runs]
    match = next((path for (path, _), differing in zip(runs, apart, strict=True) if not differing), None)
    if match is not None:
        newest, wrong = checkpoint.newest(match.with_suffix(SUFFIX))
        foreign = differences(ours, newest.manifest.record) if newest else []
        if foreign:  # a user has moved folders
            what = "; ".join(foreign)
            raise DataError(f"{match.with_suffix(SUFFIX)} holds another run ({what}); to start anew, remove it")
        return Unfinished(match, newest, [f"{what}; using the one before" for what in wrong])
    if damaged:
        raise damaged[0]
    if is_restart:
        return Unfinished()
    if runs:
        raise UserError(
            f"{runs[0][0]} was started with other settings ({'; '.join(apart[0])}); "
            "use those to resume it, or drop --resume to start a new run"
        )
    return Unfinished(remarks=[f"no unfinished run in {results}: starting anew"])


def differences(ours: Record, theirs: Record) -> list[str]:
    """Return what keeps a run from going on as another: each name with both values."""
    arms = (arm_of(ours), arm_of(theirs))
    pairs = {"arm": (arms[0].label, arms[1].label), "seed": (ours.seed, theirs.seed)}
    pairs |= {
        name: (getattr(ours.settings, name), getattr(theirs.settings, name)) for name in ours.settings.__struct_fields__
    }
    pairs["torch"] = (ours.environment.torch, theirs.environment.torch)
    return [f"{name} {now}, there {then}" for name, (now, then) in pairs.items() if now != then]


def _restore(state: TrainState, saved: Checkpoint, cfg: TrainConfig, here: World) -> None:
    """Put the state back as it was when the checkpoint was saved."""
    manifest = saved.manifest
    state.epoch = manifest.epoch
    losses = saved.tensors["losses"][here.rank]
    state.losses = [loss.to(here.device, floating(cfg)) for loss in losses]
    state.earlier_train_s, state.earlier_alive_s = manifest.train_s, manifest.alive_s
    ddp.arrange(state.net, saved.tensors["order"].tolist())
    checkpoint.restore(saved, state.bare_net, state.optimizer, state.schedule, state.step)


def _unfinished(stem: Path) -> list[tuple[Path, Record]]:
    """Return the path of a run's record and the record, unless it is complete. Returns nothing for any other file.

    Where the record is damaged, the newest checkpoint has one. Raises DataError where that is damaged too.
    """
    path = stem.with_suffix(".json")
    try:
        record = msgspec.json.decode(path.read_bytes() if path.is_file() else b"", type=Record)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        newest, _ = checkpoint.newest(stem.with_suffix(SUFFIX))
        if newest is None:
            return []
        record = newest.manifest.record
    return [] if record.status == "complete" else [(path, record)]


def _attempts(path: Path) -> int:
    """Return how often the run of this record was started; 1 where the record cannot be read."""
    try:
        return read_record(path).attempts
    except UserError:
        return 1
