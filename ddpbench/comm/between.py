"""Gradients combined over several hosts: `--comm shm+gloo`, a DDP communication hook.

1. Inside a host every rank adds up its part of what the host's ranks bring, in rank order, through shared memory.
2. Twins are the ranks with the same place on every host. They send each other their parts over sockets, and add them in
   the order of hosts. So every connection carries 1 / (ranks of a host) of the gradients.
3. Every rank publishes its part in shared memory, and collects those of the other ranks of its host.

Two hosts send each other whole parts: one exchange. More of them divide a part into pieces, one for each host, which
adds up its piece and sends the sum to the others: two exchanges, whatever their number, and no more bytes than a ring.
Every number is added up in one order: all ranks get identical bits.

The sockets do not hold up backward: the hook returns a future for what is on its way. The last bucket of a step
finishes all buckets, in their order, which is the same on all ranks. With more than two hosts, the second exchange of a
bucket begins when the next bucket is ready.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.futures import Future

from ddpbench.comm import shm
from ddpbench.comm.ranks import Ranks

SLOT_BYTES = 2**22  # of a bucket at a time: smaller ones are more messages, each of which wakes threads


class Twins:
    """The ranks with the same place as this one, by host. What two of them exchange arrives in the order of sending."""

    def __init__(self, ranks: Ranks) -> None:
        place = ranks.rank % ranks.local_size
        self.host, self.hosts = ranks.rank // ranks.local_size, ranks.size // ranks.local_size
        self.others = [host for host in range(self.hosts) if host != self.host]
        self._ranks = [host * ranks.local_size + place for host in range(self.hosts)]
        self._group = ranks.group

    def send(self, tensor: Tensor, host: int) -> Any:
        """Begin to send a tensor. Returns torch's handle, to wait for."""
        return dist.isend(tensor, group=self._group, group_dst=self._ranks[host])

    def receive(self, tensor: Tensor, host: int) -> Any:
        """Begin to receive a tensor. Returns torch's handle, to wait for."""
        return dist.irecv(tensor, group=self._group, group_src=self._ranks[host])


class Part:
    """This rank's part of a chunk of gradients, on its way between hosts."""

    def __init__(self, part: Tensor, twins: Twins) -> None:
        """Expect what the twins bring. They may send at once where somebody waits for it already."""
        self._part, self._twins = part, twins
        is_whole = twins.hosts == 2
        self._places = [slice(None)] * 2 if is_whole else shm.parts(part.numel(), twins.hosts)
        self._sums_wanted = not is_whole
        mine = part[self._places[twins.host]]
        self._brought = [mine if host == twins.host else torch.empty_like(mine) for host in range(twins.hosts)]
        self._mine = mine
        self._works: list[Any] = []
        if mine.numel():
            self._works += [twins.receive(self._brought[host], host) for host in twins.others]

    def send(self) -> None:
        """Begin to send the twins what this host has added up."""
        for host in self._twins.others:
            piece = self._part[self._places[host]]
            if piece.numel():
                self._works.append(self._twins.send(piece, host))

    def add_up(self) -> None:
        """Wait for the twins, add in the order of hosts, and send them the sum where they want it."""
        if not self._brought:
            return
        self._wait()
        total, *rest, last = self._brought
        for other in rest:
            total += other
        torch.add(total, last, out=self._mine)  # which is one of them
        self._brought = []
        if not self._sums_wanted:
            return
        for host in self._twins.others:
            piece = self._part[self._places[host]]
            if piece.numel():
                self._works.append(self._twins.receive(piece, host))
        if self._mine.numel():
            self._works += [self._twins.send(self._mine, host) for host in self._twins.others]

    def finish(self) -> None:
        """Wait until the part is the sum over all hosts."""
        self.add_up()
        self._wait()

    def _wait(self) -> None:
        for work in self._works:
            work.wait()
        self._works = []


@dataclass
class Unfinished:
    """A bucket of gradients on its way between hosts."""

    bucket: Tensor
    chunks: list[tuple[Tensor, Part]] = field(default_factory=list)
    future: "Future[Tensor]" = field(default_factory=Future)


