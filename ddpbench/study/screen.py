"""What a person sees while a study goes on: a line a run, rewritten on a terminal while it runs."""

import os
import sys
import textwrap
from collections.abc import Sequence
from statistics import fmean
from typing import TextIO

from ddpbench.errors import one_line
from ddpbench.notes import EpochDone
from ddpbench.study.forecast import minutes
from ddpbench.study.plan import Job

LOG_WIDTH = 96  # without a terminal
TERMINAL_WIDTH = 80  # of one that says 0, as some do
NAME = "launch.sh"


class Screen:
    """Standard error, whose last line may be rewritten where it is a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.is_terminal = self._stream.isatty()
        self._shown = ""

    @property
    def width(self) -> int:
        """The columns that a line may have. A terminal may change its size at any time."""
        if not self.is_terminal:
            return LOG_WIDTH
        return os.get_terminal_size(self._stream.fileno()).columns or TERMINAL_WIDTH

    def say(self, text: str, *, indent: str = "") -> None:
        """Print lines that stay, wrapped to the width."""
        self._wipe()
        for line in text.splitlines() or [""]:
            folded = textwrap.wrap(line, self.width, subsequent_indent=indent, break_on_hyphens=False)
            self._print("\n".join(folded) + "\n")

    def warn(self, text: str) -> None:
        """Print a line in this program's name. It is not wrapped: other programs may look for it."""
        self._wipe()
        self._print(f"{NAME}: {one_line(text)}\n")

    def show(self, parts: Sequence[str]) -> None:
        """Rewrite the last line with as many of `parts` as fit. Nothing without a terminal."""
        if self.is_terminal:
            line = fit(parts, self.width - 1)
            if line != self._shown:
                self._print(f"\r{line.ljust(len(self._shown))}")
                self._shown = line

    def keep(self, parts: Sequence[str]) -> None:
        """Print a line that stays, with as many of `parts` as fit."""
        self._wipe()
        self._print(fit(parts, self.width) + "\n")

    def _wipe(self) -> None:
        if self._shown:
            self._print(f"\r{' ' * len(self._shown)}\r")
            self._shown = ""

    def _print(self, text: str) -> None:
        """Print at once. Where nobody reads any more, the study goes on."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._stream = open("/dev/null", "w")  # noqa: SIM115, PTH123 - open for the rest of this process


def fit(parts: Sequence[str], width: int) -> str:
    """Join as many parts as fit, the first ones first; the first alone is cut."""
    line = parts[0][:width]
    for part in parts[1:]:
        if part and len(line) + 2 + len(part) <= width:
            line += f"  {part}"
    return line


def head(number: int, of: int, job: Job, label_width: int) -> str:
    """Return the beginning of a run's line: `[ 3/24] ddp 2 x 1, shm, seed 0`."""
    return f"[{number:>{len(str(of))}}/{of}] {job.label.ljust(label_width)}"


def speed(job: Job, epochs: Sequence[EpochDone]) -> str:
    """Return the mean speed so far. The first epoch of several is warm-up."""
    if not epochs:
        return ""
    train_s = fmean(epoch.train_s for epoch in (epochs[1:] or epochs))
    if job.steps is not None:
        return f"{1e3 * train_s / job.steps:.2f} ms a step"
    return f"{train_s:.2f} s an epoch"


def accuracy(job: Job, epochs: Sequence[EpochDone]) -> str:
    """Return the newest accuracy, where it is a result."""
    return f"{epochs[-1].accuracy:.2%}" if epochs and job.has_accuracy else ""


def at_epoch(epochs: Sequence[EpochDone], of: int) -> str:
    """Return which epoch a run is at."""
    return f"epoch {min(len(epochs) + 1, of)}/{of}"


def time_left(seconds: float) -> str:
    """Return the rest of a study in words."""
    return f"about {minutes(seconds)} left"
