"""Which rank is to blame when an exchange of gradients fails: the processes of one machine, by their state."""

import contextlib
import os
import signal
import time

from ddpbench import processes
from ddpbench.errors import PeerError
from ddpbench.notes import HANGS

ENDS_WITHIN_S = 2.0  # a process whose connections have closed ends within this time
STATES = {
    "ended": "has ended",
    "stopped": f"is stopped ({signal.SIGSTOP.name})",
    "running": "still runs, or waits for something else",
}


def blame(others: dict[int, int], waited_s: float | None) -> PeerError:
    """Find the rank for which an exchange failed. Returns the error that names it, and ends it unless it has ended.

    `others` has the process id of every other rank. `waited_s` is None where a connection broke: its process has then
    ended, or will in a moment.
    """
    until = time.monotonic() + ENDS_WITHIN_S
    while True:
        states = {rank: processes.state(pid) for rank, pid in others.items()}
        ended = [rank for rank, state in states.items() if state == "ended"]
        if ended or waited_s is not None or time.monotonic() > until:
            stopped = [rank for rank, state in states.items() if state == "stopped"]
            if not ended and not stopped and len(others) > 1:
                who = f"one of ranks {', '.join(map(str, others))}"
                return PeerError(f"{who} did not bring its gradients; all of them run", min(others), has_ended=False)
            peer = [*ended, *stopped, *others][0]
            return end_late(peer, others[peer], waited_s)
        time.sleep(0.01)


def end_late(peer: int, pid: int, waited_s: float | None) -> PeerError:
    """End the process of a rank that did not bring its gradients. Returns the error that names the rank.

    Without this, a rank that hangs would live for another 30 s: it ignores SIGTERM, and torchrun waits so long before
    it sends SIGKILL. A process that is not stopped shows its stacks first (see `train.watchdog`).
    """
    state = processes.state(pid)
    has_ended = state == "ended"
    if not has_ended and pid != os.getpid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if state == "stopped" else HANGS)
    waited = "" if has_ended or waited_s is None else f" within {waited_s:g} s"
    return PeerError(
        f"rank {peer} did not bring its gradients{waited}: its process {STATES[state]}", peer, has_ended=has_ended
    )
