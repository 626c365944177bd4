"""Strong and weak scaling side by side. Both are labelled, because they can lead to opposite answers.

Strong: more workers share one global batch. Weak: every worker keeps its batch, so the global batch grows. An arm over
several hosts is compared with one worker, as every other, and with one of its hosts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ddpbench.judge.arms import efficiency
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing
from ddpbench.turns import TurnArm


@dataclass(frozen=True, slots=True)
class Row:
    """An arm at one global batch."""

    scaling: Literal["one worker", "strong", "weak"]
    turn: TurnArm
    step_s: Estimate
    efficiency: Estimate | None  # speed / (workers * speed of one worker); None if one worker was not measured
    # Of an arm over several hosts: how many times as fast as one of them with as many ranks. None: not measured.
    over_one_host: Estimate | None = None

    @property
    def host_efficiency(self) -> Estimate | None:
        """The same / hosts: 1 where every host adds as much as the first."""
        return None if self.over_one_host is None else self.over_one_host.scaled(1 / self.turn.arm.hosts)


@dataclass(frozen=True, slots=True)
class LargerBatch:
    """The speed of the parallel arm at its weak-scaling batch, against the fastest single process there."""

    global_batch: int
    speed: Estimate


def rows(timing: Timing, turns: Sequence[TurnArm], *, on_gpu: bool) -> list[Row]:
    """Return the rows of ddp arms: one worker and weak scaling where they were measured, and strong scaling."""
    table: dict[TurnArm, Row] = {}
    for turn in turns:
        worker = timing.one_worker(turn, on_gpu=on_gpu)
        if worker is not None:
            table[worker] = Row("one worker", worker, timing.step_s(worker), None)
        table[turn] = Row(
            "strong",
            turn,
            timing.step_s(turn),
            efficiency(timing, turn, on_gpu=on_gpu),
            over_one_host(timing, turn, turn.global_batch, on_gpu=on_gpu),
        )
        weak = weak_of(turn)
        if weak in timing.turns:
            alone = efficiency(timing, weak, on_gpu=on_gpu, worker_batch=turn.global_batch)
            hosts = over_one_host(timing, weak, weak.global_batch // weak.arm.hosts, on_gpu=on_gpu)
            table[weak] = Row("weak", weak, timing.step_s(weak), alone, hosts)
    return list(table.values())


def over_one_host(timing: Timing, turn: TurnArm, host_batch: int, *, on_gpu: bool) -> Estimate | None:
    """Return how many times as fast an arm over several hosts is as one of them, which has a batch of its own.

    None for an arm of one host, and where that host alone was not measured.
    """
    alone = timing.one_host(turn, on_gpu=on_gpu, global_batch=host_batch) if turn.arm.hosts > 1 else None
    return None if alone is None else timing.speed(turn, alone)


def larger_batch(timing: Timing, parallel: TurnArm) -> LargerBatch | None:
    """Return the speed of an arm at its weak-scaling batch; None if it or a single process was not timed there."""
    weak = weak_of(parallel)
    reference = timing.reference(weak.global_batch)
    if weak not in timing.turns or reference is None:
        return None
    speed = timing.speed(weak, reference)
    return LargerBatch(weak.global_batch, speed) if speed else None


def weak_of(turn: TurnArm) -> TurnArm:
    """Return the arm whose ranks each keep the batch that one worker has."""
    return TurnArm(arm=turn.arm, global_batch=turn.global_batch * turn.arm.world_size)
