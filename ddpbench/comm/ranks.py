"""The ranks as this room knows them: a place, a number, and a way to exchange values. `train.world.World` is one."""

from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Ranks(Protocol):
    """This process's place among the ranks of a run."""

    rank: int
    size: int
    local_size: int  # ranks on this machine
    timeout_s: float  # that a rank waits for another
    sync_batchnorm: bool  # batch norm looks at the batch of all ranks, and not at each rank's part of it
    group: Any  # torch's process group of these ranks; None: its default group

    def gather(self, value: T) -> list[T]:
        """Return the value of every rank, in rank order, on every rank. A collective."""

    def barrier(self) -> None:
        """Wait until every rank is here. A collective."""
