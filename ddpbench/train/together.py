"""The part of the check that takes all workers: what differs by rank, and what DistributedDataParallel refuses.

1. Every rank builds the network and takes its share of a batch. Digests of both are compared before DDP makes the
   weights those of rank 0.
2. Every rank takes two steps in DDP that exchange no gradients, and tells the others how each went. Whatever DDP
   refuses, it refuses here, and no rank waits within a step for one that has failed.
3. Where shares add up to the whole batch in one process, two steps exchange gradients. They must be those of that
   process.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TypeVar

import msgspec
import torch
from torch import Tensor, nn

from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.errors import DataError, DdpbenchError, UserError
from ddpbench.findings import EqualGradient
from ddpbench.tasks.samples import Batch, map_tensors, moved, tensors_of
from ddpbench.tasks.source import said
from ddpbench.tasks.step import Step
from ddpbench.tasks.task import Data, Task, floating
from ddpbench.train import alone, findings, shares
from ddpbench.train.alone import Alone
from ddpbench.train.counts import Counts
from ddpbench.train.world import World

T = TypeVar("T")
Digests = list[list[str]]  # names, each with the digest of what it names

STEPS = 2  # after the first, DDP arranges its buckets anew
EXACT_COMMS = ("shm", "shm+gloo", "gloo", "nccl")  # others exchange nothing, or rounded gradients


class Told(msgspec.Struct, frozen=True):
    """What rank 0 tells the others of what it has found alone."""

    equal: EqualGradient = "not_shown"
    findings: list[str] = []
    order: list[int] = []
    few: int = 0
    is_double: bool = False
    samples: Digests = []  # of the share of each rank


def agreed(here: World, work: Callable[[], T]) -> T:
    """Return what some work returns on this rank. Where a rank fails, UserError is raised on all. A collective."""
    found, why = None, ""
    try:
        found = work()
    except (UserError, DataError) as problem:
        why = str(problem)
    failures = here.gather(why)
    if any(failures):
        rank, line = next((rank, line) for rank, line in enumerate(failures) if line)
        raise UserError(f"in rank {rank} alone: {line}" if rank else line)
    return found  # type: ignore[return-value]  # this rank's work has returned it


@dataclass(frozen=True, slots=True)
class Together:
    """The workers of a check, as one of them sees it."""

    task: Task
    data: Data
    cfg: TrainConfig
    here: World

    def compare(self, found: Alone | None) -> tuple[EqualGradient, list[str]]:
        """Return what is to be said after all that rank 0 has found alone, which it alone has. A collective.

        Raises UserError, on every rank, where these workers could not train.
        """
        told = self.here.gather(self._told(found))[0]
        if self.here.size == 1:
            return told.equal, told.findings
        step = agreed(self.here, lambda: self.task.step(self.cfg))
        self._require_one_network(step.net)
        order = torch.tensor(told.order, dtype=torch.long)[self.here.rank :: self.here.size]
        batch = self._require_one_set(order, told)
        few = alone.take(self.data, order[: told.few // self.here.size], self.here.device)
        with findings.eager(step):
            self._require_steps(step, few)
            if told.equal != "exact":
                return told.equal, told.findings
            names = self._differing(found, [few, batch], torch.float64 if told.is_double else floating(self.cfg))
        if not names:
            return told.equal, told.findings
        line = (
            f"{self.here.size} workers compute another gradient than one process for {findings.some(names)}, although "
            "the shares of a batch add up to it: look for what the network or loss() does by rank"
        )
        return "not_shown", [*told.findings, line]

    def _told(self, found: Alone | None) -> Told:
        if found is None:
            return Told()
        samples = [[str(rank), digest(tensors_of(share))] for rank, share in enumerate(found.shares)]
        is_double = found.floating == torch.float64
        return Told(found.equal_gradient, found.findings, found.order.tolist(), found.few, is_double, samples)

    def _require_one_network(self, net: nn.Module) -> None:
        values = (*net.named_parameters(), *net.named_buffers())
        rank, names = _odd(self.here.gather([[name, digest([value])] for name, value in values]))
        if names:
            raise UserError(
                f"model() builds another network in rank {rank} than in rank 0 ({findings.some(names)}); it may depend "
                "on its arguments and on torch's seed alone, and not on the rank, a clock or the machine"
            )

    def _require_one_set(self, order: Tensor, told: Told) -> Batch:
        """Return this rank's share of the batch that rank 0 has compared."""
        what = "data() returns other samples in rank {} than in rank 0; they may not depend on rank, time or chance"
        lengths = self.here.gather(len(self.data.train))
        if len({*lengths}) > 1:
            rank = next(rank for rank, length in enumerate(lengths) if length != lengths[0])
            raise UserError(f"{what.format(rank)} ({lengths[rank]:,} and {lengths[0]:,})")
        batch = agreed(self.here, lambda: alone.take(self.data, order, self.here.device))
        mine = [str(self.here.rank), digest(tensors_of(batch))]
        if odd := [own[0] for own, of_main in zip(self.here.gather(mine), told.samples, strict=True) if own != of_main]:
            raise UserError(what.format(odd[0]))
        return batch

    def _require_steps(self, step: Step, batch: Batch) -> None:
        """Take steps in DDP in which nothing is exchanged."""
        torch.manual_seed(self.cfg.seed + self.here.rank)
        net = agreed(self.here, lambda: _wrapped(step.to(self.here.device).train(), self.here, "nothing"))
        for _ in range(STEPS):
            agreed(self.here, lambda: _take_step(net, batch, Counts()))
            unused = self.here.gather([name for name, value in step.net.named_parameters() if _is_unused(value)])
            if names := sorted({name for each in unused for name in each}):
                raise UserError(
                    f"which parameters get a gradient differs from rank to rank ({findings.some(names)}): DDP would "
                    "stop, or wait without an end; let every batch use them, as by adding 0 times their sum to the loss"
                )

    def _differing(self, found: Alone | None, batches: Sequence[Batch], dtype: torch.dtype) -> list[str]:
        """Return the parameters whose gradient, exchanged by DDP after the last batch, is not that of rank 0 alone."""
        here = self.here if self.here.comm in EXACT_COMMS else replace(self.here, comm="gloo")
        step = agreed(here, lambda: self.task.step(self.cfg)).to(here.device, dtype).train()
        findings.without_dropout(step)
        findings.without_statistics(step)
        net = agreed(here, lambda: _wrapped(step, here, here.comm))
        for batch in batches:
            cast = map_tensors(batch, lambda each: moved(each, here.device, dtype))
            agreed(here, lambda: _take_step(net, cast, Counts(here)))  # noqa: B023 - it is called at once
        mean = shares.read(step.net, torch.zeros(()), 1.0)
        rank, names = _odd(here.gather([[name, digest([value])] for name, value in mean.gradients.items()]))
        if names:
            raise UserError(
                f"the gradients of rank {rank} and rank 0 differ after DDP has combined them ({findings.some(names)}); "
                "look for what the network does by rank, such as hooks of its parameters"
            )
        tolerance = alone.tolerance_of(dtype)
        return here.gather([] if found is None else shares.differing([found.whole], [mean], tolerance))[0]


