"""Flags: the fields of a struct as a command line has them. A field's type has its bounds and its line of --help."""

import difflib
import operator
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from ddpbench.errors import UserError

MOST_PRICE = 1e6  # of an hour: what is more is a slip of the hand


class Flag(NamedTuple):
    """A field of a struct as the command line sees it."""

    name: str
    kind: type
    choices: tuple[str, ...]
    bounds: Meta | None
    text: str
    default: Any

    def require_in_bounds(self, value: Any) -> None:
        """Raise UserError for a number that is out of bounds, or not a number."""
        if self.bounds is None or value is None:
            return
        names = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        limits = {name: limit for name in names if (limit := getattr(self.bounds, name)) is not None}
        if not all(getattr(operator, name)(value, limit) for name, limit in limits.items()):  # false for NaN
            allowed = " and ".join(f"{names[name]} {limit:,}" for name, limit in limits.items())
            raise UserError(f"{flag_name(self.name)} must be {allowed}, got {value:,}")

    @property
    def help(self) -> str:
        """Its line of --help."""
        if self.default in (None, ()) or isinstance(self.default, bool):
            return self.text
        return f"{self.text} (default: {self.default})"

    @property
    def reading(self) -> dict[str, Any]:
        """What argparse needs to read a value of it."""
        if self.kind is bool:
            return {"action": BooleanOptionalAction}
        if self.name == "set":
            return {"action": "append", "metavar": "NAME=VALUE"}
        if self.choices:
            return {"choices": self.choices}
        as_type = _folder if self.kind is Path else self.kind
        return {"type": as_type, "metavar": {int: "N", float: "X", Path: "DIR", str: "TEXT"}[self.kind]}


class Parser(ArgumentParser):
    """An argparse parser that raises UserError where argparse prints a page of usage and exits."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with argparse's message."""
        raise UserError(message.removeprefix("argument ") + "; see --help")


def flags_of(struct: type[msgspec.Struct]) -> Iterator[Flag]:
    """Yield a flag for each field of a struct that has a line of --help."""
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        kind, *metas = _parts(hints[field.name])
        bounds = next((meta for meta in metas if meta.description is None), None)
        text = next((meta.description for meta in metas if meta.description is not None), None)
        if text is None:  # it is resolved, and no flag
            continue
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        yield Flag(field.name, str if choices else kind, choices, bounds, text, field.default)


def flag_name(field_name: str) -> str:
    """Return the flag of a field: global_batch -> --global-batch."""
    return "--" + field_name.replace("_", "-")


def number(flag: str, text: str, example: str, *, least: float = 0.0, most: float, unit: str = "") -> float:
    """Read a number, which may have its unit, as in `3%`. Raises UserError unless it is above 0 and in these bounds."""
    try:
        value = float(text.strip().removesuffix(unit))
    except ValueError:
        value = 0.0
    if not (value > 0 and least <= value <= most):  # false for NaN
        allowed = f"between {least:g}{unit} and {most:,.0f}{unit}" if least else f"above 0 and at most {most:,.0f}"
        raise UserError(f"{flag} must be {allowed}, as in {example}; got {text!r}")
    return value


def price(text: str | None) -> float | None:
    """Read --price-per-hour, which may be left out. Raises UserError for what is no price."""
    return None if text is None else number("--price-per-hour", text, "1.20", most=MOST_PRICE)


def percentage(flag: str, text: str) -> float:
    """Read `3%` or `3` as 0.03. Raises UserError for anything that is not between 0.1 % and 100 %."""
    return number(flag, text, "3%", least=0.1, most=100, unit="%") / 100


def whole_numbers(name: str, text: str, least: int, example: str, most: int | None = None) -> list[int]:
    """Read whole numbers in these bounds, without repeats. Raises UserError that calls them `name`."""
    try:
        values = [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        values = [least - 1]
    if any(value < least or (most is not None and value > most) for value in values):
        shown = name if "=" in name else f"{name} {text}"
        bounds = f"from {least} up" if most is None else f"from {least} to {most:,}"
        raise UserError(f"{shown} must be whole numbers {bounds}, like {example}")
    return list(dict.fromkeys(values))


def whole_number(flag: str, text: str, example: str, *, least: int = 1, most: int) -> int:
    """Read one whole number. Raises UserError where there is none, several, or one that is out of these bounds."""
    return only(flag, whole_numbers(flag, text, least, f"{flag} {example}"), least, most)


def only(flag: str, values: Sequence[int], least: int, most: int) -> int:
    """Return the only number of a flag. Raises UserError where there is none, several, or one that is too large."""
    if len(values) != 1 or values[0] > most:
        shown = " ".join(map(str, values)) or "none"
        raise UserError(f"{flag} must be one whole number from {least} to {most:,}, got {shown}")
    return values[0]


def explain_unknown(name: str, parser: ArgumentParser, refused: Mapping[str, str]) -> str:
    """Return why a word is no flag of this parser. `refused` are fields whose flags it does not offer, with reasons."""
    if not name.startswith("-"):
        cure = f"each argument of a task needs its own --set, as in --set {name}" if "=" in name else "see --help"
        return f"unexpected word {name!r}; {cure}"
    name = name.split("=")[0]
    bare = name.replace("--no-", "--")
    reasons = {flag_name(field): why for field, why in refused.items()}
    if bare in reasons:
        return f"{bare} {reasons[bare]}"
    offered = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(name, offered, n=1)
    return f"unknown flag {name}" + (f"; did you mean {near[0]}?" if near else "; see --help")


def _parts(hint: Any) -> list[Any]:
    """Return the plain type of a field, without None, and every Meta that annotates it."""
    if get_origin(hint) is Annotated:
        inner, *metas = get_args(hint)
        return [*_parts(inner), *metas]
    options = [option for option in get_args(hint) if option is not type(None)]
    return _parts(options[0]) if len(options) == 1 and type(None) in get_args(hint) else [hint]


def _folder(text: str) -> Path:
    """Read the name of a folder. Refused are an empty name (an unset variable), a dash in front, and controls."""
    if not text or not text.isprintable() or text.startswith("-"):
        raise ArgumentTypeError(f"{text!r} is no name for a folder")
    return Path(text)
