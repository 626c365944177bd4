"""Types of the fields of records and settings: what a run can produce. A reader refuses every other value."""

import math
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from ddpbench.errors import UserError, one_line

LONGEST, LARGEST = 300, 1e30
Text = Annotated[str, Meta(max_length=LONGEST, pattern=r"^[^\x00-\x1f\x7f-\x9f<>\u2028-\u202e\u2066-\u2069]*$")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Duration = Annotated[float, Meta(ge=1e-9, le=1e9)]  # of something that certainly took time
Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Fraction = Annotated[float, Meta(ge=0, le=1)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a record. It is read strictly: a misspelt name is an error and never a default."""


def is_figure(value: float | None) -> bool:
    """Whether a number is finite, and not so large that no record holds it: training has then gone astray."""
    return value is not None and math.isfinite(value) and abs(value) <= LARGEST


def as_text(name: str) -> str:
    """Return a name that a task or its data gives as a record may hold it: in one line, with other angle brackets."""
    text = one_line(name).replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")
    text = text.replace(">", "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def require_text(what: str, text: str) -> None:
    """Raise UserError, naming what it is, for text that no record may hold."""
    try:
        msgspec.convert(text, Text)
    except msgspec.ValidationError:
        why = f"it has {len(text)} characters" if len(text) > LONGEST else f"got {text!r}"
        raise UserError(
            f"{what} must be text without control characters, < and >, of at most {LONGEST} characters; {why}"
        ) from None


def require_readable(part: Part, what: str) -> None:
    """Raise UserError, naming the field, where a reader would refuse a value of this part of a record."""
    try:
        msgspec.convert(msgspec.to_builtins(part), type(part))  # JSON would make null of what is not a number
    except msgspec.ValidationError as problem:
        raise UserError(
            f"{what} cannot be recorded: {in_words(problem)}; change what the task or a flag gives there"
        ) from None


def in_words(problem: Exception) -> str:
    """Return what a reader refuses, in one line, with words where msgspec shows a pattern."""
    pattern = r"`str` matching regex '.*'"
    return re.sub(pattern, "text without control characters, < and >", one_line(str(problem)[:300]))
