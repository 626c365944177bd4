"""Checkpoints: what a run needs to go on from its middle. Each is one file, written whole, verified, never unpickled.

A file has a line with format and digest, a line of JSON (the manifest), and tensors as safetensors stores them. The
SHA-256 covers all that follows it, so damage is detected before anything is used. A digest does not stop an attacker
who can write to the folder. So the folder (0700) and its files (0600) must belong to this user.
"""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ddpbench import files, notes
from ddpbench.errors import DataError, DiskError, UserError, one_line
from ddpbench.fields import Count, Part, Seconds, Text
from ddpbench.record import Record
from ddpbench.train import optim
from ddpbench.train.gradients import scale_of
from ddpbench.train.state import own_state

FORMAT = b"ddpbench checkpoint 2"
GENERATIONS = 2
MAX_BYTES = 2**34
SCALARS = (torch.float32, torch.float64)  # the types in which an optimizer counts its steps
SUFFIX = files.CHECKPOINTS


class Manifest(Part, frozen=True):
    """The run and the position of a checkpoint. `record` has settings, seed, versions and all whole epochs."""

    record: Record
    epoch: Count  # in which the run goes on, from 1
    step: Count  # steps taken in that epoch
    train_s: Seconds  # rank 0's training time of that epoch so far, without saving
    alive_s: Seconds  # how long the processes of all attempts had lived when it was saved
    ddpbench: Text


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A manifest and its tensors: model.*, optimizer.*, in fp16 scale.*, losses and order.

    Losses [ranks, steps taken] are the means of steps, in double precision. The order [parameters] is that of DDP's
    buckets (see `comm.ddp`); it is empty where there are none.
    """

    manifest: Manifest
    tensors: dict[str, Tensor]

    @property
    def where(self) -> str:
        """The position in words."""
        return notes.position(self.manifest.epoch, self.manifest.step)


def state_of(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return every tensor that a step changes, by name. Raises UserError for what is no tensor."""
    tensors = {f"model.{name}": value for name, value in own_state(net).items()}
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if not isinstance(value, Tensor):
                raise UserError(
                    f"the optimizer keeps {key} as {type(value).__name__}, and a checkpoint holds tensors alone; "
                    "use an optimizer that keeps tensors"
                )
            tensors[f"optimizer.{names[id(parameter)]}.{key}"] = value
    scale = scale_of(optimizer)
    return tensors if scale is None else tensors | scale.tensors()


