"""The file of a task, executed; and what is said of an error in it."""

import importlib.util
import sys
import traceback
from typing import Any

from ddpbench.errors import UserError, one_line
from ddpbench.taskfile import TaskFile


def execute(file: TaskFile) -> Any:
    """Execute a task's file. Returns its module, or the class in it. Raises UserError where it fails."""
    if file.is_ours:
        return importlib.import_module(f"ddpbench.tasks.{file.path.stem}")
    spec = importlib.util.spec_from_file_location(f"task_{file.path.stem}", file.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up there
    sys.path.insert(0, str(file.path.parent.resolve()))  # it may import files beside it, as a script may
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:
        raise UserError(f"--task {file.path}: {told(problem, file)}") from problem
    return getattr(module, file.inner) if file.inner else module


def told(problem: BaseException, file: TaskFile) -> str:
    """Return an error in one line, with the line of the task's file at which it arose: `line 12: ValueError: ...`."""
    line = line_of(problem, file)
    return f"{'' if line is None else f'line {line}: '}{said(problem)}"


def line_of(problem: BaseException, file: TaskFile) -> int | None:
    """Return the last line of the task's file on the way to an error; None where it is on none."""
    frames = traceback.extract_tb(problem.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(file.path)), None)


def said(problem: BaseException) -> str:
    """Return an error in one line: its type and its message."""
    return one_line(f"{type(problem).__name__}: {str(problem) or 'no message'}"[:200])
