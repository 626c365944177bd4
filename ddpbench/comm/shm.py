"""Gradients combined through memory that the ranks of one machine share: `--comm shm`, a DDP communication hook.

1. Every rank writes its chunk into its own slot, signals the other ranks, and waits for their signals.
2. Every rank adds all slots in rank order. So all ranks get identical bits, and so does every repetition. Large chunks
   of more than two ranks are added by parts, one part by each rank.
3. Two halves of the memory are used in turn. A rank signals chunk k only after it has read every slot of chunk k - 1,
   so chunk k + 1 may reuse that half.

This is correct on x86-64 and on arm64. Ranks signal with POSIX semaphores, one for each ordered pair of ranks, which
synchronise memory between processes (IEEE 1003.1-2017, 4.12): what a rank wrote before sem_post is visible to the rank
whose sem_wait returns because of it. The code polls no flag of its own and assumes no order of stores. Where a C
library lacks these calls, shm is refused and gloo remains.
"""

import ctypes
import mmap
import os
import sys
import time
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from ddpbench import processes
from ddpbench.comm import peers, sharing
from ddpbench.comm.ranks import Ranks
from ddpbench.errors import UserError

SLOT_BYTES = 2**20  # of a bucket at a time: slots stay in cache (measured: 256 KiB 1.2 times as long at 24 MB)
BY_PARTS_BYTES = 2**16  # from here on, more than two ranks share the adding out
LINE_BYTES = 128  # a semaphore's own cache lines, on processors that fetch them in pairs
SPIN_S = 0.002  # waking a sleeping process costs up to a millisecond on virtual machines
LOOK_EVERY_S = 0.2  # for a peer that has died, while blocked
PAGE = mmap.PAGESIZE

_LIBC = ctypes.CDLL(None, use_errno=True)
_HOLDING_GIL = ctypes.PyDLL(None)  # for calls of nanoseconds, where handing the interpreter over costs more


AnySlots = TypeVar("AnySlots", bound="Slots")


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


def missing() -> str | None:
    """Return what this platform lacks for shm; None where it has all."""
    if sys.platform != "linux":
        return "Linux"
    calls = ("sem_init", "sem_post", "sem_trywait", "sem_clockwait")
    return next((call for call in calls if not hasattr(_LIBC, call)), None)


class Slots:
    """The memory that ranks of one machine share: a slot for each in either half, and signals that it is written."""

    def __init__(
        self, memory: mmap.mmap, pids: list[int], rank: int, *, spin_s: float, timeout_s: float, first: int = 0
    ) -> None:
        """`memory` is of `num_bytes`, its semaphores initialised; `pids` are the processes of all ranks in it.

        `rank` is this one's place among them, and `first` the number of the first of them among the ranks of a run.
        """
        self.rank, self.size, self._first = rank, len(pids), first
        self._pids, self._spin_s, self._timeout_s = pids, spin_s, timeout_s
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        others = [peer for peer in range(self.size) if peer != rank]
        self._to = [self._semaphore(rank, peer) for peer in others]
        self._from = [(self._semaphore(peer, rank), peer) for peer in others]
        self._trywait, self._post = _HOLDING_GIL.sem_trywait, _HOLDING_GIL.sem_post
        self._trywait.argtypes = self._post.argtypes = (ctypes.c_void_p,)
        begin = _slots_begin(self.size)
        self._slots = torch.frombuffer(memory, dtype=torch.uint8, offset=begin).view(2, self.size, -1)
        self.slot_bytes = self._slots.shape[2]
        self._slots[:, rank].fill_(0)  # pages are there before the first step
        self._views: dict[tuple[torch.dtype, int], list[list[Tensor]]] = {}
        self._half = 0

    def next(self, dtype: torch.dtype, count: int) -> list[Tensor]:
        """Return the slots of all ranks as tensors [count], in the half whose turn it is."""
        if (dtype, count) not in self._views:
            self._views[dtype, count] = [[slot.view(dtype)[:count] for slot in half] for half in self._slots]
        self._half = 1 - self._half
        return self._views[dtype, count][self._half]

    def meet(self) -> None:
        """Signal every peer that this rank is here, and wait for the signal of each.

        Raises PeerError naming a rank that does not come, at once where it has died, else when time is up.
        """
        for semaphore in self._to:
            self._post(semaphore)
        for semaphore, peer in self._from:
            if self._trywait(semaphore):
                self._wait(semaphore, peer)

    def _wait(self, semaphore: int, peer: int) -> None:
        until = time.perf_counter() + self._spin_s
        while time.perf_counter() < until:
            if not self._trywait(semaphore):
                return
        waited_s = 0.0
        while not _block(semaphore, LOOK_EVERY_S):
            # Looks are counted, and no clock is read: while every process is stopped, no rank is late.
            waited_s += LOOK_EVERY_S
            has_ended = processes.state(self._pids[peer]) == "ended"
            if has_ended and _block(semaphore, 0):  # the peer may have signalled before it ended
                return
            if has_ended or waited_s > self._timeout_s:
                raise peers.end_late(self._first + peer, self._pids[peer], self._timeout_s)

    def _semaphore(self, sender: int, receiver: int) -> int:
        """Return the address of the semaphore with which one rank signals another."""
        return self._base + (sender * self.size + receiver) * LINE_BYTES


