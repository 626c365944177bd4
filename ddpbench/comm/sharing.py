"""Memory that the ranks of one machine share.

The memory has no name and ends with the last process that has it open (see `memory`). Ranks open it through rank 0's
entry in /proc, which only processes of the same user may do.
"""

import mmap
import os
from pathlib import Path

from ddpbench import memory
from ddpbench.comm.ranks import Ranks
from ddpbench.errors import UserError


def share(ranks: Ranks, num_bytes: int) -> tuple[mmap.mmap, list[int]]:
    """Map `num_bytes` bytes, zeros at first, that all ranks share. Returns them and the process id of every rank.

    A collective. Raises OSError where there is no room for the memory, UserError where it cannot be made or found.
    """
    descriptor = -1
    if ranks.rank == 0:
        descriptor = memory.private("ddpbench")
        memory.reserve(descriptor, num_bytes)
    inode = os.fstat(descriptor).st_ino if ranks.rank == 0 else 0
    rows = ranks.gather([os.getpid(), descriptor, inode])
    owner, place, inode = rows[0]
    with Path(memory.path(place, owner)).open("r+b") as file:
        if os.fstat(file.fileno()).st_ino != inode:
            raise UserError("rank 0's shared memory is another file: ranks do not see each other's processes")
        shared = mmap.mmap(file.fileno(), num_bytes)
    ranks.barrier()
    if ranks.rank == 0:
        os.close(descriptor)  # every rank has the memory open now: it ends with the last of them
    return shared, [pid for pid, _, _ in rows]
