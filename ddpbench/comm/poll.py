"""How ranks of several hosts agree on a step to meet after, where they share no memory for a `board.Board`."""

import math
import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ddpbench.comm.ranks import Ranks

EVERY_S = 0.25  # about, between two polls: a signal is heeded so soon
MOST_STEPS = 1_000  # between two polls
NOTHING, MEETING, STOP = 0, 1, 2


class Distant(Ranks, Protocol):
    """Ranks of which some share no memory."""

    def begin_largest(self, numbers: Tensor) -> Any:
        """Begin to replace numbers by the largest of all ranks. Returns what to `wait()` for. A collective."""


class Poll:
    """Ranks agree here to meet after a step, as on a Board. It answers the same questions.

    1. After step n every rank begins a collective that takes the largest of what ranks ask for, and goes on.
    2. After step n + 1 every rank waits for it. So every rank knows then whether all meet after step n + 2.
    3. The collective also takes the longest time of a step. From it every rank has the same number of steps until the
       next poll.
    """

    def __init__(self, ranks: Distant) -> None:
        self._ranks = ranks
        self._wish = self._sent = NOTHING
        self._numbers = torch.zeros(2, dtype=torch.int64)  # what is asked for, and microseconds of a step
        self._work: Any = None  # of a poll that has begun
        self._begin_s, self._steps, self._left = time.monotonic(), 0, 1
        self._meets_at, self._stops, self._has_met = -1, False, False
        self._posted: tuple[bytes, list[float]] = b"", []
        self.paused_s = 0.0  # that rank 0 has spent saving in the middle of epochs, as far as this rank knows

    def ask(self, step: int, *, stop: bool) -> None:
        """Ask all ranks to meet soon, and to stop there if `stop`."""
        self._wish = max(self._wish, STOP if stop else MEETING)

    def is_meeting(self, step: int) -> bool:
        """Whether ranks meet after this step, which is next. A collective, after every step."""
        self._steps += 1
        if self._work is not None:
            self._hear(step)
        elif self._steps >= self._left:
            self._sent = self._wish
            since_s = time.monotonic() - self._begin_s
            self._numbers = torch.tensor([self._sent, int(1e6 * since_s / self._steps)])
            self._work = self._ranks.begin_largest(self._numbers)
        return step == self._meets_at

    def is_stopping(self, step: int) -> bool:
        """Whether ranks stop after this step."""
        return step == self._meets_at and self._stops

    def post(self, step: int, losses: Sequence[float], digest: bytes) -> None:
        """Keep this rank's losses of the epoch up to a step, and the SHA-256 of its weights before it."""
        self._posted = digest, list(losses)

    def collect(self, step: int, count: int) -> tuple[list[str], list[list[float]]]:
        """Return the digest of every rank and the first losses [ranks, count], as posted. A collective."""
        digest, losses = self._posted
        # JSON has no number for a loss that is not finite; the run ends by it at the end of its epoch.
        finite = [loss if math.isfinite(loss) else None for loss in losses[:count]]
        rows = self._ranks.gather([digest.hex(), *finite])
        known = [[math.nan if loss is None else loss for loss in row[1:]] for row in rows]
        return [row[0] for row in rows], known  # type: ignore[misc, return-value]

    def share_paused(self) -> None:
        """Tell every rank how long rank 0 has spent saving, where ranks have met. A collective."""
        if self._has_met:
            self.paused_s = self._ranks.gather(self.paused_s)[0]
            self._has_met = False

    def _hear(self, step: int) -> None:
        """Take in what a poll has found: ranks meet after `step`, or not, and when the next poll is."""
        self._work.wait()
        wish, step_us = (int(number) for number in self._numbers)
        self._left = min(MOST_STEPS, max(1, round(1e6 * EVERY_S / max(1, step_us))))
        self._begin_s, self._steps, self._work = time.monotonic(), 0, None
        if wish != NOTHING:
            self._meets_at, self._stops, self._has_met = step, wish == STOP, True
            self._wish = NOTHING if self._wish == self._sent else self._wish
