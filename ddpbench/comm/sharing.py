"""Memory that the ranks of one machine share.

The memory has no name and ends with the last process that has it open (see `memory`). The first rank of a machine makes
it, and the others open it through that rank's entry in /proc, which only processes of the same user may do.
"""

import mmap
import os
from pathlib import Path

from ddpbench import memory
from ddpbench.comm.ranks import Ranks
from ddpbench.errors import UserError


def share(ranks: Ranks, num_bytes: int) -> tuple[mmap.mmap, list[int]]:
    """Map `num_bytes` bytes, zeros at first, that the ranks of this machine share. Returns them and these ranks' pids.

    A collective of the ranks of all machines. Raises OSError where there is no room for the memory, UserError where it
    cannot be made or found.
    """
    first = ranks.rank - ranks.rank % ranks.local_size  # of this machine
    descriptor = -1
    if ranks.rank == first:
        descriptor = memory.private("ddpbench")
        memory.reserve(descriptor, num_bytes)
    inode = os.fstat(descriptor).st_ino if ranks.rank == first else 0
    rows = ranks.gather([os.getpid(), descriptor, inode])[first : first + ranks.local_size]
    owner, place, inode = rows[0]
    with Path(memory.path(place, owner)).open("r+b") as file:
        if os.fstat(file.fileno()).st_ino != inode:
            raise UserError(f"rank {first}'s shared memory is another file: ranks do not see each other's processes")
        shared = mmap.mmap(file.fileno(), num_bytes)
    ranks.barrier()
    if ranks.rank == first:
        os.close(descriptor)  # every rank has the memory open now: it ends with the last of them
    return shared, [pid for pid, _, _ in rows]