def digest(tensors: Iterable[Tensor]) -> str:
    """Return a digest of the shapes, the types and all numbers of some tensors."""
    whole = hashlib.sha256()
    for each in tensors:
        flat = each.detach().cpu().contiguous().view(-1)
        numbers = torch.view_as_real(flat).view(-1) if flat.is_complex() else flat
        whole.update(f"{tuple(each.shape)} {each.dtype}".encode())
        whole.update(numbers.view(torch.uint8).numpy().data)
    return whole.hexdigest()[:16]


def _odd(rows: Sequence[Digests]) -> tuple[int, list[str]]:
    """Return the first rank whose digests are not those of rank 0, and the names of which that is so."""
    for rank, row in enumerate(rows):
        pairs = zip_longest(row, rows[0], fillvalue=["", ""])
        if names := [own[0] or first[0] for own, first in pairs if own != first]:
            return rank, names
    return 0, []


def _wrapped(step: Step, here: World, comm: str | None) -> nn.Module:
    try:
        return ddp.wrap(step, here, comm)
    except DdpbenchError:
        raise
    except Exception as problem:
        raise UserError(f"DDP refuses the network: {said(problem)}") from problem


def _take_step(net: nn.Module, batch: Batch, counts: Counts) -> None:
    """Compute the gradients of one batch as training does. Raises UserError for what DDP refuses."""
    for parameter in net.parameters():
        parameter.grad = None
    try:
        total, count = net(batch)
        total.backward(counts.share(total, count))
    except DdpbenchError:
        raise
    except Exception as problem:
        raise UserError(_refusal(problem, net)) from problem


def _refusal(problem: Exception, net: nn.Module) -> str:
    """Return what DDP refuses in one line, with its cure where we know one."""
    if "ready only once" not in str(problem):
        return f"DDP refuses this task, which one process trains: {said(problem)}"
    names = [name.removeprefix("module.net.") for name, value in net.named_parameters() if value.requires_grad]
    index = re.search(r"Parameter at index (\d+)", str(problem))
    name = names[int(index[1])] if index and int(index[1]) < len(names) else "a parameter"
    return (
        f"{name} gets its gradient twice in one step, as under reentrant checkpointing, and DDP refuses that; pass "
        "use_reentrant=False to torch.utils.checkpoint"
    )


def _is_unused(value: Tensor) -> bool:
    return value.requires_grad and value.grad is None
