"""DistributedDataParallel, with the way to combine gradients that was asked for."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ddpbench import environment
from ddpbench.arm import COMPRESSED
from ddpbench.comm import between, compressed, shm
from ddpbench.comm.between import MeanOverHosts
from ddpbench.comm.ranks import Ranks
from ddpbench.command import COMMAND
from ddpbench.errors import UserError
from ddpbench.record import Comm

LOGGED_EVERY = 100  # steps: torch's default


class Ddp(DistributedDataParallel):
    """torch's DistributedDataParallel without the questions that it asks torch's compiler: nothing here is compiled.

    Each question imports torch._dynamo, which took a rank 1.3 to 2.6 s of its start. The answers are those that the
    compiler gives when it is not used, so the bits are the same.
    """

    _inside_ddp_forward = contextmanager(inspect.unwrap(DistributedDataParallel._inside_ddp_forward))
    between: MeanOverHosts | None = None  # what takes gradients between hosts, where that is timed apart

    def __init__(self, net: nn.Module, group: Any = None, *, sends_buffers: bool = True) -> None:
        self._order: list[int] = []  # in which DDP has got the parameters; empty: as in the network
        self._hooked: tuple[Any, ...] = ()  # the arguments of register_comm_hook
        with compiler_not_imported():
            super().__init__(net, process_group=group, gradient_as_bucket_view=True, broadcast_buffers=sends_buffers)

    def register_comm_hook(self, state: object, hook: Any) -> None:
        """Let a hook combine gradients, as torch's own method does, and also after buckets are arranged anew."""
        super().register_comm_hook(state, hook)
        self._hooked = (state, hook)

    @property
    def order(self) -> list[int]:
        """The parameters, counted as in the network, as their gradients were ready in the first step: as in buckets.

        Empty before the first step. torch tells it among what DDP logs, which is current in some steps alone.
        """
        net: Any = self  # torch states no types for these methods
        net._set_ddp_runtime_logging_sample_rate(1)
        net.logger.set_runtime_stats_and_log()
        net._set_ddp_runtime_logging_sample_rate(LOGGED_EVERY)
        found = net._get_ddp_logging_data()
        told = found.get("rebuilt_per_bucket_param_indices") or found.get("prev_iteration_grad_ready_order_indices", "")
        indices = [int(each) for each in str(told).replace(",", " ").split()]
        return [self._order[each] for each in indices] if self._order else indices

    def arrange(self, order: list[int]) -> None:
        """Arrange buckets as they are after a first step that had this `order`. A collective.

        DDP takes its first step with one bucket, and then makes those that it keeps. Their places decide how the sums
        of more than two ranks are rounded. A run that goes on takes no first step again, so it has the same bits.
        """
        net: Any = self
        parameters, are_sparse = ([values[each] for each in order] for values in net._build_params_for_reducer())
        names = net._build_debug_param_to_name_mapping(parameters)
        net.reducer._remove_autograd_hooks()
        net._ddp_init_helper(parameters, are_sparse, names, net.static_graph)
        if self._hooked:
            super().register_comm_hook(*self._hooked)
        net.reducer._push_all_rebuilt_params()
        net.reducer._rebuild_buckets()
        self._order = order


