"""Where the samples of a data set are: in memory where they can be, otherwise they are read while training."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate

from ddpbench.errors import UserError
from ddpbench.tasks.items import Collate, Failed, Items, Keyed, generators_kept, seed, states_of_generators
from ddpbench.tasks.samples import Samples, map_tensors, others_of, require_equal_lengths, tensors_of

MEMORY_BYTES = 2**31  # that a data set of a task may take once it is in memory
READ_AT_ONCE = 256  # items that are collated together
EPOCH = 1  # whose random numbers are tried
TRIED = 4  # items that are read twice, to see whether they are drawn at random


@dataclass(frozen=True, slots=True)
class Reading:
    """How the data set of a task is read, and what is said of it."""

    which: str  # training or test
    collate: Collate | None  # the task's own
    explain: Callable[[Exception], str]  # an error of the task's own code, in one line
    say: Callable[[str], None]
    in_memory: bool | None = None  # False: read while training, whatever it is; None: in memory where that can be

    def samples_of(self, data: Any) -> Samples | Items:
        """Return the samples of what a task's `data` returned.

        Raises UserError where it is no data set, where its tensors differ in length, or where an item cannot be read.
        """
        which = self.which
        if isinstance(data, IterableDataset):
            raise UserError(
                f"the {which} set is an IterableDataset, which has no sample numbers: ranks cannot share it out; "
                "give a map-style data set, with __len__ and __getitem__"
            )
        is_list_of_items = isinstance(data, list) and not all(isinstance(each, Tensor) for each in data)
        if isinstance(data, Tensor | Mapping) or (
            isinstance(data, list | tuple) and tensors_of(data) and not is_list_of_items
        ):
            require_equal_lengths(tensors_of(data), which)
            return Samples(data)
        if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
            raise UserError(
                f"the {which} set is a {type(data).__name__}; data() must return tensors or map-style data sets"
            )
        if len(data) == 0:
            raise UserError(f"the {which} set is empty; data() must return samples")
        keyed = Keyed(data, self.collate or default_collate, self.explain)
        with generators_kept():
            found = self._why_read(keyed) or self._read(keyed)
        if isinstance(found, Samples):
            return found
        self.say(f"the {which} set is read while training, {len(data):,} samples: {found}")
        return Items(keyed)

    def _why_read(self, keyed: Keyed) -> str | None:
        """Return why a data set is read while training; None where it may fit in memory."""
        if self._draws(keyed):
            return "its items are drawn at random"
        if self.in_memory is False:
            return "--readers was given"
        first = self._batch(keyed, [0])
        if not tensors_of(first):
            raise UserError(f"an item of the {self.which} set holds no tensor and no number; data() must return some")
        if others_of(first):
            return "its items hold more than tensors"
        num_bytes = len(keyed) * sum(tensor.nbytes for tensor in tensors_of(first))
        if num_bytes > MEMORY_BYTES:
            return f"it would take {num_bytes / 2**30:.1f} GiB of memory, and may take {MEMORY_BYTES / 2**30:.0f} GiB"
        return None

    def _draws(self, keyed: Keyed) -> bool:
        """Whether an item draws from a generator. Raises UserError where it depends on more than those we can seed."""
        draws, last = False, len(keyed) - 1
        self._batch(keyed, [0])  # the first item may import what the others draw from
        for index in sorted({round(last * tried / (TRIED - 1)) for tried in range(TRIED)}):
            twice = []
            for _ in range(2):
                seed(keyed.seed, EPOCH, index)
                before = states_of_generators()
                twice.append(tensors_of(self._batch(keyed, [index])))
                draws = draws or not _equal(before, states_of_generators())
            if not _equal(*twice):
                raise UserError(
                    f"sample {index} of the {self.which} set differs when it is read twice; an item may draw random "
                    "numbers only from the generators of torch, random and numpy, which are seeded for each item"
                )
        return draws

    def _read(self, keyed: Keyed) -> Samples | str:
        """Read a data set into memory: once, instead of in every epoch. Returns why where that cannot be."""
        begin, size, parts = time.perf_counter(), len(keyed), []
        for start in range(0, size, READ_AT_ONCE):
            part = self._batch(keyed, range(start, min(size, start + READ_AT_ONCE)))
            parts.append(tensors_of(part))
        try:
            joined = iter([torch.cat(column) for column in zip(*parts, strict=True)])
            samples = Samples(map_tensors(part, lambda _: next(joined)))
        except (RuntimeError, ValueError):
            return "its batches differ in shape"
        require_equal_lengths(tensors_of(samples.tensors), self.which)
        if len(samples) != size:
            raise UserError(
                f"collate() makes {len(samples)} samples of the {size} of the {self.which} set; it must keep all"
            )
        num_bytes, took_s = sum(each.nbytes for each in tensors_of(samples.tensors)), time.perf_counter() - begin
        self.say(f"the {self.which} set is in memory: {size:,} samples, {num_bytes / 2**20:.0f} MiB, {took_s:.1f} s")
        return samples

    def _batch(self, keyed: Keyed, indices: Iterable[int]) -> Any:
        """Return the batch of some items. Raises UserError where one cannot be read."""
        found = keyed.__getitems__([(EPOCH, index) for index in indices])
        if isinstance(found, Failed):
            raise UserError(f"the {self.which} set cannot be read: {found.why}")
        return found


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal, tensors and arrays in them by their content."""
    if isinstance(one, Tensor):
        is_alike = isinstance(other, Tensor) and (one.shape, one.dtype) == (other.shape, other.dtype)
        return is_alike and bool(((one == other) | ((one != one) & (other != other))).all())  # NaN is as good as NaN
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool((one == other) if not hasattr(one, "tobytes") else one.tobytes() == other.tobytes())
