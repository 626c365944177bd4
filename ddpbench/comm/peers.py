"""What the ranks of one machine know of each other without a collective: shared memory, and whether a process lives.

The memory has no name and ends with the last process that has it, however that ends (see `memory`). Ranks find it
through rank 0's /proc entry, which only the same user may open.
"""

import contextlib
import mmap
import os
import signal
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddpbench import memory
from ddpbench.errors import PeerError, UserError
from ddpbench.train import watchdog

if TYPE_CHECKING:
    from ddpbench.train.world import World  # which tells who is there

ENDS_WITHIN_S = 2.0  # a process whose connections have closed


def share(here: "World", size: int) -> tuple[mmap.mmap, list[int]]:
    """Map `size` bytes, zeros at first, that all ranks of one machine share. Returns them and the ranks' processes.

    A collective. Raises OSError where there is no room for it, UserError where it cannot be made or found.
    """
    descriptor = -1
    if here.is_main:
        descriptor = memory.private("ddpbench")
        memory.reserve(descriptor, size)
    told = here.gather([os.getpid(), descriptor, _inode(descriptor) if here.is_main else 0])
    owner, place, inode = (int(value) for value in told[0])
    with Path(memory.path(place, owner)).open("r+b") as file:
        if _inode(file.fileno()) != inode:
            raise UserError("rank 0's shared memory is another file: ranks do not see each other's processes")
        shared = mmap.mmap(file.fileno(), size)
    here.barrier()
    if here.is_main:
        os.close(descriptor)  # all have it open: from here on it ends with the last of them
    return shared, [int(row[0]) for row in told]


def _inode(descriptor: int) -> int:
    """Return the number of a file, as far as a double holds it: ranks gather doubles, and some numbers have 64 bits."""
    return os.fstat(descriptor).st_ino % 2**53


def process_state(pid: int) -> str:
    """Say what has become of a process of this machine."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "has ended"
    if letter in "ZX":
        return "has ended"
    return f"is stopped ({signal.SIGSTOP.name})" if letter in "Tt" else "still runs, or waits for something else"


def to_blame(others: dict[int, int], waited_s: float | None) -> PeerError:
    """Return the error that names the rank, of processes by rank, for which an exchange failed.

    `waited_s` is None where a connection broke: then its process has ended, or will have in a moment.
    """
    until = time.monotonic() + ENDS_WITHIN_S
    while True:
        states = {rank: process_state(pid) for rank, pid in others.items()}
        ended = [rank for rank, state in states.items() if state == "has ended"]
        if ended or waited_s is not None or time.monotonic() > until:
            stopped = [rank for rank, state in states.items() if state.startswith("is stopped")]
            if not ended and not stopped and len(others) > 1:
                who = f"one of ranks {', '.join(map(str, others))}"
                return PeerError(f"{who} did not bring its gradients; all of them run", min(others), has_ended=False)
            peer = [*ended, *stopped, *others][0]
            return lost(peer, others[peer], waited_s)
        time.sleep(0.01)


def lost(peer: int, pid: int, waited_s: float | None) -> PeerError:
    """Return the error that names a rank for not bringing its gradients, and end its process if it has not ended.

    Nobody else would for 30 s: one that hangs heeds no SIGTERM, so torchrun waits and then kills. One that is not
    stopped shows its stacks (see watchdog).
    """
    state = process_state(pid)
    has_ended = state == "has ended"
    if not has_ended and pid != os.getpid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if state.startswith("is stopped") else watchdog.HANGS)
    waited = "" if has_ended or waited_s is None else f" within {waited_s:g} s"
    return PeerError(f"rank {peer} did not bring its gradients{waited}: its process {state}", peer, has_ended=has_ended)


class Board:
    """A few numbers that every rank of one machine may read at any time.

    How ranks meet after the same step, without a collective: at the end of step n a rank writes that all shall meet
    after step n + 2, *before* it reduces the gradients of step n + 1. Whoever has reduced those has got something from
    every rank, and so sees all that ranks wrote before; it thus knows of the meeting before step n + 2 begins, posts
    its losses before it reduces that step, and after it finds those of all others. Nobody ever waits.

    Two meetings are remembered, by even and odd steps: the older is over before its place is needed again.
    """

    def __init__(self, here: "World", losses: int) -> None:
        """Share a board with room for so many losses of each rank. A collective. A world of one keeps it to itself."""
        self._rank, self._size = here.rank, here.size
        first = 5 * here.size + 1
        num_bytes = 8 * (first + here.size * losses)
        try:
            board = share(here, num_bytes)[0] if here.size > 1 else bytearray(num_bytes)
        except OSError as problem:
            raise UserError(f"ranks cannot share {num_bytes:,} bytes of memory: {problem.strerror}") from problem
        ints, floats = memoryview(board).cast("q"), memoryview(board).cast("d")
        self._meetings = [ints[: here.size], ints[here.size : 2 * here.size]]
        self._stops = [ints[2 * here.size : 3 * here.size], ints[3 * here.size : 4 * here.size]]
        self._checksums = ints[4 * here.size : 5 * here.size]
        self._paused = floats[first - 1 : first]
        self._losses = [floats[first + rank * losses :][:losses] for rank in range(here.size)]

    def ask(self, step: int, *, stop: bool) -> None:
        """Ask all ranks to meet after `step`, counted over the run and two from now; and to stop then."""
        self._stops[step % 2][self._rank] = stop
        self._meetings[step % 2][self._rank] = step

    def is_meeting(self, step: int) -> bool:
        """Whether a rank has asked to meet after this step. Known before it begins."""
        return step in self._meetings[step % 2]

    def is_stopping(self, step: int) -> bool:
        """Whether a rank has asked to stop after this step."""
        asked = zip(self._meetings[step % 2], self._stops[step % 2], strict=True)
        return any(when == step and stop for when, stop in asked)

    def post(self, losses: Sequence[float], checksum: int) -> None:
        """Show this rank's losses of the epoch so far, and the checksum of the weights it has."""
        self._checksums[self._rank] = checksum
        self._losses[self._rank][: len(losses)] = memoryview(array("d", losses))

    def checksums(self) -> list[int]:
        """Return the checksum of every rank, as posted."""
        return [*self._checksums]

    def losses(self, count: int) -> list[list[float]]:
        """Return the first losses of every rank, as posted."""
        return [[float(loss) for loss in row[:count]] for row in self._losses]

    @property
    def paused_s(self) -> float:
        """Seconds that rank 0 has spent saving in the middle of epochs, while the others waited for it."""
        return self._paused[0]

    @paused_s.setter
    def paused_s(self, seconds: float) -> None:
        self._paused[0] = seconds
