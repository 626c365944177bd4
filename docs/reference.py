"""Print the parts of the pages that are made from the source code: tables as Markdown, schemas as JSON.

python -m docs.reference flags run         the flags of a run, which both training scripts have
python -m docs.reference flags compare     the flags of compare.py
python -m docs.reference fields NAME       every field of record, launch or summary, type by type
python -m docs.reference schema NAME       the same as a JSON schema

What a field means is the comment beside it in the source, or its line of --help.
"""

import ast
import inspect
import io
import json
import re
import sys
import tokenize
from argparse import Action
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unittest import mock

import msgspec
from msgspec import inspect as types

import compare
from ddpbench import config
from ddpbench.record import Record
from ddpbench.show.schema import Summary
from ddpbench.turns import Launch

ROOTS = {"record": Record, "launch": Launch, "summary": Summary}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
INFINITE = {("Turning", name) for name in ("epochs", "least", "most")}  # may be infinite, which JSON writes as null
PLAIN: dict[Any, str] = {
    types.BoolType: "true or false",
    types.FloatType: "number",
    types.IntType: "whole number",
    types.NoneType: "null",
    types.StrType: "text",
}
LISTS = (types.ListType, types.VarTupleType)
RECORDS = (types.StructType, types.DataclassType)


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a Markdown table, line by line. The first row names its columns."""
    for number, row in enumerate(rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('<', '&lt;') for cell in row)} |"
        if number == 0:
            yield f"|{' - |' * len(row)}"


def flags(of: str) -> Iterator[str]:
    """Yield the table of the flags of a run, or of compare.py."""
    head = ("flag", "value", "what it does")
    if of == "run":
        yield from table([head, *((f"`{_name(flag)}`", _values(flag.reading), _help(flag)) for flag in config.FLAGS)])
        return
    with mock.patch.object(config.Parser, "parse_args", lambda parser: parser):  # the parser itself, unused
        actions = compare.parse()._actions
    yield from table([head, *(_row(action) for action in actions if action.dest != "help")])


def _name(flag: Any) -> str:
    """Return a flag; where it is on by default, the one that switches it off."""
    return config.flag_name(f"no_{flag.name}" if flag.default is True else flag.name)


def _help(flag: Any) -> str:
    return f"not: {flag.help}" if flag.default is True else flag.help


def _values(reading: dict[str, Any]) -> str:
    return ", ".join(map(str, reading["choices"])) if "choices" in reading else reading.get("metavar", "")


def _row(action: Action) -> tuple[str, str, str]:
    """Return the row of a flag of argparse's, or of words without one."""
    name = ", ".join(action.option_strings) or action.dest.upper()
    value = "" if action.nargs == 0 or not action.option_strings else str(action.metavar)
    return f"`{name}`", value, str(action.help).replace("%%", "%")


def fields(name: str) -> Iterator[str]:
    """Yield a heading, a sentence and a table for every type of a file that the files before it do not have."""
    known = [each.cls for other in list(ROOTS)[: list(ROOTS).index(name)] for each in types_of(ROOTS[other])]
    parts = types_of(ROOTS[name])
    uses = Counter(type_text(field.type) for each in parts for field in each.fields)
    for each in parts:
        if each.cls in known:
            continue
        words = {field.name: _purpose(field.type) for field in each.fields if uses[type_text(field.type)] == 1}
        words |= meanings(each.cls)
        yield f"### {each.cls.__name__}\n\n{in_json(inspect.cleandoc(each.cls.__doc__ or ''))}\n"
        rows = [(f"`{field.name}`", _type(each, field), _meaning(field, words)) for field in each.fields]
        yield from table([("name", "type", "meaning"), *rows])
        yield ""


def types_of(root: type) -> list[Any]:
    """Return the type of a file and those of its parts, each once, a whole before its parts."""
    found: dict[Any, Any] = {}

    def visit(each: Any) -> None:
        if isinstance(each, RECORDS) and each.cls not in found:
            found[each.cls] = each
            for field in each.fields:
                visit(field.type)
        elif isinstance(each, (*LISTS, types.Metadata)):
            visit(each.item_type if isinstance(each, LISTS) else each.type)
        elif isinstance(each, types.UnionType):
            for one in each.types:
                visit(one)

    visit(types.type_info(root))
    return list(found.values())


