"""Losses on purpose, to prove that the judge finds each under its own name: a hook, as a user could write one.

--hook tests/hooks/losses.py:KIND=AMOUNT,... The record names it, and compare.py refuses such a record unless it may be
judged. A single process is never slowed: it is what the others are divided by.

slow-rank=1.5         the last rank computes 1.5 times as long
slow-reduction=0.005  every reduction takes 5 ms longer
large-share=0.6       the first rank takes 60 % of every global batch
one-core=1            all ranks share one core
slow-start=2          start-up takes 2 s longer

One of them is no loss, for a single process has it too:

work=60e-6            a sample takes 60 us of CPU time, beside the little that the network itself needs

What a sample costs is then not left to the machine: where 900 samples fall out of a cache that 500 fit, a larger share
would be no loss of a known size.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.tasks.samples import map_tensors
from ddpbench.train.batches import Batches
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.state import TrainState
from ddpbench.train.world import World

Kind = Literal["slow-rank", "slow-reduction", "large-share", "one-core", "slow-start", "work"]


def read(text: str) -> dict[Kind, float]:
    """Read `KIND=AMOUNT,...`. Raises UserError for anything else."""
    losses: dict[Kind, float] = {}
    for word in text.split(","):
        name, _, amount = word.partition("=")
        try:
            losses[next(kind for kind in get_args(Kind) if kind == name)] = float(amount)
        except (StopIteration, ValueError):
            raise UserError(f"{word!r} is none of {', '.join(get_args(Kind))} with =AMOUNT") from None
    return losses


def onlookers(words: str, state: TrainState, batches: Batches, cfg: TrainConfig, here: World) -> list[Onlooker]:
    """Add the losses that `words` name to this rank. A world of one has none."""
    watching: list[Onlooker] = []
    for kind, amount in read(words).items():
        if kind == "work":
            next(state.bare_net.children()).register_forward_pre_hook(_work(amount))
        elif here.size > 1:
            watching += _lose(kind, amount, state, batches, here)
    return watching


def _lose(kind: Kind, amount: float, state: TrainState, batches: Batches, here: World) -> list[Onlooker]:
    """Add a loss. Returns the onlooker that it needs, if it needs one."""
    net = state.net
    if kind == "slow-rank" and here.rank == here.size - 1:
        _work_longer(net, amount)
    elif kind == "slow-reduction" and isinstance(net, DistributedDataParallel) and here.comm != "nothing":
        if here.comm == "shm":
            raise UserError("slow-reduction takes the place of shm's hook; use --comm gloo")
        net.register_comm_hook(net.process_group, _reduce_late(amount))
    elif kind == "large-share":
        rest = (1 - amount) / (here.size - 1)
        whole = batches.rank_batch * here.size
        _resize(batches, round(whole * (amount if here.rank == 0 else rest)))
    elif kind == "one-core":
        return [OneCore()]
    elif kind == "slow-start":
        _start_late(amount)
    return []


class OneCore(Onlooker):
    """Binds every thread of this process to one core while it trains: where arms take turns, the others are free."""

    def __init__(self) -> None:
        self._all = os.sched_getaffinity(0)

    @override
    def epoch_begins(self, state: TrainState) -> None:
        """Bind."""
        _bind({min(self._all)})

    @override
    def epoch_trained(self, state: TrainState) -> None:
        """Give the cores back."""
        _bind(self._all)


def _bind(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():  # gloo's too
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), cores)


@cache  # once in a process, however many arms it has
def _start_late(seconds: float) -> None:
    time.sleep(seconds)


def _work(sample_s: float) -> Callable[[nn.Module, tuple[Tensor]], None]:
    """Return a hook of a layer: so much CPU time for each sample. A rank that must share its core takes longer."""

    def work(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        until = time.thread_time() + sample_s * len(inputs[0])
        while layer.training and time.thread_time() < until:
            pass

    return work


def _work_longer(net: nn.Module, factor: float) -> None:
    """Repeat in every step, as idle work, what this thread worked in the forward and backward pass of the last one."""
    begin_s, worked_s = time.thread_time(), 0.0

    def last_gradient(_: Tensor) -> None:
        nonlocal worked_s
        worked_s = time.thread_time() - begin_s

    def forward(*_: object) -> None:
        nonlocal begin_s
        until = time.thread_time() + (factor - 1) * worked_s
        while time.thread_time() < until:
            pass
        begin_s = time.thread_time()

    net.register_forward_pre_hook(forward)
    for parameter in net.parameters():
        parameter.register_post_accumulate_grad_hook(last_gradient)


def _reduce_late(delay_s: float) -> Callable[[Any, Any], Any]:
    """Return a DDP communication hook: torch's own mean over ranks, begun later."""

    def hook(group, bucket):  # type: ignore[no-untyped-def]  # DDP refuses any annotation but its own
        time.sleep(delay_s)
        reduced = group.allreduce([bucket.buffer().div_(group.size())]).get_future()
        return reduced.then(lambda done: done.value()[0])

    return hook


def _resize(batches: Batches, size: int) -> None:
    """Let a rank draw `size` samples in every step, repeating its own where they do not suffice."""
    epoch, index = batches.epoch, torch.arange(size) % batches.rank_batch

    def resized(number: int, done: int = 0) -> Iterator[Any]:
        for batch in epoch(number, done):
            yield map_tensors(batch, lambda tensor: tensor[index])

    batches.epoch = resized  # type: ignore[method-assign, assignment]
    batches.rank_batch = size