class MeanOverHosts:
    """The mean of gradients over ranks of several hosts. Every rank makes one, and calls it as often, as large."""

    def __init__(self, inside: shm.Slots, twins: Twins) -> None:
        self._inside, self._twins = inside, twins
        self._size = inside.size * twins.hosts
        self._unfinished: list[Unfinished] = []
        self._steps_s: list[float] = []

    def __call__(self, bucket: Tensor, *, is_last: bool) -> "Future[Tensor]":
        """Begin to replace `bucket`, contiguous and floating, by its mean over ranks. A collective.

        Returns the future of the bucket. That of the last one of a step is there, and so are then all others. Raises
        PeerError naming a rank of this host that does not come, and gloo's RuntimeError where a connection fails.
        """
        begun = Unfinished(bucket)
        for chunk in bucket.split(self._inside.slot_bytes // bucket.element_size()):
            begun.chunks.append((chunk, self._begin(chunk)))
        if self._twins.hosts > 2:
            self._pass_on()
        self._unfinished.append(begun)
        if is_last:
            self._finish()
        return begun.future

    def take(self) -> list[float]:
        """Return the seconds that this rank waited for other hosts in each step since the last call.

        They are part of the exposed reduction: what was on its way while gradients were computed does not count.
        """
        steps_s, self._steps_s = self._steps_s, []
        return steps_s

    def _begin(self, chunk: Tensor) -> Part:
        """Add up this rank's part of a chunk over the ranks of this host, and send it to the other hosts."""
        mine = shm.parts(chunk.numel(), self._inside.size)[self._inside.rank]
        part = Part(chunk[mine], self._twins)
        slots = self._inside.next(chunk.dtype, chunk.numel())
        torch.mul(chunk, shm.weight(chunk.dtype, self._size), out=slots[self._inside.rank])
        self._inside.meet()
        shm.add([slot[mine] for slot in slots], chunk[mine])
        part.send()
        return part

    def _pass_on(self) -> None:
        """Begin the second exchange of buckets whose first one has begun.

        This waits for them, but the sockets have a later bucket to carry meanwhile: they lose no time by it.
        """
        for each in self._unfinished:
            for _, part in each.chunks:
                part.add_up()

    def _finish(self) -> None:
        begin, collecting_s = time.perf_counter(), 0.0
        if self._twins.hosts > 2:
            self._pass_on()
        for each in self._unfinished:
            for chunk, part in each.chunks:
                part.finish()
                arrived = time.perf_counter()
                self._collect(chunk)
                collecting_s += time.perf_counter() - arrived
            each.future.set_result(each.bucket)
        self._unfinished = []
        self._steps_s.append(time.perf_counter() - begin - collecting_s)

    def _collect(self, chunk: Tensor) -> None:
        """Publish this rank's part of a chunk, and collect those of the other ranks of this host."""
        places = shm.parts(chunk.numel(), self._inside.size)
        slots = self._inside.next(chunk.dtype, chunk.numel())
        mine = self._inside.rank
        slots[mine][places[mine]].copy_(chunk[places[mine]])
        self._inside.meet()
        for rank, (slot, place) in enumerate(zip(slots, places, strict=True)):
            if rank != mine:
                chunk[place].copy_(slot[place])


def hook(ranks: Ranks, *, spins: bool) -> tuple[MeanOverHosts, Any]:
    """Set up what ranks share. Returns the arguments of DistributedDataParallel.register_comm_hook.

    A collective; see `shm.hook`.
    """
    return MeanOverHosts(shm.slots(shm.Slots, ranks, SLOT_BYTES, spins=spins), Twins(ranks)), reduce_bucket


def reduce_bucket(mean, bucket):  # type: ignore[no-untyped-def]  # DDP refuses any annotation but its own
    """Begin to reduce a bucket of gradients in place: DDP's communication hook."""
    return mean(bucket.buffer(), is_last=bucket.is_last())
