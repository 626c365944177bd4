"""The arms of a launch of turns as they are on one rank: built once, and ready to take a turn at any time."""

import time
from collections.abc import Iterator
from itertools import chain, count, cycle, islice

import torch
from msgspec.structs import replace

from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.tasks import task
from ddpbench.tasks.samples import Batch
from ddpbench.tasks.task import Data
from ddpbench.train import world
from ddpbench.train.batches import Batches
from ddpbench.train.clock import synchronize
from ddpbench.train.engine import train_epoch
from ddpbench.train.onlookers import Dice, Heartbeat, Onlookers, load_hook
from ddpbench.train.reductions import ReductionTimer
from ddpbench.train.state import TrainState
from ddpbench.train.world import World
from ddpbench.turns import TurnArm, Visit

REPLAYED_STEPS = 4  # whose batches an arm that reads no data trains on, again and again
ENDLESS = 10**6  # steps of an epoch of the schedule: the learning rate hardly changes in a launch


class Stream:
    """An endless run over the data, of which each epoch of `train_epoch` takes the next `size` steps.

    The first batch is read at once. That starts the processes that read, which are forked from this one: were they
    forked later, all arms would have to copy, in a step that counts, the memory that they write to (copy on write).
    """

    def __init__(self, batches: Batches, *, replayed: bool) -> None:
        self._batches: Iterator[Batch] = (batch for epoch in count(1) for batch in batches.epoch(epoch))
        self.device, self.parts, self.size = batches.device, batches.parts, 0
        if replayed:
            self._batches = cycle(list(islice(self._batches, REPLAYED_STEPS * self.parts)))
        self._batches = chain([next(self._batches)], self._batches)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        """Yield the batches of the next `size` steps."""
        return islice(self._batches, self.size * self.parts)


class Contender:
    """One arm on this rank: its network, optimizer and data, ready to take a turn."""

    def __init__(self, turn: TurnArm, data: Data, cfg: TrainConfig, here: World) -> None:
        """Build the arm. A collective of all ranks, also of those that take no part in the arm."""
        self.turn = turn
        self.rank_batches: list[int] = []  # samples of a step, by rank of the arm; empty on a rank that takes no part
        arm = turn.arm
        hosts = here.hosts if arm.comm is None else arm.hosts  # every host runs a single process, to be compared
        mine = here.part(hosts, arm.ranks_per_host, arm.comm)  # type: ignore[arg-type]  # an arm of a study has one
        self._mine, self._device = mine, here.device
        if mine is None:
            return
        is_wrapped, is_compiled = arm.kind == "data_parallel", arm.kind == "compiled"
        cfg = replace(cfg, global_batch=turn.global_batch, data_parallel=is_wrapped, compile=is_compiled)
        if turn.replayed:
            cfg = replace(cfg, readers=0)  # its few batches are read once, by this process
        torch.set_num_threads(arm.threads_per_rank)
        step = task.of(cfg).step(cfg).to(mine.device)
        net = ddp.wrap(step, mine, arm.comm) if arm.kind == "ddp" else world.alone(step, mine.device, arm.kind)
        batches = Batches(task.of(cfg), data, cfg, mine)
        self._cfg, self._reading = cfg, batches.reading
        self._state = TrainState.of(net, cfg, ENDLESS, mine)
        self._reductions = ReductionTimer(net, self._state.optimizer, mine.device)
        hooks = load_hook(cfg, self._state, batches, mine)
        self._onlookers = Onlookers([Heartbeat(mine.process, cfg.timeout_s), Dice(cfg.seed, mine), *hooks])
        self.rank_batches = mine.gather(batches.rank_batch)  # a hook may have changed it
        self._stream = Stream(batches, replayed=turn.replayed)
        self._reading.hold()

    @property
    def takes_part(self) -> bool:
        """Whether this rank is one of the arm's."""
        return self._mine is not None

    def close(self) -> None:
        """End what reads its data."""
        if self._mine is not None:
            self._reading.close()

    def visit(self, steps: int, uncounted: int) -> Visit:
        """Take a turn of `steps` counted steps after `uncounted` ones. What reads its data works in the turn alone."""
        assert self._mine is not None, "this rank takes part"
        torch.set_num_threads(self.turn.arm.threads_per_rank)
        self._reading.release()
        if uncounted:
            self._take(uncounted)
        self._reductions.take()
        self._reductions.take_between_s()
        self._reading.waited_s()
        self._mine.barrier()
        begin = time.perf_counter()
        self._take(steps)
        block_s = time.perf_counter() - begin
        self._reading.hold()
        data_s = None if self.turn.replayed else self._reading.waited_s()
        return Visit(block_s, self._reductions.take(), data_s, self._reductions.take_between_s())

    def _take(self, steps: int) -> None:
        self._stream.size = steps
        train_epoch(self._state, self._stream, self._cfg, self._onlookers)  # type: ignore[arg-type]  # all it needs
        self._state.losses.clear()
        synchronize(self._device)