def _type(owner: Any, field: Any) -> str:
    text = type_text(field.type)
    return f"{text} or null" if (owner.cls.__name__, field.name) in INFINITE else text


def type_text(each: Any) -> str:
    """Return a type in words. A part of the file links to its own table."""
    if isinstance(each, types.Metadata):
        return type_text(each.type)
    if isinstance(each, RECORDS):
        return f"[{each.cls.__name__}](#{each.cls.__name__.lower()})"
    if isinstance(each, LISTS):
        return f"list of {type_text(each.item_type)}"
    if isinstance(each, types.DictType):
        return f"object of {type_text(each.value_type)}"
    if isinstance(each, types.LiteralType):
        return ", ".join(f'`"{value}"`' for value in each.values)
    if isinstance(each, types.UnionType):
        parts = sorted(each.types, key=lambda part: isinstance(part, types.NoneType))
        return " or ".join(map(type_text, parts))
    return PLAIN[type(each)]


def _purpose(each: Any) -> str:
    """Return the first sentence about a part of the file; "" for a value."""
    if isinstance(each, LISTS):
        return _purpose(each.item_type)
    if isinstance(each, types.UnionType):
        return next(filter(None, map(_purpose, each.types)), "")
    text = inspect.cleandoc(each.cls.__doc__ or "").split(".")[0] if isinstance(each, RECORDS) else ""
    return text[:1].lower() + text[1:]


def _meaning(field: Any, words: dict[str, str]) -> str:
    described = getattr(field.type, "extra_json_schema", None) or {}
    return described.get("description") or words.get(field.name, "")


def meanings(cls: type) -> dict[str, str]:
    """Return the comments of fields: what stands on lines of its own above it, and what stands behind it."""
    source = inspect.cleandoc("\n" + inspect.getsource(cls))
    alone: dict[int, str] = {}
    behind: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text, line = token.string.lstrip("# "), token.start[0]
            (behind if token.line[: token.start[1]].strip() else alone)[line] = text
    found = {}
    [owner] = ast.parse(source).body
    for node in getattr(owner, "body", []):
        if isinstance(node, ast.AnnAssign):
            above: list[str] = []
            line = node.lineno - 1
            while line in alone:
                above.insert(0, alone[line])
                line -= 1
            last = [behind[line] for line in dict.fromkeys((node.lineno, node.end_lineno)) if line in behind]
            found[node.target.id] = in_json(" ".join([*above, *last])).removesuffix(":")  # type: ignore[union-attr]
    return {name: text for name, text in found.items() if text}


def in_json(text: str) -> str:
    """Return a sentence of the source in the words of JSON."""
    return re.sub(r"\bNone\b|\bmath\.inf\b", "null", text)


def schema(name: str) -> str:
    """Return the JSON schema of a file, with the meaning of every field."""
    (root,), parts = msgspec.json.schema_components([ROOTS[name]], ref_template="#/$defs/{name}")
    parts["Settings"]["required"] = [*parts["Settings"]["properties"]]  # a reader refuses a record that lacks one
    for each in types_of(ROOTS[name]):
        properties = parts[each.cls.__name__]["properties"]
        for field in properties:
            if (each.cls.__name__, field) in INFINITE:
                properties[field] = {"anyOf": [properties[field], {"type": "null"}]}
        for field, text in meanings(each.cls).items():
            properties[field].setdefault("description", text)
    return json.dumps({"$schema": DIALECT, **root, "$defs": parts}, indent=1)


def main(words: list[str]) -> None:
    """Print what the words ask for."""
    what, of = words
    print(schema(of) if what == "schema" else "\n".join({"flags": flags, "fields": fields}[what](of)))


if __name__ == "__main__":
    main(sys.argv[1:])
