"""Asks the worker what only a process with torch can tell, and ends it when it takes too long."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ddpbench.check.facts import Answer, Gpus, Loopback, Shared, Torch

WORKER = (sys.executable, "-m", "ddpbench.check.worker")
NOT_STARTED = "no process can be started for it: {}"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the worker has told before it ended. None: nothing about that."""

    loopback: Loopback | None = None
    torch: Torch | None = None
    shm: Shared | None = None
    gpus: Gpus | None = None
    ended: str | None = None  # how it ended, if not by itself after its last answer


def ask(limit_s: float, command: Sequence[str] = WORKER) -> Answers:
    """Start the worker and return its answers. It has ended then, at the latest after so many seconds."""
    quiet = subprocess.DEVNULL  # libraries print warnings, and the screen has room for findings alone
    try:
        answers_end, worker_end = os.pipe()
    except OSError as problem:
        return Answers(ended=NOT_STARTED.format(problem.strerror))
    with os.fdopen(answers_end, "rb", buffering=0) as answers:
        try:
            child = subprocess.Popen(
                [*command, str(worker_end)], pass_fds=[worker_end], stdin=quiet, stdout=quiet, stderr=quiet
            )
        except OSError as problem:
            return Answers(ended=NOT_STARTED.format(problem.strerror))
        finally:
            os.close(worker_end)
        try:
            content, is_late = read_until(answers.fileno(), time.monotonic() + limit_s)
            ended = f"no answer within {limit_s:g} s" if is_late else _end_of(child)
        finally:  # after Ctrl-C too
            child.kill()
            child.wait()
    lines = content.split(b"\n")[:-1]  # what comes after the last end of a line is not whole
    return sort([msgspec.json.decode(line, type=Answer) for line in lines], ended)


def sort(answers: Sequence[Answer], ended: str | None) -> Answers:
    """Return answers by what they are about."""
    by_name = {type(answer).__name__.lower().replace("shared", "shm"): answer for answer in answers}
    return Answers(**by_name, ended=ended)  # type: ignore[arg-type]  # the names are those of the types


def read_until(descriptor: int, until_s: float, end: bytes | None = None) -> tuple[bytes, bool]:
    """Return what a pipe delivers until its other end is closed, or until it ends so; and whether time was up."""
    content = b""
    while (left_s := until_s - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left_s)[0]:
            continue
        some = os.read(descriptor, 2**16)
        content += some
        if not some or (end is not None and content.endswith(end)):
            return content, False
    return content, True


def _end_of(child: "subprocess.Popen[bytes]") -> str | None:
    """Return how a process ended that has closed its pipe; None: as it should."""
    try:
        code = child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return None
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else None