@contextmanager
def compiler_not_imported() -> Iterator[None]:
    """Answer the constructor of DistributedDataParallel in place of torch._dynamo, unless that is imported already."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    answer = SimpleNamespace(get_optimize_ddp_mode=lambda: "ddp_optimizer")  # the default of torch._dynamo.config
    torch._dynamo = SimpleNamespace(utils=answer)  # type: ignore[assignment]
    try:
        yield
    finally:
        del torch._dynamo


def wrap(net: nn.Module, ranks: Ranks, comm: str | None) -> nn.Module:
    """Return `net` as it is trained on several ranks. A collective.

    With "none" it is `net` itself: replicas that never communicate are a control. With "nothing" it is wrapped, and a
    hook leaves the gradients as they are: the control of DistributedDataParallel's own bookkeeping. With "shm"
    gradients go through memory that the ranks share, with "shm+gloo" also through sockets between hosts, with "fp16",
    "bf16" and "powersgd" in fewer bits through torch's own collectives, else through these as they are.
    """
    if comm in (None, "none"):
        return net
    if ranks.sync_batchnorm and comm != "nothing":  # statistics of batch norm are exchanged too, and controls do not
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net, ranks.group)
    wrapped = Ddp(net, ranks.group, sends_buffers=comm != "nothing")  # DDP sends them before every forward pass
    if comm == "nothing":
        wrapped.register_comm_hook(lambda _: None, shm.reduce_bucket)
    elif comm in ("shm", "shm+gloo"):
        has_core_each = ranks.local_size * torch.get_num_threads() <= environment.usable_cores()
        if comm == "shm":
            wrapped.register_comm_hook(*shm.hook(ranks, spins=has_core_each))
        else:
            wrapped.between, reduce = between.hook(ranks, spins=has_core_each)
            wrapped.register_comm_hook(wrapped.between, reduce)
    elif comm in COMPRESSED:
        wrapped.register_comm_hook(*compressed.hook(ranks, comm, over_gloo=wrapped.device_type == "cpu"))
    return wrapped


def order_of(net: nn.Module) -> list[int]:
    """Return the order in which DDP keeps a network's parameters in buckets; nothing where it keeps none."""
    return net.order if isinstance(net, Ddp) else []


def arrange(net: nn.Module, order: list[int]) -> None:
    """Let DDP arrange its buckets in an `order` of an earlier start. Does nothing without one. A collective."""
    if isinstance(net, Ddp) and order:
        net.arrange(order)


def resolve(wanted: str, device: str, *, hosts: int, local_size: int) -> Comm:
    """Return how gradients are combined: as `wanted`, or for "auto" the fastest way that fits.

    Raises UserError where the wanted way cannot work on this device or with so many ranks on each of so many hosts.
    """
    if wanted == "nccl" and device != "cuda":
        raise UserError("--comm nccl needs a CUDA GPU per rank and this run trains on the CPU; use --comm gloo")
    if wanted in ("shm", "shm+gloo"):
        problem = _why_not_shared(wanted, device, hosts, local_size)
        if problem is not None:
            raise UserError(f"--comm {wanted} {problem}")
    if wanted == "powersgd" and device == "cpu" and torch.cuda.is_available():
        raise UserError(
            "--comm powersgd waits for the GPUs that torch sees, and fails where ranks train on CPUs beside them; "
            f"hide them: CUDA_VISIBLE_DEVICES= {COMMAND}"
        )
    if wanted == "auto":
        if device == "cuda":
            return "nccl"
        way: Comm = "shm" if hosts == 1 else "shm+gloo"
        return way if _why_not_shared(way, device, hosts, local_size) is None else "gloo"
    return wanted  # type: ignore[return-value]  # one of the choices of --comm


def _why_not_shared(wanted: str, device: str, hosts: int, local_size: int) -> str | None:
    """Return why gradients cannot go through memory that ranks share, as `shm` or `shm+gloo`; None where they can."""
    lacking = shm.missing()
    if device != "cpu":
        return "is for ranks that train on CPUs and this run trains on GPUs; use --comm nccl"
    if wanted == "shm" and hosts > 1:
        return "is for ranks of one machine and these are of several; use --comm gloo, or shm+gloo"
    if wanted == "shm+gloo" and hosts == 1:
        return "is for ranks of several machines and these are of one; use --comm shm"
    if wanted == "shm+gloo" and local_size == 1:
        return "is for several ranks on each host and there is one, which shares with none; use --comm gloo"
    return None if lacking is None else f"needs {lacking}, which this platform lacks; use --comm gloo"
