"""compare.py, started in a process of its own: it judges a study, and says where to check the prediction of a sweep."""

import os
import sys
from pathlib import Path

import msgspec

from ddpbench.notes import Launch
from ddpbench.study import designs, runner
from ddpbench.study.commands import PROJECT
from ddpbench.study.plan import Job, Plan
from ddpbench.study.runner import Program, Stop

COMPARE = [sys.executable, str(PROJECT / "compare.py")]


def judge(folder: Path, stop: Stop) -> int:
    """Judge a study and print its answer. Returns the exit code; 128 + n where signal n has ended compare.py."""
    code = runner.wait(Program([*COMPARE, str(folder)]).start(Launch(parent=os.getpid())), stop)
    return code if code >= 0 else 128 - code


def checks(folder: Path, plan: Plan, num_train: int, stop: Stop) -> list[Job]:
    """Return the runs that check where a sweep predicts that it begins to pay. None where there is nothing to check."""
    batches = _batches_to_check(folder, stop)
    return designs.checks(plan.jobs, batches, plan.request.seeds, num_train)


def _batches_to_check(folder: Path, stop: Stop) -> list[int]:
    """Ask compare.py for the global batches at which to check. It answers on a descriptor, in JSON."""
    answers, theirs = os.pipe()
    program = Program([*COMPARE, "--next-batches-to", str(theirs), str(folder)])
    child = program.start(Launch(parent=os.getpid()), keep=[theirs])
    os.close(theirs)
    with os.fdopen(answers, "rb") as file:
        content = file.read()
    if runner.wait(child, stop) != 0 or not content:
        return []
    return msgspec.json.decode(content, type=list[int])
