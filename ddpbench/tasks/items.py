"""A map-style data set whose samples are read while training, because they are drawn at random or do not fit in memory.

Before an item is read, the generators of torch, random and numpy are seeded by (seed, epoch, sample). So an item is the
same whichever rank and whichever process reads it, and after a restart: every arm trains on the same pixels.
"""

import importlib
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ddpbench.errors import DataError, UserError
from ddpbench.tasks.readers import Reader
from ddpbench.tasks.samples import Batch, map_tensors, moved

Key = tuple[int, int]  # epoch and sample
Collate = Callable[[list[Any]], Batch]


@dataclass(frozen=True, slots=True)
class Failed:
    """What is read instead of a batch where an item cannot be read: why, in one line."""

    why: str


@dataclass(frozen=True)
class Keyed:
    """A data set that is asked for batches of keys. A process that reads has one, and so has torch's DataLoader."""

    items: Any
    collate: Collate
    explain: Callable[[Exception], str]  # an error of the task's own code, in one line
    seed: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | Failed:
        """Return the batch of these keys."""
        index = -1
        try:
            items = []
            for epoch, index in keys:
                seed(self.seed, epoch, index)
                items.append(self.items[index])
            return self.collate(items)
        except Exception as problem:  # a process that reads cannot raise it where it is understood
            cure = "" if isinstance(problem, UserError) else "; leave it out, or mend it"  # which has its own cure
            return Failed(f"sample {index}: {self.explain(problem)}{cure}")


class Items:
    """Samples that are read when they are needed."""

    def __init__(self, keyed: Keyed, device: torch.device | None = None, floating: torch.dtype | None = None) -> None:
        self._keyed, self._device, self._floating = keyed, device or torch.device("cpu"), floating

    def __len__(self) -> int:
        return len(self._keyed)

    def take(self, indices: Tensor) -> Batch:
        """Return the batch of these samples as the first epoch has them, read by this process."""
        return next(self.opened(0, self._keyed.seed).read([indices], 1))

    def to(self, device: torch.device, floating: torch.dtype | None = None) -> "Items":
        """Return them so that batches come in the memory of a device, floating-point tensors as `floating`."""
        return Items(self._keyed, device, floating or self._floating)

    def opened(self, processes: int, seed: int) -> "Opened":
        """Return what reads them by so many processes, or in this process where that is 0."""
        return Opened(replace(self._keyed, seed=seed), processes, self._device, self._floating)


class Opened:
    """Reads the batches of one rank, ahead of training where there are processes for it."""

    def __init__(self, keyed: Keyed, processes: int, device: torch.device, floating: torch.dtype | None) -> None:
        self._keyed, self._device, self._floating = keyed, device, floating
        self._reader = Reader(keyed, processes, pinned=device.type != "cpu") if processes else None
        self._waited_s = 0.0

    def read(self, orders: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """Yield the batch of each order, numbers of samples, as this epoch has them.

        Raises DataError where an item cannot be read, and TrainingError where a process that reads has ended.
        """
        # To read an order from a GPU waits for all that it has to do: once for all of them, and not in every step.
        here = torch.cat([*orders]).cpu().split([len(order) for order in orders]) if orders else ()
        keys = ([(epoch, index) for index in order.tolist()] for order in here)
        begin = time.perf_counter()
        for found in self._reader.read(keys, len(orders)) if self._reader else self._here(keys):
            if isinstance(found, Failed):
                raise DataError(found.why)
            batch = map_tensors(found, lambda tensor: moved(tensor, self._device, self._floating))
            self._waited_s += time.perf_counter() - begin
            yield batch
            begin = time.perf_counter()

    def waited_s(self) -> float:
        """Return the seconds that training has waited for batches since the last call."""
        waited_s, self._waited_s = self._waited_s, 0.0
        return waited_s

    def hold(self) -> None:
        """Stop the processes that read, until `release`: they read nothing ahead."""
        if self._reader:
            self._reader.hold()

    def close(self) -> None:
        """End them."""
        if self._reader:
            self._reader.close()

    def release(self) -> None:
        """Let them go on."""
        if self._reader:
            self._reader.release()

    def _here(self, keys: Iterator[list[Key]]) -> Iterator[Batch | Failed]:
        for each in keys:
            with generators_kept():
                found = self._keyed.__getitems__(each)
            yield found


def seed(*numbers: int) -> None:
    """Seed the generators that code of a data set draws from. Those of GPUs stay as they are."""
    # The hash of a tuple of ints is the same in every process.
    number = hash(numbers) % 2**63
    torch.default_generator.manual_seed(number)
    random.seed(number)
    if numpy_random := _numpy_random():
        numpy_random.seed(number % 2**32)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Leave the generators as they are, whatever is drawn inside."""
    states = states_of_generators()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        if (numpy_random := _numpy_random()) and states[2]:
            numpy_random.set_state(states[2])


def states_of_generators() -> tuple[Tensor, Any, Any]:
    """Return the states of the generators of torch, random and numpy; None where nobody has imported the last."""
    numpy_random = _numpy_random()
    return torch.get_rng_state(), random.getstate(), numpy_random.get_state() if numpy_random else None


def _numpy_random() -> Any:
    """Return numpy's module of that name where numpy is imported. numpy itself imports it when it is first used."""
    return importlib.import_module("numpy.random") if "numpy" in sys.modules else None
