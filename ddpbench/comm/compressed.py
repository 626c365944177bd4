"""Gradients combined in fewer bits, by torch's own hooks: `--comm fp16`, `bf16` and `powersgd`.

This is other arithmetic: gradients are rounded or approximated, and a run learns something slightly different. All
ranks get the same bits all the same.

fp16, bf16    every rank rounds its gradients to 16 bits; they are added in 16 bits
powersgd      each matrix of gradients is approximated by the product of two narrow ones, and these are combined
              (PowerSGD, arXiv:1905.13727). What a rank could not send is added to its gradients of the next step

Ranks send through gloo on CPUs and through nccl on GPUs.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.futures import Future

from ddpbench.comm.ranks import Ranks

# Columns of the narrow matrices. In two epochs of MNIST, two of them lost 0.1 to 1.0 points of accuracy, and one, which
# is torch's default, 0.5 to 1.9 (cnn and mlp, n = 1 seed).
COLUMNS = 2
EXACT_STEPS = 2  # the fewest that torch allows: DDP arranges its buckets anew after the first step
SMALLEST = 1e-8  # is added to the length of a column, so that a gradient of zeros is not divided by zero


def hook(ranks: Ranks, comm: str, *, over_gloo: bool) -> tuple[Any, Any]:
    """Return the arguments of DistributedDataParallel.register_comm_hook."""
    if comm == "fp16":
        return ranks.group, default_hooks.fp16_compress_hook
    if comm == "bf16":
        return ranks.group, in_bf16
    group = ranks.group or dist.group.WORLD
    state = powerSGD_hook.PowerSGDState(
        AtOnce(group) if over_gloo else group,
        matrix_approximation_rank=COLUMNS,
        start_powerSGD_iter=EXACT_STEPS,
        use_error_feedback=True,
        warm_start=True,
        orthogonalization_epsilon=SMALLEST,
    )
    return state, powerSGD_hook.powerSGD_hook


def in_bf16(group: Any, bucket: dist.GradBucket) -> Future[torch.Tensor]:  # type: ignore[name-defined]
    """Combine a bucket of gradients in bfloat16.

    DDP refuses torch's own function by its name where torch is built without CUDA. But gloo adds bfloat16.
    """
    return default_hooks.bf16_compress_hook(group, bucket)


class AtOnce:
    """A group of ranks whose sums are there when it returns, for a hook that goes on in callbacks.

    gloo would run these in threads of its own, where a product of matrices has other bits (MKL has another number of
    threads there), and where several buckets at a time would send their messages in another order on each rank. A
    callback of what is there already runs in the thread of training.
    """

    def __init__(self, group: Any) -> None:
        self._group = group

    def size(self) -> int:
        """Return the number of ranks."""
        return int(self._group.size())

    def allreduce(self, tensors: list[torch.Tensor], options: Any) -> Any:
        """Add up tensors over the ranks, as torch's all_reduce asks its group to. Returns torch's handle."""
        work = self._group.allreduce(tensors, options)
        with suppress(RuntimeError):  # DDP waits for the hook's result, and gets the error there
            work.get_future().wait()
        return work
