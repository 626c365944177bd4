"""The file of a task as it can be read without running it: which functions and constants it has, and its digest.

`--task NAME` names a task of ours, a file of ddpbench/tasks; `--task FILE.py` a file of the user's, and
`--task FILE.py:NAME` a class in it. `--task NAME:PATH` is short for `--task NAME --set path=PATH`, where a task of ours
reads files of the user's. `ddpbench.tasks` imports the file; a study, which never imports torch, reads it.
"""

import ast
import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ddpbench.errors import UserError, one_line

FOLDER = Path(__file__).with_name("tasks")
OURS = ("mnist", "cifar10", "imagefolder", "language", "tabular")  # the tasks of ddpbench/tasks that a user may name
NEEDED = ("model", "data", "loss")
FUNCTIONS = (*NEEDED, "metric", "score", "optimizer", "schedule", "collate", "lr")  # that a task may have
# The constants that a task may have, and what their values must be.
CONSTANTS: dict[str, tuple[type, ...]] = {
    "batch": (int,),
    "epochs": (int,),
    "lr": (int, float),
    "margin": (int, float),
    "lower_is_better": (bool,),
    "unit": (str,),
    "parts": (list, tuple),
    "test_batch": (int,),
    "choices": (dict,),  # the values that an argument may have, by its name
}
# Values of flags that a function may take by their names, as it takes those of --set.
OFFERED = ("data_dir", "label_smoothing", "optimizer")


@dataclass(frozen=True)
class TaskFile:
    """A task, unread: `parameters` are the names that its functions take, without `net`, `batch` and the like."""

    path: Path
    name: str  # as records have it: without folders
    inner: str  # the class in the file; "" for the file itself
    functions: Mapping[str, tuple[str, ...]]  # the parameters of each, in order
    constants: Mapping[str, Any]
    sha256: str  # of the file and of the files beside it that it imports
    given: Mapping[str, str]  # arguments that --task gives: the path of `imagefolder:PATH`

    @property
    def is_ours(self) -> bool:
        """Whether it is a task of this project."""
        return self.path.parent == FOLDER

    @property
    def arguments(self) -> list[str]:
        """The names that --set may give."""
        own = {"net", "batch", "items", "value", "optimizer"}
        names = (name for each in ("model", "data", "loss", "metric", "lr") for name in self.functions.get(each, ()))
        return [name for name in dict.fromkeys(names) if name not in own and name not in OFFERED]

    def require(self, given: Mapping[str, str]) -> None:
        """Raise UserError for an argument that no function of the task takes, and for a value that it may not have."""
        for name in given:
            if name in self.given:
                raise UserError(f"--set {name}: --task {self.name}:{self.given[name]} gives it already; leave one out")
            if name not in self.arguments and {*NEEDED} <= {
                *self.functions
            }:  # otherwise, some are imported: see `task`
                near = difflib.get_close_matches(name, self.arguments, n=1)
                known = f"did you mean {near[0]}?" if near else f"it takes {', '.join(self.arguments) or 'none'}"
                raise UserError(f"--set {name}: no function of the task {self.name} takes it; {known}")
            allowed = [*map(str, self.constants.get("choices", {}).get(name, (given[name],)))]
            if given[name] not in allowed:
                flag = f"--{name}" if name in ("model", "dataset") else f"--set {name}"
                raise UserError(f"{flag} must be one of {', '.join(allowed)}; got {given[name]!r}")


