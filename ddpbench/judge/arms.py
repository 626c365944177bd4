"""The arms of a study at its batch: speed from the timing, and what was learnt from whole runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.arm import Arm, arm_of
from ddpbench.judge.epochs import final_metric
from ddpbench.judge.stats import Estimate, deviation, mean
from ddpbench.judge.timing import Timing
from ddpbench.record import Record
from ddpbench.turns import TurnArm


@dataclass(frozen=True, slots=True)
class ArmResult:
    """The figures of one arm. None where something was not measured, or where one run has no standard deviation."""

    turn: TurnArm
    runs: list[Record]  # whole runs; empty for an arm that was timed in turns alone
    is_reference: bool
    step_s: Estimate
    speed: Estimate | None  # how many times as fast as the reference; None for the reference itself
    efficiency: Estimate | None  # of a ddp arm: speed against one worker alone / number of workers
    metric: Estimate | None  # in the unit that is shown; None for controls and without whole runs
    metric_sd: float | None

    @property
    def arm(self) -> Arm:
        """The way of training."""
        return self.turn.arm


def compare_arms(
    timing: Timing, runs: Sequence[Record], global_batch: int, *, on_gpu: bool
) -> dict[TurnArm, ArmResult]:
    """Compare every arm at one batch with the reference, the fastest single process there."""
    reference = timing.reference(global_batch)
    results: dict[TurnArm, ArmResult] = {}
    for turn in timing.at(global_batch):
        mine = [run for run in runs if arm_of(run) == turn.arm]
        learnt = [] if turn.arm.is_control else [final_metric(run) for run in mine]
        results[turn] = ArmResult(
            turn=turn,
            runs=mine,
            is_reference=turn == reference,
            step_s=timing.step_s(turn),
            speed=timing.speed(turn, reference) if reference is not None and turn != reference else None,
            efficiency=efficiency(timing, turn, on_gpu=on_gpu),
            metric=mean(learnt) if learnt else None,
            metric_sd=deviation(learnt) if learnt else None,
        )
    return results


def efficiency(timing: Timing, turn: TurnArm, *, on_gpu: bool, worker_batch: int | None = None) -> Estimate | None:
    """Return the speed of a ddp arm against one worker alone, divided by its workers; None if it was not measured.

    `worker_batch` is the global batch of the worker, by default that of the arm.
    """
    worker = timing.one_worker(turn, on_gpu=on_gpu, global_batch=worker_batch) if turn.arm.kind == "ddp" else None
    speed = None if worker is None else timing.speed(turn, worker)
    return None if speed is None else speed.scaled(1 / turn.arm.world_size)


def equal_to_the_bit(first: ArmResult, second: ArmResult) -> bool:
    """Return whether two arms learnt the same in every run: equal losses and equal answers, seed by seed."""
    one, other = (
        {run.seed: [(each.loss_curve, each.metric_sums) for each in run.epochs] for run in result.runs}
        for result in (first, second)
    )
    return bool(one) and one == other