def restore(
    found: Checkpoint, net: nn.Module, optimizer: torch.optim.Optimizer, schedule: LRScheduler | None, steps: int
) -> None:
    """Put everything back as it was after `steps` steps of the run. Raises DataError for tensors of another network."""
    weights: dict[str, Tensor] = {}
    states: dict[str, dict[str, Tensor]] = {}  # of the optimizer, by parameter
    for name, value in found.tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            weights[rest] = value
        elif kind == "optimizer":
            owner, _, key = rest.rpartition(".")
            states.setdefault(owner, {})[key] = value
    if not _fits(weights, states, net, is_ours=isinstance(optimizer, optim.Careful)):
        raise DataError("the checkpoint's tensors are not those of this network; start anew, without --resume")
    net.load_state_dict(weights, strict=False)  # tied weights are there once; `_fits` has compared the rest
    counts_on_device = {
        id(parameter): bool(group.get("fused") or group.get("capturable"))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in net.named_parameters():
        state = optimizer.state[parameter]
        state.clear()
        for key, value in states.get(name, {}).items():  # in the layout of its parameter, as the optimizer makes it
            like = parameter if value.shape == parameter.shape else value
            # torch counts steps on the CPU unless one kernel takes them all: on a GPU each step would wait for it.
            is_far = value.dim() == 0 and not counts_on_device.get(id(parameter))
            device = torch.device("cpu") if is_far else parameter.device
            state[key] = torch.empty_like(like, dtype=value.dtype, device=device).copy_(value)
    scale = scale_of(optimizer)
    if scale is not None:
        scale.restore(found.tensors)
    if schedule is not None and steps:
        optim.advance(schedule, steps)


def _fits(weights: dict[str, Tensor], states: dict[str, dict[str, Tensor]], net: nn.Module, *, is_ours: bool) -> bool:
    """Whether tensors are those of `net` and of its optimizer. Ours keep equal things of every parameter.

    A task's own may keep what it wants, of some parameters: Adafactor keeps rows and columns of matrices.
    """
    wanted = {name: (value.shape, value.dtype) for name, value in own_state(net).items()}
    parameters = {name: each for name, each in net.named_parameters() if each.requires_grad}
    if wanted != {name: (value.shape, value.dtype) for name, value in weights.items()}:
        return False
    if not is_ours:
        return states.keys() <= parameters.keys()
    return (
        states.keys() in (set(), parameters.keys())
        and len({frozenset(state) for state in states.values()}) <= 1
        and all(
            (value.dim() == 0 and value.dtype in SCALARS)
            or (value.shape, value.dtype) == (parameters[name].shape, parameters[name].dtype)
            for name, state in states.items()
            for value in state.values()
        )
    )


def save(folder: Path, manifest: Manifest, tensors: dict[str, Tensor]) -> Path:
    """Write a checkpoint, then remove old ones. Raises DiskError where the disk refuses; the old ones then stay.

    The two newest stay, and the newest that ends an epoch, because ranks were compared there. Returns the new path.
    """
    packed = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    body = msgspec.json.encode(manifest) + b"\n" + safetensors.torch.save(packed)
    path = folder / f"{manifest.epoch:06d}-{manifest.step:08d}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise DiskError(f"cannot write {folder}: {problem.strerror}") from problem
    if folder.stat().st_mode & 0o022:  # the file system keeps no modes, and `load` would refuse the file
        raise DiskError(f"{folder} cannot be made private; for checkpoints, choose --results on another file system")
    files.write_whole(path, b"%b %b\n%b" % (FORMAT, hashlib.sha256(body).hexdigest().encode(), body), mode=0o600)
    kept = generations(folder)
    for old in {*kept[GENERATIONS:]} - {next((each for each in kept if _ends_epoch(each)), path)}:
        _remove(old)
    return path


def discard_unproved(folder: Path) -> None:
    """Remove the checkpoints since the end of the last epoch: there all ranks were compared and had equal weights.

    Raises DiskError where one cannot be removed.
    """
    for path in generations(folder):
        if _ends_epoch(path):
            return
        _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        raise DiskError(f"cannot remove {path}: {problem.strerror}") from problem


def _ends_epoch(path: Path) -> bool:
    return int(path.name.split("-")[1]) == 0


def generations(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest first."""
    return sorted((path for path in folder.glob("*-*") if re.fullmatch(r"\d{6}-\d{8}", path.name)), reverse=True)


def load(path: Path) -> Checkpoint:
    """Read and verify a checkpoint. Raises DataError naming the file and what is wrong with it."""
    content = _read_own(path)
    head, _, body = content.partition(b"\n")
    if not head.startswith(FORMAT + b" "):
        raise DataError(f"{path} is no checkpoint of this version")
    if hashlib.sha256(body).hexdigest().encode() != head[len(FORMAT) + 1 :]:
        raise DataError(f"{path} is damaged: its SHA-256 is not the one it was written with")
    head, _, packed = body.partition(b"\n")
    try:
        manifest = msgspec.json.decode(head, type=Manifest)
        tensors = safetensors.torch.load(packed)
    except (msgspec.DecodeError, RecursionError, SafetensorError, KeyError, ValueError) as problem:
        raise DataError(f"{path} is not a whole checkpoint: {one_line(str(problem)[:200])}") from problem
    # A buffer may be infinite, as the mask of a transformer is: what is trained was looked at when it was trained.
    wrong = (value.isnan() if name.startswith("model.") else ~value.isfinite() for name, value in tensors.items())
    if any(each.any() for each in wrong):
        raise DataError(f"{path} holds numbers that are not finite")
    if "losses" not in tensors or tensors["losses"].shape != (manifest.record.world_size, manifest.step):
        raise DataError(f"{path} does not hold the losses of {manifest.record.world_size} x {manifest.step} steps")
    order = tensors.get("order")
    if order is None or order.dim() != 1 or sorted(order.tolist()) != [*range(len(order))]:
        raise DataError(f"{path} does not hold the order of DDP's buckets")
    return Checkpoint(manifest, tensors)


def is_whole(path: Path) -> bool:
    """Whether a run could go on from this checkpoint."""
    try:
        load(path)
    except DataError:
        return False
    return True


def _read_own(path: Path) -> bytes:
    """Return a file's content. Raises DataError unless it is an ordinary file that only this user could write."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            for place, status in ((path, os.fstat(handle)), (path.parent, path.parent.stat())):
                if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                    raise DataError(f"{place} could have been written by others; nothing is loaded from it")
            if not stat.S_ISREG(os.fstat(handle).st_mode) or os.fstat(handle).st_size > MAX_BYTES:
                raise DataError(f"{path} is no ordinary file, or larger than {MAX_BYTES:,} bytes")
            return file.read()
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror}") from problem


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest whole checkpoint, or None where there is none yet, and what is wrong with newer ones.

    Raises DataError, which lists them, where all are damaged.
    """
    wrong: list[str] = []
    for path in generations(folder):
        try:
            return load(path), wrong
        except DataError as problem:
            wrong.append(str(problem))
    if wrong:
        raise DataError(f"no checkpoint is whole: {'; '.join(wrong)}; to start anew, remove {folder}")
    return None, []
