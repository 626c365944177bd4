"""A board of numbers that every rank of one machine may read at any time, and how ranks agree on a step with it."""

from array import array
from collections.abc import Sequence

from ddpbench.comm.ranks import Ranks
from ddpbench.comm.sharing import share
from ddpbench.errors import UserError

DIGEST_BYTES = 32  # of SHA-256


class Board:
    """Ranks agree here to meet after a step, without a collective and without waiting.

    1. In step n a rank asks all ranks to meet after step n + 2, before it reduces the gradients of step n + 1.
    2. To reduce step n + 1, a rank needs the gradients of every rank. So every rank sees the request by then, before
       step n + 2 begins.
    3. Every rank posts its losses and the digest of its weights before it reduces step n + 2. So after that step every
       rank can read those of all others.

    Two meetings and their digests are stored, by even and odd steps: the older is over before its place is needed
    again. After a meeting another rank may have posted for the next step before this one has read; losses only grow.
    """

    def __init__(self, ranks: Ranks, steps: int) -> None:
        """Share a board with room for the losses of `steps` steps of each rank. A collective.

        A single rank keeps it to itself. Raises UserError where the memory cannot be had.
        """
        self._rank, size = ranks.rank, ranks.size
        digests = 5 * size + 1  # where they begin, in numbers of 8 bytes
        losses = digests + 2 * size * DIGEST_BYTES // 8
        num_bytes = 8 * (losses + size * steps)
        try:
            board = share(ranks, num_bytes)[0] if size > 1 else bytearray(num_bytes)
        except OSError as problem:
            raise UserError(f"ranks cannot share {num_bytes:,} bytes of memory: {problem.strerror}") from problem
        ints, floats = memoryview(board).cast("q"), memoryview(board).cast("d")
        self._meetings = [ints[:size], ints[size : 2 * size]]
        self._stops = [ints[2 * size : 3 * size], ints[3 * size : 4 * size]]
        self._paused = floats[digests - 1 : digests]
        whole = memoryview(board)[8 * digests :]
        rows = [whole[row * DIGEST_BYTES :][:DIGEST_BYTES] for row in range(2 * size)]
        self._digests = [rows[:size], rows[size:]]
        self._losses = [floats[losses + rank * steps :][:steps] for rank in range(size)]

    def ask(self, step: int, *, stop: bool) -> None:
        """Ask all ranks to meet after `step`, counted over the run and two from now, and to stop there if `stop`."""
        self._stops[step % 2][self._rank] = stop
        self._meetings[step % 2][self._rank] = step

    def is_meeting(self, step: int) -> bool:
        """Whether a rank has asked to meet after this step. Known before the step begins."""
        return step in self._meetings[step % 2]

    def is_stopping(self, step: int) -> bool:
        """Whether a rank has asked to stop after this step."""
        requests = zip(self._meetings[step % 2], self._stops[step % 2], strict=True)
        return any(when == step and stop for when, stop in requests)

    def post(self, step: int, losses: Sequence[float], digest: bytes) -> None:
        """Show this rank's losses of the epoch up to a step, and the SHA-256 of its weights before it."""
        self._digests[step % 2][self._rank][:] = digest
        self._losses[self._rank][: len(losses)] = memoryview(array("d", losses))

    def collect(self, step: int, count: int) -> tuple[list[str], list[list[float]]]:
        """Return the digest of every rank, and the first losses [ranks, count], as posted for a step."""
        digests = [bytes(row).hex() for row in self._digests[step % 2]]
        return digests, [[float(loss) for loss in row[:count]] for row in self._losses]

    def share_paused(self) -> None:
        """Tell every rank how long rank 0 has spent saving: all of them see it at any time."""

    @property
    def paused_s(self) -> float:
        """Seconds that rank 0 has spent saving in the middle of epochs, while the other ranks waited for it."""
        return self._paused[0]

    @paused_s.setter
    def paused_s(self, seconds: float) -> None:
        self._paused[0] = seconds
