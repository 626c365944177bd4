"""Faults on purpose, to prove what happens then: a hook as a user could write one (--hook tests/hooks/faults.py:WORDS).

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

import torch
from torch import nn

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.train import checkpoint
from ddpbench.train.batches import Batches
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.state import TrainState
from ddpbench.train.world import World

KINDS = ("kill", "stop", "term", "raise", "abort", "exit", "hang", "hold", "nan", "flip", "corrupt")
SYNTAX = re.compile(rf"({'|'.join(KINDS)})=(\d+)@(\d+)(\*|#\d+)?")


def onlookers(words: str, state: TrainState, batches: Batches, cfg: TrainConfig, here: World) -> list[Onlooker]:
    """Return the faults that `words` plan for this rank in this attempt."""
    plan = [match.groups() for match in map(SYNTAX.fullmatch, words.split(",")) if match]
    if len(plan) < len(words.split(",")):
        raise UserError(f"no plan of faults: {words!r}")
    mine = {
        int(step): kind
        for kind, rank, step, when in plan
        if int(rank) == here.rank and (when or "#0") in {"*", f"#{here.process.attempt}"}
    }
    return [Faults(mine, cfg.results)]


class Faults(Onlooker):
    """The faults of one rank in one attempt."""

    def __init__(self, plan: dict[int, str], results: Path) -> None:
        """`plan` names what happens after which step of the run."""
        self._plan, self._results = plan, results

    def step_taken(self, state: TrainState) -> None:
        """Let happen what is planned for this step."""
        kind = self._plan.get(state.step)
        if kind is not None:
            print(f"fault: {kind} after step {state.step}", file=sys.stderr, flush=True)
            _happen(kind, state.bare_net, self._results)


def _happen(kind: str, net: nn.Module, results: Path) -> None:
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
        (folder,) = results.glob(f"*{checkpoint.SUFFIX}")
        newest, *older = [*checkpoint.generations(folder), folder]
        if any(checkpoint.is_whole(path) for path in older):  # otherwise nothing would be left to go on with
            content = bytearray(newest.read_bytes())
            content[len(content) // 2] ^= 1
            newest.write_bytes(content)
        os.kill(os.getpid(), signal.SIGKILL)
