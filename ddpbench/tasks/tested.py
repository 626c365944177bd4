"""What a task counts over the test set, share by share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddpbench.errors import UserError, one_line
from ddpbench.tasks.source import said


@dataclass(frozen=True, slots=True)
class Tested:
    """What a task counts over some of the test set: sums and counts of its parts."""

    name: str
    sums: list[float]
    counts: list[float]


def add_up(parts: Sequence[Tested]) -> Tested:
    """Return what was counted over several shares of the test set. Those without samples are empty.

    Raises UserError where they do not have equally many parts.
    """
    some = [part for part in parts if part.counts]
    if not some:
        return Tested("", [], [])
    sizes = sorted({len(part.counts) for part in some})
    if len(sizes) > 1:
        raise UserError(
            f"metric() counts {sizes[0]} parts in one batch and {sizes[-1]} in another; count the same parts in each, "
            "as bincount() does with minlength="
        )
    sums, counts = (
        [sum(column) for column in zip(*rows, strict=True)]
        for rows in ([part.sums for part in some], [part.counts for part in some])
    )
    return Tested(some[0].name, sums, counts)


def counted(where: str, name: str, found: tuple[Any, Any], *, is_share: bool) -> Tested:
    """Return what a function of a task has counted over a batch, as it returned it: sums and counts.

    Raises UserError, naming `where`, for what cannot be added up to a figure; and to a share from 0 to 1, if it is one.
    """
    sums, counts = (_numbers(where, each) for each in found)
    if len(sums) != len(counts) or not counts:
        raise UserError(f"{where} returned {len(sums)} sums and {len(counts)} counts; return one count for each sum")
    if wrong := [each for each in counts if not 0 <= each < math.inf]:
        raise UserError(f"{where} returned the count {wrong[0]:g}; a count must be a number from 0 up")
    for total, count in zip(sums, counts, strict=True):
        if is_share and not 0 <= total <= count and math.isfinite(total):
            raise UserError(
                f"{where} returned {total:g} of {count:g}, and its {name} is a share from 0 to 1; return the hits and "
                'how many could be hit, or write unit = "" into the task'
            )
    return Tested(name, sums, counts)


def _numbers(where: str, value: Any) -> list[float]:
    """Return the sums or the counts of the parts of a test set."""
    try:
        flat = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
        return [float(each) for each in flat.detach().reshape(-1).tolist()]
    except (TypeError, ValueError, RuntimeError) as problem:
        raise UserError(
            f"{where} returned {one_line(repr(value)[:80])} where a number or a vector of numbers must be: "
            f"{said(problem)}"
        ) from problem
