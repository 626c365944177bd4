"""Timing of alternatives against each other: interleaved rounds, medians, n stated."""

import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from ddpbench.files import write_whole
from ddpbench.record import Record, read_record
from ddpbench.train import machine

LAST = Path(__file__).parent / "last"
Name = TypeVar("Name", bound=Hashable)


def interleaved(alternatives: Mapping[Name, Callable[[], float]], rounds: int) -> dict[Name, list[float]]:
    """Run every alternative once a round, each round beginning with another; a round nobody counts comes first.

    An alternative returns its figure, such as batches per second.
    """
    names = list(alternatives)
    figures: dict[Name, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):
        for name in in_turn(names, turn):
            figure = alternatives[name]()
            if turn >= 0:
                figures[name].append(figure)
    return figures


def in_turn(names: Sequence[Name], turn: int) -> list[Name]:
    """Return the names in an order that begins with another one every turn."""
    first = turn % len(names)
    return [*names[first:], *names[:first]]


def train(*command: str) -> tuple[Record, float]:
    """Run a training script, by Python, into a folder of its own. Returns its record, and the process's seconds."""
    with TemporaryDirectory() as folder:
        begin = time.perf_counter()
        subprocess.run([sys.executable, *command, "--results", folder], check=True, capture_output=True)
        return read_record(next(Path(folder).glob("*.json"))), time.perf_counter() - begin


def summary(values: list[float], unit: str) -> str:
    """Return `median unit (lowest - highest, n = rounds)`."""
    middle, low, high = map(digits, (median(values), min(values), max(values)))
    return f"{middle} {unit} ({low} - {high}, n = {len(values)})"


def digits(value: float) -> str:
    """Return a figure with the digits that count: 0.8866, 15.63, 15,993."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Return the ratio of each round: what drifts between rounds cancels within one."""
    return [one / other for one, other in zip(above, below, strict=True)]


class Report:
    """What a benchmark found: printed as it comes, and kept as JSON in benchmarks/last/ with the machine it was on."""

    def __init__(self, name: str) -> None:
        self._name, self._sections = name, list[dict[str, object]]()

    def section(self, title: str) -> None:
        """Begin the figures of one case."""
        print(title, flush=True)
        self._sections.append({"title": title, "figures": {}})

    def figure(self, name: str, values: list[float], unit: str) -> None:
        """Add the values of all rounds of one alternative or ratio."""
        print(f"  {name + ':':40} {summary(values, unit)}", flush=True)
        figures = self._sections[-1]["figures"]
        assert isinstance(figures, dict)
        figures[name] = {"unit": unit, "values": values}

    def write(self) -> None:
        """Keep the figures, whole."""
        described = msgspec.to_builtins(machine.describe())
        told = {
            "benchmark": self._name,
            "date": f"{date.today():%Y-%m-%d}",
            "machine": described,
            "cases": self._sections,
        }
        write_whole(LAST / f"{self._name}.json", msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
