"""All that is concluded from one study, in one value. Every output is made from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.judge import timing
from ddpbench.judge.arms import ArmResult, compare_arms
from ddpbench.judge.breakdown import Breakdown, break_down
from ddpbench.judge.comparison import Comparison, compare
from ddpbench.judge.outcome import Criteria, Outcome
from ddpbench.judge.scaling import LargerBatch, Row, larger_batch, rows
from ddpbench.judge.study import Study
from ddpbench.judge.sweep import Sweep, analyse
from ddpbench.judge.timing import Timing
from ddpbench.turns import TurnArm


@dataclass(frozen=True, slots=True)
class Judgement:
    """The conclusions from one study. None, or an empty list, where something was not measured."""

    study: Study
    criteria: Criteria
    timing: Timing
    results: list[ArmResult]  # of every arm at the study's batch; empty for a sweep
    comparison: Comparison | None  # of the fastest parallel arm with the reference
    breakdowns: list[Breakdown]  # of every ddp arm, that of the answer first
    scaling: list[Row]
    larger_batch: LargerBatch | None
    sweep: Sweep | None

    @property
    def reference(self) -> ArmResult | None:
        """The arm that speeds are relative to: the fastest single process."""
        return next((result for result in self.results if result.is_reference), None)

    @property
    def parallel(self) -> ArmResult | None:
        """The arm that the answer is about; without a reference, the fastest parallel one."""
        if self.comparison is not None:
            return self.comparison.parallel
        fastest = self.timing.parallel(self.study.newest.settings.global_batch)
        return next((result for result in self.results if result.turn == fastest), None)

    @property
    def outcome(self) -> Outcome | None:
        """What the speed of the parallel arm says. None for a sweep, which has an outcome for every batch."""
        if self.sweep is not None:
            return None
        return self.comparison.outcome if self.comparison else "cannot_tell"

    @property
    def breakdown(self) -> Breakdown | None:
        """The breakdown of the arm that the answer is about."""
        return next((each for each in self.breakdowns if self.parallel and each.turn == self.parallel.turn), None)


def judge(study: Study, criteria: Criteria | None = None) -> Judgement:
    """Judge a study, by turns where it has launches, else by whole runs."""
    criteria = criteria or Criteria()
    timed = timing.of_launches(study.launches) if study.launches else timing.of_runs(study.records)
    swept = analyse(timed, criteria.speed) if is_sweep(study) else None
    on_gpu, batch = study.newest.settings.device == "cuda", study.newest.settings.global_batch
    results = {} if swept else compare_arms(timed, study.records, batch, on_gpu=on_gpu)
    reference, parallel = (
        None if turn is None else results.get(turn) for turn in (timed.reference(batch), timed.parallel(batch))
    )
    comparison = compare(timed, study.launches, reference, parallel, criteria) if reference and parallel else None
    ddp = [turn for turn in results if turn.arm.kind == "ddp" and not turn.arm.is_control]
    ddp.sort(key=lambda turn: parallel is None or turn != parallel.turn)
    return Judgement(
        study=study,
        criteria=criteria,
        timing=timed,
        results=list(results.values()),
        comparison=comparison,
        breakdowns=_breakdowns(study, timed, ddp, on_gpu=on_gpu),
        scaling=rows(timed, ddp, on_gpu=on_gpu),
        larger_batch=larger_batch(timed, parallel.turn) if parallel else None,
        sweep=swept,
    )


def is_sweep(study: Study) -> bool:
    """Return whether a study looks for the batch from which parallel training is faster.

    Its launches have several batches and no control. A study of one batch has controls, at other batches too.
    """
    turns = {visits.turn for launch in study.launches for visits in launch.visits}
    return len({turn.global_batch for turn in turns}) > 1 and not any(turn.is_control for turn in turns)


def _breakdowns(study: Study, timed: Timing, turns: Sequence[TurnArm], *, on_gpu: bool) -> list[Breakdown]:
    batch = study.newest.settings.global_batch
    reference = timed.reference(batch)
    if reference is None:
        return []
    found = [
        break_down(timed, turn, reference, rank_batches_of(study, turn), on_gpu=on_gpu)
        for turn in turns
        if turn.arm.world_size > 1
    ]
    return [each for each in found if each is not None]


def rank_batches_of(study: Study, turn: TurnArm) -> list[int]:
    """Return the samples of a step, by rank of an arm: as its launches or its runs have them."""
    for launch in study.launches:
        for visits in launch.visits:
            if visits.turn == turn:
                return visits.rank_batches
    for record in study.records:
        if record.world_size == turn.arm.world_size and record.ranks:
            return [rank.rank_batch for rank in record.ranks]
    return [turn.global_batch // turn.arm.world_size] * turn.arm.world_size
