"""Timing of alternatives against each other: interleaved rounds, medians, n stated."""

from collections.abc import Callable, Hashable, Mapping
from statistics import median
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def interleaved(alternatives: Mapping[Name, Callable[[], float]], rounds: int) -> dict[Name, list[float]]:
    """Run every alternative once a round, each round beginning with another; a round nobody counts comes first.

    An alternative returns its figure, such as batches per second.
    """
    names = list(alternatives)
    figures: dict[Name, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            figure = alternatives[name]()
            if turn >= 0:
                figures[name].append(figure)
    return figures


def summary(values: list[float], unit: str) -> str:
    """Return `median unit (lowest - highest, n = rounds)`."""
    return f"{median(values):,.4g} {unit} ({min(values):,.4g} - {max(values):,.4g}, n = {len(values)})"


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Return the ratio of each round: what drifts between rounds cancels within one."""
    return [one / other for one, other in zip(above, below, strict=True)]
