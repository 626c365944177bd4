"""Faults on purpose, to prove what happens then: for tests alone, by --inject and DDPBENCH_INJECT=yes (see inject.py).

KIND=RANK@STEP       in the first attempt, after this step of the run on this rank; several, joined by commas
KIND=RANK@STEP*      in every attempt

kill, stop, term     a signal: SIGKILL, SIGSTOP, SIGTERM
raise, abort, exit   an exception; a crash in native code; a quiet end with exit code 0
hang, hold           an endless loop; one that never gives the interpreter to another thread
nan                  a gradient that is no number, in the next step
flip                 one bit of the weights changes
"""

import ctypes
import os
import re
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ddpbench import process
from ddpbench.errors import UserError

if TYPE_CHECKING:
    from ddpbench.world import World

KINDS = ("kill", "stop", "term", "raise", "abort", "exit", "hang", "hold", "nan", "flip")
SYNTAX = re.compile(rf"({'|'.join(KINDS)})=(\d+)@(\d+)(\*?)")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, to which rank, after which step of the run."""

    kind: str
    rank: int
    step: int


class Faults:
    """The faults of one rank in one attempt."""

    def __init__(self, planned: list[Fault]) -> None:
        self._planned = {fault.step: fault.kind for fault in planned}

    def after_step(self, step: int, net: nn.Module) -> None:
        """Let happen what is planned for this step."""
        kind = self._planned.get(step)
        if kind is not None:
            process.note("fired", kind=kind, step=step)
            _happen(kind, net)


def is_fault(text: str) -> bool:
    """Whether `text`, of --inject, is a list of faults."""
    return all(SYNTAX.fullmatch(part) for part in text.split(","))


def read(text: str | None, here: "World") -> Faults | None:
    """Return the faults that `text` plans for this rank in this attempt; None where there are none."""
    if text is None or not is_fault(text):
        return None
    planned = [match.groups() for match in map(SYNTAX.fullmatch, text.split(",")) if match]
    mine = [
        Fault(kind, int(rank), int(step))
        for kind, rank, step, always in planned
        if int(rank) == here.rank and (always or process.attempt() == 0)
    ]
    return Faults(mine) if mine else None


def _happen(kind: str, net: nn.Module) -> None:
    signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM, "abort": signal.SIGABRT}
    if kind in signals:
        os.kill(os.getpid(), signals[kind])
    elif kind == "raise":
        raise RuntimeError("a fault that was asked for")
    elif kind == "exit":
        os._exit(0)
    elif kind == "hang":
        while True:
            time.sleep(0.1)
    elif kind == "hold":
        ctypes.PyDLL(None).sleep(10**6)  # a call that keeps the interpreter's lock
    elif kind == "nan":
        parameter = next(net.parameters())
        parameter.register_hook(lambda gradient: gradient * torch.nan)
    elif kind == "flip":
        with torch.no_grad():
            parameter = next(net.parameters())
            parameter.view(-1)[:1].view(torch.uint8).bitwise_xor_(1)
    else:
        raise UserError(f"{kind} is no fault")