class SharedMean(Slots):
    """The mean of a tensor over ranks, in shared memory. Every rank makes one, and calls it as often, as large."""

    def __call__(self, bucket: Tensor) -> None:
        """Replace `bucket`, contiguous and floating, by its mean over ranks. A collective.

        Raises PeerError naming a rank that does not come.
        """
        if self.size == 1:
            return None
        at_once = self.slot_bytes // bucket.element_size()
        if bucket.numel() <= at_once:  # nearly always: saves the 5 us of split
            return self._mean(bucket)
        for chunk in bucket.split(at_once):
            self._mean(chunk)
        return None

    def _mean(self, chunk: Tensor) -> None:
        slots = self.next(chunk.dtype, chunk.numel())
        torch.mul(chunk, weight(chunk.dtype, self.size), out=slots[self.rank])  # scaled first, as DDP does with gloo
        self.meet()
        if self.size > 2 and chunk.nbytes >= BY_PARTS_BYTES:
            self._add_by_parts(chunk, slots)
        else:
            add(slots, chunk)

    def _add_by_parts(self, chunk: Tensor, slots: list[Tensor]) -> None:
        """Add this rank's part of every slot, publish the sum in its own slot, and collect those of the others."""
        places = parts(chunk.numel(), self.size)
        mine = places[self.rank]
        add([slot[mine] for slot in slots], chunk[mine])
        slots[self.rank][mine].copy_(chunk[mine])  # nobody else reads or writes this part before we meet
        self.meet()
        for slot, place in zip(slots, places, strict=True):
            chunk[place].copy_(slot[place])


def hook(ranks: Ranks, *, spins: bool) -> tuple[SharedMean, Any]:
    """Set up memory that all ranks share. Returns the arguments of DistributedDataParallel.register_comm_hook.

    `spins` says whether a rank may wait for a short time without sleep, which helps only where its peer computes on
    another core meanwhile. A collective. Raises UserError where the memory cannot be had.
    """
    return slots(SharedMean, ranks, SLOT_BYTES, spins=spins), reduce_bucket


def slots(kind: type[AnySlots], ranks: Ranks, slot_bytes: int, *, spins: bool) -> AnySlots:
    """Set up memory that the ranks of this machine share, as `hook` does for ranks that are all on one."""
    size, place = ranks.local_size, ranks.rank % ranks.local_size
    wanted_bytes = num_bytes(size, slot_bytes)
    try:
        memory, pids = sharing.share(ranks, wanted_bytes)
    except OSError as problem:
        wanted = f"{wanted_bytes / 2**20:.0f} MiB of memory to share"
        name = "shm" if ranks.size == size else "shm+gloo"
        raise UserError(f"--comm {name}: no {wanted} ({problem.strerror}); use --comm gloo") from problem
    if place == 0:
        _init_semaphores(memory, size)
    spin_s = SPIN_S if spins else 0.0
    made = kind(memory, pids, place, spin_s=spin_s, timeout_s=ranks.timeout_s, first=ranks.rank - place)
    ranks.barrier()
    return made


def reduce_bucket(mean, bucket):  # type: ignore[no-untyped-def]  # DDP refuses any annotation but its own
    """Reduce a bucket of gradients in place: DDP's communication hook."""
    gradients = bucket.buffer()
    mean(gradients)
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(gradients)
    return done


def num_bytes(size: int, slot_bytes: int) -> int:
    """Return the bytes that `size` ranks share: semaphores, then two halves of a slot for each."""
    return _slots_begin(size) + 2 * size * slot_bytes


@cache
def weight(dtype: torch.dtype, ranks: int) -> Tensor:
    """Return 1 / ranks, by which each rank multiplies what it brings. bfloat16's own third would be 0.2 % off."""
    return torch.tensor(1 / ranks, dtype=torch.float64 if dtype == torch.bfloat16 else dtype)


def parts(count: int, ranks: int) -> list[slice]:
    """Return the part of `count` numbers that each rank adds up. The last ones may be shorter, or empty."""
    size = -(-count // ranks)
    return [slice(rank * size, (rank + 1) * size) for rank in range(ranks)]


def add(slots: Sequence[Tensor], out: Tensor) -> None:
    """Add in rank order."""
    torch.add(slots[0], slots[1], out=out)
    for slot in slots[2:]:
        out.add_(slot)


def _slots_begin(size: int) -> int:
    return -(-size * size * LINE_BYTES // PAGE) * PAGE


def _init_semaphores(memory: mmap.mmap, size: int) -> None:
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for index in range(size * size):
        if _LIBC.sem_init(ctypes.c_void_p(base + index * LINE_BYTES), 1, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _block(semaphore: int, seconds: float) -> bool:
    """Wait for a semaphore, asleep. Returns whether it came; a signal ends the wait early, for Python to handle it."""
    until = time.clock_gettime(time.CLOCK_MONOTONIC) + seconds
    when = _Timespec(int(until), int(until % 1 * 1e9))
    return not _LIBC.sem_clockwait(ctypes.c_void_p(semaphore), time.CLOCK_MONOTONIC, ctypes.byref(when))
