"""What is trained: a network together with its loss. DistributedDataParallel wraps both as one module.

So a loss may call the network as often, and by whichever method, as it likes: it is one forward pass.
"""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpbench.errors import DdpbenchError, UserError
from ddpbench.tasks.samples import tensors_of
from ddpbench.tasks.source import said

Loss = Callable[[nn.Module, Any], tuple[Tensor, int | Tensor] | Tensor]  # a sum and its number; or a mean
ON_THE_WAY = (__file__, str(Path(__file__).with_name("task.py")))  # from a step to the loss of its task
OF_RANKS = ("gloo/transport", "NCCL")  # in errors of an exchange between ranks, as of SyncBatchNorm: no fault of a loss


class Step(nn.Module):
    """A network and its loss. Called with a batch it returns the sum of its losses, and how many were summed."""

    def __init__(self, net: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.net, self._loss = net, loss
        self._was_looked_at = False  # what the loss returns

    def forward(self, batch: Any) -> tuple[Tensor, int | Tensor]:
        """Return the sum of the losses of a batch, a tensor without dimensions, and their number.

        Raises UserError where the loss fails, naming the line, and where the first that it returns is no loss.
        """
        try:
            found = self._loss(self.net, batch)
        except Exception as problem:
            if isinstance(problem, DdpbenchError) or any(word in str(problem) for word in OF_RANKS):
                raise
            raise UserError(_explained(problem, self._loss, batch)) from problem
        if not self._was_looked_at:
            _require_loss(found, self.net)
            self._was_looked_at = True
        return found if isinstance(found, tuple) else (found, 1)  # a mean: its gradient is averaged over workers


class OverGpus(nn.DataParallel[nn.Module]):
    """torch's nn.DataParallel around a Step: the sums of its GPUs are added up."""

    def forward(self, batch: Any) -> tuple[Tensor, int | Tensor]:
        """Return the sum of the losses of a batch, and their number."""
        if len(self.device_ids) < 2:
            found = self.module(batch)
            assert isinstance(found, tuple)
            return found
        try:
            total, count = super().forward(batch)
        except UserError as problem:  # torch puts the traceback of a GPU's thread before what it says
            line = str(problem).strip().splitlines()[-1]
            raise UserError(line.removeprefix(f"{UserError.__module__}.UserError: ")) from problem
        return total.sum(), count.sum()

    def replicate(self, module: nn.Module, device_ids: Any) -> list[Any]:
        """Return replicas whose sums and numbers are vectors of length 1, which can be gathered."""
        replicas = super().replicate(module, device_ids)
        for each in replicas:
            each._loss = _as_vectors(each._loss)  # type: ignore[assignment, arg-type]
            each._was_looked_at = True  # type: ignore[assignment]  # a vector is no sum that a user returns
        return list(replicas)


def _as_vectors(loss: Loss) -> Loss:
    def vectors(net: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        found = loss(net, batch)
        # A mean is averaged over GPUs, as it is over workers.
        total, count = found if isinstance(found, tuple) else (found, 1)
        return total.reshape(1), torch.as_tensor(count, device=total.device).reshape(1)

    return vectors


def _require_loss(found: Any, net: nn.Module) -> None:
    """Raise UserError where what a loss has returned is no sum and its number, and no mean; and where it trains."""
    if any(value.grad is not None for value in net.parameters()):
        raise UserError(
            "loss() calls backward() itself; return the loss, and leave gradients and steps to ddpbench; a task with "
            "two optimizers, such as a GAN, cannot be trained by it"
        )
    if isinstance(found, tuple) and len(found) != 2:
        raise UserError("loss() must return a sum and its number, as in (sum, count), or a mean")
    total, count = found if isinstance(found, tuple) else (found, 1)
    if not isinstance(total, Tensor):
        raise UserError(f"loss() returned a {type(total).__name__} as its sum; return a tensor, without .item()")
    if total.dim():
        raise UserError(f"loss() returned a tensor of shape {[*total.shape]} as its sum; add it up with .sum()")
    if torch.is_grad_enabled() and not total.requires_grad:
        raise UserError("loss() returned a sum without a gradient; do not detach it, and compute it without no_grad")
    if not isinstance(count, int | float | Tensor) or (isinstance(count, Tensor) and count.dim()):
        raise UserError(
            "loss() must return how many losses it summed: (sum, count), where count is one number, or a tensor of "
            "shape []"
        )


def _explained(problem: Exception, loss: Loss, batch: Any) -> str:
    """Return an error of a loss in one line, with the last line of the file of the loss on the way to it."""
    code = getattr(inspect.unwrap(loss), "__code__", None)
    places = [] if code is None else [(code.co_filename, code.co_firstlineno)]  # a missing argument is on no line
    places += [(each.filename, each.lineno or 0) for each in traceback.extract_tb(problem.__traceback__)]
    places = [each for each in places if each[0] not in ON_THE_WAY]
    lines = [line for file, line in places if file == places[0][0]]
    of_task, line = (f" of the task {Path(places[0][0]).name}", f", line {lines[-1]}") if places else ("", "")
    sizes = [len(each) for each in tensors_of(batch) if each.dim()]
    samples = f" of {sizes[0]} samples" if sizes else ""
    return f"loss(){of_task} failed in a batch{samples}{line}: {said(problem)}"
