"""Faults on purpose, to prove what happens then: for tests alone, by --inject and DDPBENCH_INJECT=yes (see inject.py).

KIND=RANK@STEP       in the first attempt, after this step of the run on this rank; several, joined by commas
KIND=RANK@STEP#N     in attempt N, from 0
KIND=RANK@STEP*      in every attempt

kill, stop, term     a signal: SIGKILL, SIGSTOP, SIGTERM
raise, abort, exit   an exception; a crash in native code; a quiet end with exit code 0
hang, hold           an endless loop; one that never gives the interpreter to another thread
nan                  a gradient that is no number, in the next step
flip                 one bit of the weights changes
corrupt              the newest checkpoint is damaged, and then the rank killed
"""

import ctypes
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ddpbench.train import checkpoint, process

if TYPE_CHECKING:
    from ddpbench.train.world import World

KINDS = ("kill", "stop", "term", "raise", "abort", "exit", "hang", "hold", "nan", "flip", "corrupt")
SYNTAX = re.compile(rf"({'|'.join(KINDS)})=(\d+)@(\d+)(\*|#\d+)?")


class Faults:
    """The faults of one rank in one attempt."""

    def __init__(self, planned: dict[int, str]) -> None:
        """`planned` names what happens after which step of the run."""
        self._planned = planned

    def after_step(self, step: int, net: nn.Module, checkpoints: Path) -> None:
        """Let happen what is planned for this step."""
        kind = self._planned.get(step)
        if kind is not None:
            print(f"fault: {kind} after step {step}", file=sys.stderr, flush=True)
            _happen(kind, net, checkpoints)


def is_fault(text: str) -> bool:
    """Whether `text`, of --inject, is a list of faults."""
    return all(SYNTAX.fullmatch(part) for part in text.split(","))


def read(text: str | None, here: "World") -> Faults | None:
    """Return the faults that `text` plans for this rank in this attempt; None where there are none."""
    if text is None or not is_fault(text):
        return None
    planned = [match.groups() for match in map(SYNTAX.fullmatch, text.split(",")) if match]
    mine = {
        int(step): kind
        for kind, rank, step, when in planned
        if int(rank) == here.rank and (when or "#0") in {"*", f"#{process.attempt()}"}
    }
    return Faults(mine) if mine else None


def _happen(kind: str, net: nn.Module, checkpoints: Path) -> None:
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
    elif kind == "corrupt":
        newest, *older = [*checkpoint.generations(checkpoints), checkpoints]
        if any(checkpoint.is_whole(path) for path in older):  # else nothing would be left to go on with
            content = bytearray(newest.read_bytes())
            content[len(content) // 2] ^= 1
            newest.write_bytes(content)
        os.kill(os.getpid(), signal.SIGKILL)
