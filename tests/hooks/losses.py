"""Losses on purpose, to prove that the judge finds each under its own name: a hook, as a user could write one.

--hook tests/hooks/losses.py:KIND=AMOUNT. The record names it, and compare.py refuses such a record unless it may be
judged. A single process is never slowed: it is what the others are divided by.

slow-rank=1.5         the last rank computes 1.5 times as long
slow-reduction=0.005  every reduction takes 5 ms longer
large-share=0.6       the first rank takes 60 % of every global batch
one-core=1            all ranks share one core
slow-start=2          start-up takes 2 s longer
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.train.batches import Batches
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.state import TrainState
from ddpbench.train.world import World

Kind = Literal["slow-rank", "slow-reduction", "large-share", "one-core", "slow-start"]


def read(text: str) -> tuple[Kind, float]:
    """Read `KIND=AMOUNT`. Raises UserError for anything else."""
    name, _, amount = text.partition("=")
    for kind in get_args(Kind):
        if kind == name:
            try:
                return kind, float(amount)
            except ValueError:
                break
    raise UserError(f"{text!r} is none of {', '.join(get_args(Kind))} with =AMOUNT")


def onlookers(words: str, state: TrainState, batches: Batches, cfg: TrainConfig, here: World) -> list[Onlooker]:
    """Add the loss that `words` name to this rank. A world of one has none."""
    kind, amount = read(words)
    net = state.net
    if here.size == 1:
        return []
    if kind == "slow-rank" and here.rank == here.size - 1:
        _work_longer(net, amount)
    elif kind == "slow-reduction" and isinstance(net, DistributedDataParallel):
        if here.comm == "shm":
            raise UserError("slow-reduction takes the place of shm's hook; use --comm gloo")
        net.register_comm_hook(net.process_group, _reduce_late(amount))
    elif kind == "large-share":
        rest = (1 - amount) / (here.size - 1)
        whole = batches.rank_batch * here.size
        _resize(batches, round(whole * (amount if here.rank == 0 else rest)))
    elif kind == "one-core":
        one = {min(os.sched_getaffinity(0))}
        for thread in Path("/proc/self/task").iterdir():  # gloo's too
            os.sched_setaffinity(int(thread.name), one)
    elif kind == "slow-start":
        time.sleep(amount)
    return []


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

    def resized(number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in epoch(number, done):
            yield images[index], labels[index]

    batches.epoch = resized  # type: ignore[method-assign, assignment]
    batches.rank_batch = size
