"""The arms of a launch of turns as they are on one rank: built once, and ready to take a turn at any time."""

import time
from collections.abc import Iterator
from itertools import count, islice

import torch
from msgspec.structs import replace
from torch import Tensor

from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.tasks import mnist
from ddpbench.train.batches import Batches
from ddpbench.train.clock import synchronize
from ddpbench.train.engine import train_epoch
from ddpbench.train.onlookers import Heartbeat
from ddpbench.train.reductions import ReductionTimer
from ddpbench.train.state import TrainState
from ddpbench.train.world import World
from ddpbench.turns import TurnArm

UNCOUNTED_STEPS = 2  # of a visit
ENDLESS = 10**6  # steps of an epoch of the schedule: the learning rate hardly changes in a launch


class Stream:
    """An endless run over the data, of which each epoch of `train_epoch` takes the next `size` steps."""

    def __init__(self, batches: Batches) -> None:
        self._steps = (step for epoch in count(1) for step in batches.epoch(epoch))
        self.train_labels, self.size = batches.train_labels, 0

    def epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels of the next `size` steps."""
        return islice(self._steps, self.size)


class Contender:
    """One arm on this rank: its network, optimizer and data, ready to take a turn."""

    def __init__(self, turn: TurnArm, data: mnist.DataSet, cfg: TrainConfig, here: World) -> None:
        self.turn, self._here, self._threads = turn, here, turn.arm.threads_per_rank
        self.takes_part = here.rank < turn.arm.world_size
        if not self.takes_part:
            return
        cfg = replace(cfg, global_batch=turn.global_batch)
        torch.set_num_threads(self._threads)
        net = mnist.build(cfg).to(here.device)
        self._is_alone = turn.arm.world_size == 1
        if not self._is_alone:
            net = ddp.wrap(net, here, turn.arm.comm)
        mine = World(0, 1, 1, here.device, None, here.process) if self._is_alone else here
        self._cfg, self._stream = cfg, Stream(Batches(data, cfg, mine))
        self._state = TrainState.of(net, cfg, ENDLESS)
        self._reductions = ReductionTimer(net, self._state.optimizer, here.device)
        self._heartbeat = Heartbeat(here.process, cfg.timeout_s)

    def visit(self, steps: int) -> tuple[float, list[float]]:
        """Take a turn of `steps` counted steps. Returns its seconds, and the wait for gradients of each step."""
        torch.set_num_threads(self._threads)
        self._take(UNCOUNTED_STEPS)
        self._reductions.take()
        if not self._is_alone:
            self._here.barrier()
        begin = time.perf_counter()
        self._take(steps)
        return time.perf_counter() - begin, self._reductions.take()

    def _take(self, steps: int) -> None:
        self._stream.size = steps
        train_epoch(self._state, self._stream, self._cfg, self._heartbeat)  # type: ignore[arg-type]  # all it needs
        self._state.losses.clear()
        synchronize(self._here.device)
