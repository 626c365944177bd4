"""The samples of a data set in memory, and what a batch is.

A batch is what a task's functions take: a tensor, or a tuple, list or dict of tensors, nested as the task likes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpbench.errors import UserError

Batch = Any


def map_tensors(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return a batch with every tensor changed. Whatever is no tensor stays as it is."""
    return _map(batch, change, lambda other: other)


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch, in their order."""
    found: list[Tensor] = []
    map_tensors(batch, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


def others_of(batch: Batch) -> list[Any]:
    """Return what a batch holds beside tensors, such as names of files."""
    found: list[Any] = []
    _map(batch, lambda tensor: tensor, found.append)
    return found


def _map(batch: Batch, change: Callable[[Tensor], Tensor], other: Callable[[Any], Any]) -> Batch:
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: _map(value, change, other) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*(_map(value, change, other) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_map(value, change, other) for value in batch)
    return other(batch)


class Samples:
    """Samples in memory: tensors whose first dimension counts them."""

    def __init__(self, tensors: Batch) -> None:
        self.tensors = tensors
        self._flat = tensors_of(tensors)
        # The usual shape takes a shorter way: at batch 16 a step lasts 200 us.
        self._is_plain = (
            isinstance(tensors, tuple) and not hasattr(tensors, "_fields") and len(self._flat) == len(tensors)
        )

    def __len__(self) -> int:
        return len(self._flat[0])

    def take(self, indices: Tensor) -> Batch:
        """Return the batch of these samples, in this order."""
        if self._is_plain:
            return tuple([tensor.index_select(0, indices) for tensor in self._flat])
        return map_tensors(self.tensors, lambda tensor: tensor.index_select(0, indices))

    def to(self, device: torch.device, floating: torch.dtype | None = None) -> "Samples":
        """Return them in the memory of a device, floating-point tensors as `floating` if that is given."""
        return Samples(map_tensors(self.tensors, lambda tensor: moved(tensor, device, floating)))

    def opened(self, _: int, __: int) -> "InMemory":
        """Return what reads them. It needs no processes and draws no random numbers."""
        return InMemory(self)


class InMemory:
    """Reads samples that are in memory: nobody waits for them."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def read(self, orders: Sequence[Tensor], _: int) -> Iterator[Batch]:
        """Yield the batch of each order: numbers of samples."""
        take = self._samples.take
        for order in orders:
            yield take(order)

    def waited_s(self) -> None:
        """Return None: there is no wait to measure."""

    def hold(self) -> None:
        """Nothing works ahead."""

    def close(self) -> None:
        """There is nothing to end."""

    def release(self) -> None:
        """Nothing was held."""


def moved(tensor: Tensor, device: torch.device, floating: torch.dtype | None) -> Tensor:
    """Return a tensor in the memory of a device, as `floating` if it is a floating-point one and that is given."""
    return tensor.to(device, floating if tensor.is_floating_point() else None, non_blocking=True)


def require_equal_lengths(tensors: Sequence[Tensor], which: str) -> None:
    """Raise UserError unless all tensors of a set hold equally many samples, and any at all."""
    lengths = [len(tensor) if tensor.dim() else 0 for tensor in tensors]
    if not lengths or min(lengths) == 0:
        raise UserError(f"the {which} set is empty; data() must return samples")
    if len({*lengths}) > 1:
        raise UserError(
            f"the tensors of the {which} set hold {' and '.join(map(str, lengths))} samples; they must agree"
        )
