"""Whether training fits into memory and into /dev/shm: what it takes at least, before anything is measured.

What a network keeps between its forward and its backward pass is not known here. So what is refused does not fit for
certain, and what is not refused may still be too large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ddpbench import environment
from ddpbench.arm import plural
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.tasks.readers import AHEAD
from ddpbench.tasks.samples import Samples, tensors_of
from ddpbench.tasks.task import Data, readers
from ddpbench.turns import TurnArm

TRIED = 2  # samples, to see how many bytes one has
ORDER_BYTES = 40  # of each sample: its number, in the order of an epoch, as Python keeps it


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one worker keeps, in bytes, and how its data is read."""

    network: int  # weights, gradients, and what the optimizer remembers
    data: int  # both sets, where they are in memory, and the order of the samples
    sample: int  # of the training set
    readers: int | None  # processes for each thread that read it while training; None: it is in memory


def sizes_of(net: nn.Module, data: Data, cfg: TrainConfig, loaded_bytes: int | None = None) -> Sizes:
    """Return what one worker keeps. Reads a sample or two where data is read while training.

    `loaded_bytes` are what loading the data has taken: tensors that are mapped from a file may be larger than memory.
    """
    trained = sum(value.nbytes for value in net.parameters() if value.requires_grad)
    remembered = {"adamw": 2, "sgd": int(cfg.schedule == "one-cycle"), "task": 0}[cfg.optimizer]  # of each weight
    kept = sum(value.nbytes for value in (*net.parameters(), *net.buffers()))
    sets = [each.tensors for each in (data.train, data.test) if isinstance(each, Samples)]
    num_bytes = sum(tensor.nbytes for each in sets for tensor in tensors_of(each))
    some = data.train.take(torch.arange(min(TRIED, len(data.train)), device=_device_of(data)))
    return Sizes(
        network=kept + (1 + remembered) * trained,
        data=min(num_bytes, num_bytes if loaded_bytes is None else loaded_bytes) + ORDER_BYTES * len(data.train),
        sample=sum(tensor.nbytes for tensor in tensors_of(some)) // min(TRIED, len(data.train)),
        readers=readers(cfg, data.train),
    )


def require_memory(sizes: Sizes, arms: Sequence[TurnArm], free: int, *, is_loaded: bool = False) -> None:
    """Raise UserError where workers take more than the `free` bytes of a machine, whatever else they need.

    `arms` are all there at the same time. `is_loaded`: every worker has its data already.
    """
    ranks = max(turn.arm.ranks_per_host for turn in arms)
    networks = sizes.network * sum(turn.arm.ranks_per_host for turn in arms)
    batches = sizes.sample * max(turn.global_batch // turn.arm.hosts for turn in arms)
    sets = 0 if is_loaded else sizes.data * ranks
    _refuse_above(free, {"networks with their optimizers": networks, "data": sets, "a batch": batches}, arms)


def require_device_memory(sizes: Sizes, arms: Sequence[TurnArm], free: int) -> None:
    """Raise UserError where a worker takes more than the `free` bytes of its GPU. Its data is there already."""
    batch = sizes.sample * max(turn.global_batch // turn.arm.world_size for turn in arms)
    _refuse_above(free, {"networks with their optimizers": sizes.network * len(arms), "a batch": batch}, arms)


def require_shared(sizes: Sizes, arms: Sequence[TurnArm], free: int | None) -> None:
    """Raise UserError where processes that read have less than they need of /dev/shm, of which `free` bytes are left.

    Each hands over a few batches of its rank ahead of time. None: there is no such folder.
    """
    reading = [turn for turn in arms if not turn.replayed]
    each = [turn.arm.threads_per_rank * (sizes.readers or 0) for turn in reading]  # processes of a rank, by arm
    count = sum(turn.arm.ranks_per_host * own for turn, own in zip(reading, each, strict=True))
    samples = sum(turn.global_batch // turn.arm.hosts * own for turn, own in zip(reading, each, strict=True))
    need = samples * AHEAD * sizes.sample
    if free is not None and need > free:
        raise UserError(
            f"/dev/shm has {_shown(free)} free, and {count} processes that read data need {_shown(need)}: make it "
            "larger, as docker does by --shm-size, or give --readers 0"
        )


def require_all(sizes: Sizes, arms: Sequence[TurnArm], device: torch.device, rank: int) -> None:
    """Raise UserError where arms that are all there at the same time do not fit. Every worker has its data already.

    `rank` counts those of this machine. On CPUs its rank 0 looks for all of them. Every other one looks at its GPU.
    """
    if rank == 0:
        require_shared(sizes, arms, environment.free_shared_bytes())
    if device.type == "cuda":
        own = [turn for turn in arms if turn.arm.ranks_per_host > rank]
        require_device_memory(sizes, own, torch.cuda.mem_get_info(device)[0])
    elif rank == 0:
        require_memory(sizes, arms, environment.free_memory_bytes(), is_loaded=True)


def _refuse_above(free: int, parts: dict[str, int], arms: Sequence[TurnArm]) -> None:
    need, ranks = sum(parts.values()), max(turn.arm.ranks_per_host for turn in arms)
    if need <= free:
        return
    who = plural(ranks, "worker") + (f" in {len(arms)} arms" if len(arms) > 1 else "")
    each = ", ".join(f"{name} {_shown(size)}" for name, size in parts.items() if size)
    raise UserError(
        f"{who} take{'s' if ranks == 1 else ''} at least {_shown(need)} of memory ({each}), and {_shown(free)} is "
        "free; use fewer workers, a smaller network or less data"
    )


def _device_of(data: Data) -> torch.device:
    return tensors_of(data.train.tensors)[0].device if isinstance(data.train, Samples) else torch.device("cpu")


def _shown(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
