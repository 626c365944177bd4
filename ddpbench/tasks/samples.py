"""The samples of a data set, in one shape for tensors and for map-style data sets.

A batch is what a task's functions take: a tensor, or a tuple, list or dict of tensors, nested as the task likes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate

from ddpbench.errors import UserError

Batch = Any
Collate = Callable[[list[Any]], Batch]

MEMORY_BYTES = 2**31  # that a data set of a task may take once it is in memory
READ_AT_ONCE = 256  # items that are collated together


def map_tensors(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return a batch with every tensor changed. Whatever is no tensor stays as it is."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: map_tensors(value, change) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*(map_tensors(value, change) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(value, change) for value in batch)
    return batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch, in their order."""
    found: list[Tensor] = []
    map_tensors(batch, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


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

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, floating if tensor.is_floating_point() else None)

        return Samples(map_tensors(self.tensors, moved))


def samples_of(data: Any, collate: Collate | None, which: str, say: Callable[[str], None]) -> Samples:
    """Return the samples of what a task's `data` returned. `which` names it in messages: training or test.

    Raises UserError where it is no data set, where its tensors differ in length, or where it does not fit in memory.
    """
    if isinstance(data, IterableDataset):
        raise UserError(
            f"the {which} set is an IterableDataset, which has no sample numbers: ranks cannot share it out; "
            "give a map-style data set, with __len__ and __getitem__"
        )
    is_list_of_items = isinstance(data, list) and not all(isinstance(each, Tensor) for each in data)
    if isinstance(data, Tensor | Mapping) or (
        isinstance(data, list | tuple) and tensors_of(data) and not is_list_of_items
    ):
        _require_equal_lengths(tensors_of(data), which)
        return Samples(data)
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UserError(
            f"the {which} set is a {type(data).__name__}; data() must return tensors or map-style data sets"
        )
    if len(data) == 0:
        raise UserError(f"the {which} set is empty; data() must return samples")
    return _read(data, collate or default_collate, which, say)


def _require_equal_lengths(tensors: Sequence[Tensor], which: str) -> None:
    lengths = [len(tensor) if tensor.dim() else 0 for tensor in tensors]
    if not lengths or min(lengths) == 0:
        raise UserError(f"the {which} set is empty; data() must return samples")
    if len({*lengths}) > 1:
        raise UserError(
            f"the tensors of the {which} set hold {' and '.join(map(str, lengths))} samples; they must agree"
        )


def _read(data: Any, collate: Collate, which: str, say: Callable[[str], None]) -> Samples:
    """Read a map-style data set into memory: once, instead of in every epoch of every run."""
    if _draws(data):
        raise UserError(
            f"an item of the {which} set differs when it is read twice (random transforms?); "
            "read it without, or make tensors of it in data()"
        )
    begin, size = time.perf_counter(), len(data)
    first = collate([data[0]])
    num_bytes = size * sum(tensor.nbytes for tensor in tensors_of(first))
    if num_bytes > MEMORY_BYTES:
        raise UserError(
            f"the {which} set would take {num_bytes / 2**30:.1f} GiB of memory, and it may take "
            f"{MEMORY_BYTES / 2**30:.0f} GiB; use fewer or smaller samples"
        )
    parts = []
    for start in range(0, size, READ_AT_ONCE):
        part = collate([data[index] for index in range(start, min(size, start + READ_AT_ONCE))])
        parts.append(tensors_of(part))
    try:
        joined = iter([torch.cat(column) for column in zip(*parts, strict=True)])
    except RuntimeError as problem:
        raise UserError(
            f"samples of the {which} set differ in shape ({str(problem)[:120]}); pad them in data() or in collate()"
        ) from problem
    samples = Samples(map_tensors(first, lambda _: next(joined)))
    _require_equal_lengths(tensors_of(samples.tensors), which)
    if len(samples) != size:
        raise UserError(f"collate() makes {len(samples)} samples of the {size} of the {which} set; it must keep all")
    took_s = time.perf_counter() - begin
    say(f"the {which} set is in memory: {size:,} samples, {num_bytes / 2**20:.0f} MiB, {took_s:.1f} s")
    return samples


def _draws(data: Any) -> bool:
    """Whether an item depends on random numbers: the first is read twice, from two states of torch's generator."""
    items = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 1):
            torch.manual_seed(seed)
            items.append(tensors_of(_with_tensors(data[0])))
    return any(not torch.equal(one, other) for one, other in zip(*items, strict=False) if one.shape == other.shape) or (
        [tensor.shape for tensor in items[0]] != [tensor.shape for tensor in items[1]]
    )


def _with_tensors(item: Any) -> Batch:
    """Return an item with arrays and numbers as tensors, as default_collate makes them."""
    try:
        return default_collate([item])
    except TypeError:
        return item
