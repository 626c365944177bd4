"""DistributedDataParallel, with the way to combine gradients that was asked for."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ddpbench import environment
from ddpbench.comm import shm
from ddpbench.comm.ranks import Ranks
from ddpbench.errors import UserError
from ddpbench.record import Comm


def wrap(net: nn.Module, ranks: Ranks, comm: Comm | None) -> nn.Module:
    """Return `net` as it is trained on several ranks. A collective.

    With "none" it is `net` itself: replicas that never communicate are the control. With "shm" gradients go through
    memory that the ranks share, else through torch's own collectives.
    """
    if comm in (None, "none"):
        return net
    wrapped = DistributedDataParallel(net, gradient_as_bucket_view=True)
    if comm == "shm":
        has_core_each = ranks.local_size * torch.get_num_threads() <= environment.usable_cores()
        wrapped.register_comm_hook(*shm.hook(ranks, spins=has_core_each))
    return wrapped


def resolve(wanted: str, device: str, *, one_machine: bool) -> Comm:
    """Return how gradients are combined: as `wanted`, or for "auto" the fastest way that fits.

    Raises UserError where the wanted way cannot work on this device or on these machines.
    """
    lacking = shm.missing()
    if wanted == "nccl" and device != "cuda":
        raise UserError("--comm nccl needs a CUDA GPU per rank and this run trains on the CPU; use --comm gloo")
    if wanted == "shm":
        if device != "cpu":
            raise UserError("--comm shm is for ranks that train on CPUs and this run trains on GPUs; use --comm nccl")
        if not one_machine:
            raise UserError("--comm shm is for ranks of one machine and these are of several; use --comm gloo")
        if lacking is not None:
            raise UserError(f"--comm shm needs {lacking}, which this platform lacks; use --comm gloo")
    if wanted == "auto":
        if device == "cuda":
            return "nccl"
        return "shm" if one_machine and lacking is None else "gloo"
    return wanted  # type: ignore[return-value]  # one of the choices of --comm
