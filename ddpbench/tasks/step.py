"""What is trained: a network together with its loss. DistributedDataParallel wraps both as one module.

So a loss may call the network as often, and by whichever method, as it likes: it is one forward pass.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Loss = Callable[[nn.Module, Any], tuple[Tensor, int | Tensor] | Tensor]  # a sum and its number; or a mean


class Step(nn.Module):
    """A network and its loss. Called with a batch it returns the sum of its losses, and how many were summed."""

    def __init__(self, net: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.net, self._loss = net, loss

    def forward(self, batch: Any) -> tuple[Tensor, int | Tensor]:
        """Return the sum of the losses of a batch, a tensor without dimensions, and their number."""
        found = self._loss(self.net, batch)
        return found if isinstance(found, tuple) else (found, 1)  # a mean: its gradient is averaged over workers


class OverGpus(nn.DataParallel[nn.Module]):
    """torch's nn.DataParallel around a Step: the sums of its GPUs are added up."""

    def forward(self, batch: Any) -> tuple[Tensor, int | Tensor]:
        """Return the sum of the losses of a batch, and their number."""
        if len(self.device_ids) < 2:
            found = self.module(batch)
            assert isinstance(found, tuple)
            return found
        total, count = super().forward(batch)
        return total.sum(), count.sum()

    def replicate(self, module: nn.Module, device_ids: Any) -> list[Any]:
        """Return replicas whose sums and numbers are vectors of length 1, which can be gathered."""
        replicas = super().replicate(module, device_ids)
        for each in replicas:
            each._loss = _as_vectors(each._loss)  # type: ignore[assignment, arg-type]
        return list(replicas)


def _as_vectors(loss: Loss) -> Loss:
    def vectors(net: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        found = loss(net, batch)
        assert isinstance(found, tuple), "a mean cannot be added up over GPUs"
        total, count = found
        return total.reshape(1), torch.as_tensor(count, device=total.device).reshape(1)

    return vectors