def read(text: str) -> TaskFile:
    """Return the task that --task names. Raises UserError where there is none, or where it lacks a function."""
    path, inner, rest = _place(text)
    try:
        source = path.read_bytes()
        tree = ast.parse(source, str(path))
    except OSError as problem:
        raise UserError(f"--task {text}: cannot read {path}: {problem.strerror}") from problem
    except (SyntaxError, ValueError) as problem:
        line = getattr(problem, "lineno", None)
        raise UserError(f"--task {path}{f', line {line}' if line else ''}: {one_line(str(problem)[:200])}") from problem
    body, where = tree.body, str(path)
    if inner:
        classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        if inner not in classes:
            near = ", ".join(classes) or "none"
            raise UserError(f"--task {text}: {path} has no class {inner}; it has {near}")
        body, where = classes[inner].body, f"the class {inner} of {path}"
    functions = {
        node.name: tuple(arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
        for node in body
        if isinstance(node, ast.FunctionDef)
    }
    names = {*functions, *_names(body)}
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise UserError(f"--task {text}: {where} has no function {missing[0]}; a task has {', '.join(NEEDED)}")
    if rest is not None and "path" not in functions.get("data", ()):
        raise UserError(f"--task {text}: the task {path.stem} reads no files of yours; leave :{rest} out")
    name = (path.stem if path.parent == FOLDER else path.name) + (f":{inner}" if inner else "")
    given = {} if rest is None else {"path": rest}
    return TaskFile(path, one_line(name), inner, functions, _constants(body, text), _sha256(path), given)


def arguments(words: Sequence[str]) -> dict[str, str]:
    """Read the words of --set, such as `width=128`. Raises UserError for another shape, and for a name given twice."""
    given: dict[str, str] = {}
    for word in words:
        match = re.fullmatch(r"([A-Za-z_]\w*)=(.*)", word)
        if match is None:
            raise UserError(f"--set must be NAME=VALUE, as in --set width=128; got {word!r}")
        if match[1] in given:
            raise UserError(f"--set {match[1]} is given twice")
        given[match[1]] = match[2]
    return given


def value(text: str) -> Any:
    """Return the value of an argument: a Python literal such as 128, 0.1, True or (1, 2); otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _place(text: str) -> tuple[Path, str, str | None]:
    """Return the file that --task names, the class in it, and what follows the name of a task of ours and a colon."""
    ours, colon, rest = text.partition(":")
    if ours in OURS:
        return FOLDER / f"{ours}.py", "", rest if colon else None
    match = re.fullmatch(r"(.+\.py)(?::([A-Za-z_]\w*))?", text)
    if match is not None:
        path = Path(match[1])
        if not path.is_file():
            raise UserError(f"--task {text}: there is no file {path}")
        return path, match[2] or "", None
    near = difflib.get_close_matches(ours, OURS, n=1)
    known = f"did you mean {near[0]}?" if near else f"ours are {', '.join(OURS)}"
    raise UserError(f"--task {text!r} is no file that ends in .py and no task of ours; {known}")


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that a file or a class assigns or imports: a function may come from elsewhere."""
    for node in body:
        if isinstance(node, ast.Assign):
            yield from (name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (alias.asname or alias.name for alias in node.names)


def _constants(body: Sequence[ast.stmt], text: str) -> dict[str, Any]:
    """Return the constants of a task. Raises UserError for one that is no literal, or of another type."""
    found: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:  # margin: float = 0.3
            target: ast.expr = node.target
            right: ast.expr = node.value
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, right = node.targets[0], node.value
        else:
            continue
        pairs: list[tuple[ast.expr, ast.expr]] = [(target, right)]
        if isinstance(target, ast.Tuple) and isinstance(right, ast.Tuple):  # batch, epochs = 256, 3
            pairs = list(zip(target.elts, right.elts, strict=False))
        for left, expression in pairs:
            if not isinstance(left, ast.Name) or left.id not in CONSTANTS:
                continue
            try:
                found[left.id] = ast.literal_eval(expression)
            except (ValueError, SyntaxError):
                line = f"line {node.lineno}: {left.id}"
                raise UserError(
                    f"--task {text}, {line} must be written as a value: it is read before it runs"
                ) from None
            kinds = CONSTANTS[left.id]
            if not isinstance(found[left.id], kinds) or (bool not in kinds and isinstance(found[left.id], bool)):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise UserError(f"--task {text}: {left.id} must be of type {wanted}, got {found[left.id]!r}")
    return found


@cache
def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file and of the files beside it that it imports, directly or not."""
    digest, left, seen = hashlib.sha256(), [path], set[Path]()
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        source = each.read_bytes()
        digest.update(len(source).to_bytes(8, "big") + source)
        left += sorted(_beside(each, source))
    return digest.hexdigest()


def _beside(path: Path, source: bytes) -> Iterator[Path]:
    """Yield the files in the folder of a file that it imports by name."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
        for name in names:
            place = path.parent / f"{name.split('.')[0]}.py"
            if place.is_file():
                yield place
