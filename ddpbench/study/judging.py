"""The processes that judge: one says what the launches so far say, and compare.py judges the whole study."""

import os
import sys
from pathlib import Path

import msgspec

from ddpbench.command import SCRIPTS
from ddpbench.errors import DdpbenchError
from ddpbench.notes import Launch
from ddpbench.study import runner
from ddpbench.study.options import StudyOptions
from ddpbench.study.runner import Program, Stop, Stopped
from ddpbench.turns import Look


class LookError(DdpbenchError):
    """The process that judges launches has ended without an answer, and has printed why."""

    def __init__(self, folder: Path, exit_code: int) -> None:
        super().__init__(f"the launches in {folder} cannot be judged: see the line above")
        self.exit_code = exit_code


def judge(folder: Path, options: StudyOptions, stop: Stop) -> int:
    """Judge a study and print its answer. Returns the exit code; 128 + n where signal n has ended compare.py."""
    flags = ["--margin-speed", f"{100 * options.margin:g}"]
    if options.price_per_hour is not None:
        flags += ["--price-per-hour", f"{options.price_per_hour:g}"]
    program = Program([sys.executable, str(SCRIPTS / "compare.py"), str(folder), *flags])
    code = runner.wait(program.start(Launch(parent=os.getpid())), stop)
    return code if code >= 0 else 128 - code


def look(folder: Path, options: StudyOptions, stop: Stop) -> Look:
    """Ask what the launches of a folder say. It is answered on a descriptor, in JSON.

    Raises LookError where there is no answer, and Stopped where that is because of a signal.
    """
    answers, theirs = os.pipe()
    words = [folder, options.within, options.margin, theirs]
    program = Program([sys.executable, "-m", "ddpbench.judge.look", *map(str, words)])
    child = program.start(Launch(parent=os.getpid()), keep=[theirs])
    os.close(theirs)
    with os.fdopen(answers, "rb") as file:
        content = file.read()
    code = runner.wait(child, stop)
    if code == 0 and content:
        return msgspec.json.decode(content, type=Look)
    if stop.signal is not None:
        raise Stopped
    raise LookError(folder, code if code > 0 else 128 - code)
