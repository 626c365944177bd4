"""What a task counts over the test set, share by share."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tested:
    """What a task counts over some of the test set: sums and counts of its parts."""

    name: str
    sums: list[float]
    counts: list[float]


def add_up(parts: Sequence[Tested]) -> Tested:
    """Return what was counted over several shares of the test set. Those without samples are empty."""
    some = [part for part in parts if part.counts]
    if not some:
        return Tested("", [], [])
    sums, counts = (
        [sum(column) for column in zip(*rows, strict=True)]
        for rows in ([part.sums for part in some], [part.counts for part in some])
    )
    return Tested(some[0].name, sums, counts)
