"""The lines that a person sees: those that stay, and on a terminal one that is rewritten."""

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from ddpbench.command import NAME
from ddpbench.errors import one_line

LOG_WIDTH = 96  # columns, without a terminal
DEFAULT_WIDTH = 80  # columns of a terminal that says 0, as some do


class Screen:
    """Standard error. Where it is a terminal, its last line may be rewritten."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self.is_terminal = self._stream.isatty()
        self._shown = ""
        self.last_warning = ""

    @property
    def width(self) -> int:
        """The columns that a line may have now: a terminal may change its size at any time."""
        if not self.is_terminal:
            return LOG_WIDTH
        return os.get_terminal_size(self._stream.fileno()).columns or DEFAULT_WIDTH

    def say(self, text: str, *, indent: str = "") -> None:
        """Print lines that stay, wrapped to the width. A path is never broken: one may copy it."""
        self._wipe()
        for line in text.splitlines() or [""]:
            folded = textwrap.wrap(
                line, self.width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
            )
            self._print("\n".join(folded) + "\n")

    def warn(self, text: str) -> None:
        """Print a line that begins with the name of this program. It is not wrapped: other programs may search it."""
        self._wipe()
        self.last_warning = one_line(text)
        self._print(f"{NAME}: {self.last_warning}\n")

    def warn_of_ignored(self, variables: Sequence[str]) -> None:
        """Name the environment variables that were dropped."""
        if variables:
            self.warn(f"ignoring from the environment: {' '.join(variables)}")

    def rewrite(self, parts: Sequence[str]) -> None:
        """Rewrite the last line with as many of `parts` as fit. Without a terminal this prints nothing."""
        if self.is_terminal:
            line = fit(parts, self.width - 1)
            if line != self._shown:
                self._print(f"\r{line.ljust(len(self._shown))}")
                self._shown = line

    def say_parts(self, parts: Sequence[str]) -> None:
        """Print a line that stays, with as many of `parts` as fit."""
        self._wipe()
        self._print(fit(parts, self.width).rstrip() + "\n")

    def _wipe(self) -> None:
        if self._shown:
            self._print(f"\r{' ' * len(self._shown)}\r")
            self._shown = ""

    def _print(self, text: str) -> None:
        """Print at once. Where the reader has gone, or the disk is full, print nothing more: the study goes on."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._stream = open("/dev/null", "w")  # noqa: SIM115, PTH123 - open for the rest of this process


def fit(parts: Sequence[str], width: int) -> str:
    """Join the parts that fit, the first ones first. Only the first part is ever cut."""
    line = parts[0][:width]
    for part in parts[1:]:
        if part and len(line) + 2 + len(part) <= width:
            line += f"  {part}"
    return line
