"""Text within the width of a terminal: paragraphs and tables. Nothing is cut.

A table that is too wide gets wrapped cells. If that takes too many lines, its rows are printed one below another, a
line for each cell.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ddpbench.words import showable

MIN_WIDTH, MAX_WIDTH = 60, 80  # columns. Wider lines are hard to read, and break in mails and logs.
MIN_CELL_WIDTH = 10  # columns of a cell of words
MAX_ROW_HEIGHT = 3  # lines of a row with wrapped cells
GAP = 2  # columns between wrapped cells
Table = list[tuple[str, ...]]  # the first row names the columns
NO_VALUE = "-"  # in a cell that cannot have a value
VALUE = re.compile(r"[-+]?\d[\d.,]*(e[-+]\d+)?(%|x?\s|x?$)|-$|not measured$")
# Where text may be broken into lines. A value may be broken before its interval or deviation only.
BEFORE_SPREAD = re.compile(r"( )(?=\(|±|\+-)")
BETWEEN_WORDS = re.compile(r"( )")
BETWEEN_NAMES = re.compile(r"( |(?<=/)(?=\w\w))")  # steps/epoch may be broken, samples/s may not
# Spaces at which text must not be broken, as in 0.98 - 1.19, n = 3, 2 x 1, 3 %, bash launch.sh. They become hard ones.
TIGHT = re.compile(
    r" (?=[-=x] )|(?<= [-=x%]) | (?=%)|(?<=\d) (?=[a-z])| (?=m?s\b)|(?<=batch) (?=\d)"
    r"|(?<=bash) |(?<=launch\.sh) |(?<=ddpbench) (?=--|sweep)"
)
HARD_SPACE = "\u00a0"


@dataclass(frozen=True, slots=True)
class Page:
    """Where text is printed: its width in columns, and its encoding."""

    width: int = MAX_WIDTH
    encoding: str = "utf-8"

    def paragraph(self, text: str, first: str = "", *, hang: int | None = None, whole_words: bool = False) -> str:
        """Return `text` in lines. The first line begins with `first`, the others with `hang` spaces.

        `hang` is the length of `first` unless it is given. `whole_words`: a word that is too long stays whole and makes
        a long line, so that a path can be copied.
        """
        hang = len(first) if hang is None else hang
        return "\n".join(self._lines(text, first, hang, whole_words=whole_words))

    def table(self, table: Table) -> str:
        """Return an aligned table. On a narrow page cells are wrapped; on a narrower one it is printed row by row."""
        shown = [tuple(showable(cell, self.encoding) for cell in row) for row in table]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        if sum(widths) + 3 * (len(widths) - 1) <= self.width:
            return _aligned(shown, widths, 3)
        narrow = _narrowed(shown, self.width - GAP * (len(widths) - 1))
        return _aligned(shown, narrow, GAP) if narrow else "\n".join(self._row_by_row(shown))

    def _row_by_row(self, table: Table) -> Iterator[str]:
        names, *rows = table
        longest = max(map(len, names[1:]))
        for name, *cells in rows:
            indent = len(name) - len(name.lstrip()) + 2
            kind = f"{names[0]}: " if names[0] else ""
            yield from self._lines(kind + name.strip(), " " * (indent - 2), indent)
            for heading, cell in zip(names[1:], cells, strict=True):
                if cell == NO_VALUE:
                    continue
                first = f"{' ' * indent}{heading + ':' if heading else ''}".ljust(indent + longest + 2)
                yield from self._lines(cell, first, len(first))

    def _lines(self, text: str, first: str, hang: int, *, whole_words: bool = False) -> list[str]:
        text = TIGHT.sub(HARD_SPACE, showable(text, self.encoding))
        lines = textwrap.wrap(
            text,
            self.width,
            initial_indent=showable(first, self.encoding),
            subsequent_indent=" " * hang,
            break_on_hyphens=False,
            break_long_words=not whole_words,
        )
        return [line.replace(HARD_SPACE, " ").rstrip() for line in lines]


def of_output() -> Page:
    """Return the page of standard output: as wide as the terminal, and of MAX_WIDTH at most."""
    if sys.stdout is None:
        return Page()
    width = MAX_WIDTH
    if sys.stdout.isatty():
        width = min(MAX_WIDTH, max(shutil.get_terminal_size((width, 24)).columns, MIN_WIDTH))
    return Page(width, sys.stdout.encoding or "ascii")


def _aligned(table: Table, widths: Sequence[int], gap: int) -> str:
    """Return a table with wrapped cells. Values stand right, words left, and names of columns at the bottom."""
    columns = _columns(table)
    to_right = [index > 0 and not any(map(_is_words, column[1:])) for index, column in enumerate(columns)]
    wrapped = [
        _wrapped(column, width, index) for index, (column, width) in enumerate(zip(columns, widths, strict=True))
    ]
    lines = []
    for number, cells in enumerate(zip(*wrapped, strict=True)):
        height = max(map(len, cells))
        for index in range(height):
            parts = [_line_of(cell, index - height + len(cell) if number == 0 else index) for cell in cells]
            placed = zip(parts, widths, to_right, strict=True)
            lines.append((" " * gap).join(part.rjust(w) if right else part.ljust(w) for part, w, right in placed))
    return "\n".join(line.rstrip() for line in lines)


def _line_of(cell: Sequence[str], index: int) -> str:
    return cell[index] if 0 <= index < len(cell) else ""


def _narrowed(table: Table, room: int) -> list[int] | None:
    """Return widths of columns that fit into `room` columns; None if a row would take more than MAX_ROW_HEIGHT lines.

    The first column, which names the rows, is narrowed last unless narrowing it earlier saves lines.
    """
    columns = _columns(table)
    fitting = [widths for late in (True, False) if (widths := _fitted(columns, room, names_late=late))]
    best = min(fitting, key=lambda widths: sum(_heights(columns, widths)), default=None)
    return best if best and max(_heights(columns, best)[1:], default=0) <= MAX_ROW_HEIGHT else None


def _fitted(columns: list[tuple[str, ...]], room: int, *, names_late: bool) -> list[int] | None:
    """Narrow one column after another until the table fits; None if it cannot.

    Each step takes the column that costs the fewest lines, and among equals the one that gains the most width.
    """
    widths = [max(map(len, column)) for column in columns]
    while sum(widths) > room:
        steps = []
        for index, column in enumerate(columns):
            narrower = _next_narrower(column, widths[index], index)
            if narrower is not None:
                tried = [*widths[:index], narrower, *widths[index + 1 :]]
                height, gain = sum(_heights(columns, tried)), widths[index] - narrower
                steps.append((names_late and index == 0, height, -gain, tried))
        if not steps:
            return None
        *_, widths = min(steps)
    return widths


def _next_narrower(column: tuple[str, ...], width: int, index: int) -> int | None:
    """Return the width of a column after its widest line is broken; None if no line can be broken."""
    narrower = max(len(line) for cell in _wrapped(column, width - 1, index) for line in cell)
    least = max((min(len(cell), MIN_CELL_WIDTH) for cell in column[1:] if _is_words(cell)), default=0)
    return narrower if least <= narrower < width else None


def _heights(columns: Sequence[tuple[str, ...]], widths: Sequence[int]) -> list[int]:
    """Return how many lines each row takes."""
    wrapped = (_wrapped(column, widths[index], index) for index, column in enumerate(columns))
    return [max(map(len, cells)) for cells in zip(*wrapped, strict=True)]


@lru_cache(1000)
def _wrapped(column: tuple[str, ...], width: int, index: int) -> list[list[str]]:
    """Return each cell of a column as lines of at most `width`, or as wide as its longest word.

    Either all values of a column are broken or none. In the first column, which names the rows, all lines of a cell but
    the first are indented.
    """
    name, *cells = column
    breaks_values = any(len(cell) > width for cell in cells if not _is_words(cell))
    lines = [_in_lines(name, width, BETWEEN_NAMES)]
    for cell in cells:
        if _is_words(cell):
            lines.append(_in_lines(cell, width, BETWEEN_WORDS, hang=0 if index else 2))
        else:
            lines.append(_in_lines(cell, 0 if breaks_values else width, BEFORE_SPREAD))
    return lines


def _in_lines(cell: str, width: int, between: re.Pattern[str], hang: int = 0) -> list[str]:
    lead = cell[: len(cell) - len(cell.lstrip())]
    first, *rest = between.split(TIGHT.sub(HARD_SPACE, cell.strip()) if between is not BEFORE_SPREAD else cell)
    lines = [lead + first]
    for gap, word in zip(rest[::2], rest[1::2], strict=True):
        if len(lines[-1]) + len(gap) + len(word) <= width:
            lines[-1] += gap + word
        else:
            lines.append(lead + " " * hang + word)
    return [line.replace(HARD_SPACE, " ") for line in lines]


def _is_words(cell: str) -> bool:
    """Return whether a cell holds words, which may be broken at any space, and not a value."""
    return bool(cell) and not VALUE.match(cell)


def _columns(table: Table) -> list[tuple[str, ...]]:
    return list(zip(*table, strict=True))
