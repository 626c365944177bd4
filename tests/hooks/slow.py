"""Time to break a run from outside, as a hook: every step takes SECONDS longer, and learns what it would have learnt.

--hook tests/hooks/slow.py:SECONDS            or SECONDS,FAULTS with faults as in faults.py
"""

import time

from ddpbench.config import TrainConfig
from ddpbench.train.batches import Batches
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.state import TrainState
from ddpbench.train.world import World
from tests.hooks import faults


def onlookers(words: str, state: TrainState, batches: Batches, cfg: TrainConfig, here: World) -> list[Onlooker]:
    """Return what sleeps, and the faults that are planned."""
    seconds, _, planned = words.partition(",")
    return [Slow(float(seconds)), *(faults.onlookers(planned, state, batches, cfg, here) if planned else [])]


class Slow(Onlooker):
    """Sleeps after every step."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def step_taken(self, state: TrainState) -> None:  # noqa: ARG002 - an onlooker's
        """Sleep: no core is busy, and other ranks wait."""
        time.sleep(self._seconds)
