"""Text within the width of a terminal: paragraphs, and tables that wrap or stand row by row rather than be cut."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ddpbench.words import showable

NARROWEST, WITHOUT_TERMINAL, WIDEST_TEXT = 60, 96, 110  # columns
MIN_WORDS = 10  # columns of a cell of words, before a table stands row by row
TALLEST = 3  # lines of a row, before that
GAP = 2
Table = list[tuple[str, ...]]  # the first row names the columns
NOTHING = "-"  # in a cell that cannot have a value
VALUE = re.compile(r"[-+]?\d[\d.,]*(%|\s|$)|-$|not measured$")
BEFORE_SPREAD = re.compile(r"( )(?=\(|±|\+-)")  # the only place at which a value may be broken
TIGHT = re.compile(r" (?=[-=x%] )|(?<= [-=x%]) |(?<=\d) (?=[a-z])| (?=m?s\b)")  # 0.98 - 1.19, n = 3, 2 x 1, epoch s
BETWEEN_WORDS = re.compile(r"( )")
BETWEEN_NAMES = re.compile(r"( |(?<=/)(?=\w\w))")  # steps/epoch may be broken, samples/s may not
HARD_SPACE = "\u00a0"


@dataclass(frozen=True, slots=True)
class Page:
    """What text is written on."""

    width: int = WITHOUT_TERMINAL
    encoding: str = "utf-8"

    def paragraph(self, text: str, first: str = "", *, hang: int | None = None, whole_words: bool = False) -> str:
        """Return text in lines, after `first`; those that follow are indented as deep, or by `hang`.

        `whole_words`: a path that is too long stays whole, and can be copied.
        """
        width, hang = min(self.width, WIDEST_TEXT), len(first) if hang is None else hang
        return "\n".join(self._lines(text, first, hang, width, whole_words=whole_words))

    def table(self, table: Table) -> str:
        """Return an aligned table: on a narrow page with wrapped cells, on a narrower one row by row."""
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
            yield from self._lines(kind + name.strip(), " " * (indent - 2), indent, self.width)
            for heading, cell in zip(names[1:], cells, strict=True):
                if cell == NOTHING:
                    continue
                first = f"{' ' * indent}{heading + ':' if heading else ''}".ljust(indent + longest + 2)
                yield from self._lines(cell, first, len(first), self.width)

    def _lines(self, text: str, first: str, hang: int, width: int, *, whole_words: bool = False) -> list[str]:
        text = TIGHT.sub(HARD_SPACE, showable(text, self.encoding))
        lines = textwrap.wrap(
            text,
            width,
            initial_indent=showable(first, self.encoding),
            subsequent_indent=" " * hang,
            break_on_hyphens=False,
            break_long_words=not whole_words,
        )
        return [line.replace(HARD_SPACE, " ").rstrip() for line in lines]


def of_output() -> Page:
    """Return the page that standard output is: a terminal as wide as it is, anything else of a fixed width."""
    if sys.stdout is None:
        return Page()
    width = shutil.get_terminal_size((WITHOUT_TERMINAL, 24)).columns if sys.stdout.isatty() else WITHOUT_TERMINAL
    return Page(max(width, NARROWEST), sys.stdout.encoding or "ascii")


def _aligned(table: Table, widths: Sequence[int], gap: int) -> str:
    """Return a table with its cells wrapped: values to the right, words to the left, the columns' names at the foot."""
    columns = _columns(table)
    to_right = [index > 0 and not any(map(_is_words, column[1:])) for index, column in enumerate(columns)]
    wrapped = [
        _wrapped(column, width, index) for index, (column, width) in enumerate(zip(columns, widths, strict=True))
    ]
    lines = []
    for number, cells in enumerate(zip(*wrapped, strict=True)):
        height = max(map(len, cells))
        for at in range(height):
            parts = [_part(cell, at - height + len(cell) if number == 0 else at) for cell in cells]
            placed = zip(parts, widths, to_right, strict=True)
            lines.append((" " * gap).join(part.rjust(w) if right else part.ljust(w) for part, w, right in placed))
    return "\n".join(line.rstrip() for line in lines)


def _part(cell: Sequence[str], at: int) -> str:
    return cell[at] if 0 <= at < len(cell) else ""


def _narrowed(table: Table, room: int) -> list[int] | None:
    """Return the widths of columns that fit into `room`; None where that takes too many lines.

    The names of rows are broken where that saves lines, and else as the last.
    """
    columns = _columns(table)
    able = [widths for late in (True, False) if (widths := _fitted(columns, room, names_late=late))]
    best = min(able, key=lambda widths: sum(_heights(columns, widths)), default=None)
    return best if best and max(_heights(columns, best)[1:], default=0) <= TALLEST else None


def _fitted(columns: list[tuple[str, ...]], room: int, *, names_late: bool) -> list[int] | None:
    """Narrow column after column: the one that costs the fewest lines, and of those the one that gains most."""
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
    """Return how wide a column is once its widest line is broken; None where nothing can be."""
    narrower = max(len(line) for cell in _wrapped(column, width - 1, index) for line in cell)
    least = max((min(len(cell), MIN_WORDS) for cell in column[1:] if _is_words(cell)), default=0)
    return narrower if least <= narrower < width else None


def _heights(columns: Sequence[tuple[str, ...]], widths: Sequence[int]) -> list[int]:
    """Return the lines of every row."""
    wrapped = (_wrapped(column, widths[index], index) for index, column in enumerate(columns))
    return [max(map(len, cells)) for cells in zip(*wrapped, strict=True)]


@lru_cache(1000)
def _wrapped(column: tuple[str, ...], width: int, index: int) -> list[list[str]]:
    """Return the cells of a column in lines of at most `width`, or of the longest word. Values are all broken or none.

    The first column holds the names of rows: their further lines are indented.
    """
    name, *cells = column
    broken = any(len(cell) > width for cell in cells if not _is_words(cell))
    lines = [_in_lines(name, width, BETWEEN_NAMES)]
    for cell in cells:
        if _is_words(cell):
            lines.append(_in_lines(cell, width, BETWEEN_WORDS, hang=0 if index else 2))
        else:
            lines.append(_in_lines(cell, 0 if broken else width, BEFORE_SPREAD))
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
    """Whether a cell holds words, which may be broken anywhere, and not a value."""
    return bool(cell) and not VALUE.match(cell)


def _columns(table: Table) -> list[tuple[str, ...]]:
    return list(zip(*table, strict=True))
