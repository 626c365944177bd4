"""The answer for other programs: summary.json.

No name in it changes its meaning within a SCHEMA; results/README.md documents them. null: not measured.
"""

from typing import Literal

import msgspec

from ddpbench import __version__
from ddpbench.judge import cautions
from ddpbench.judge.breakdown import Breakdown, Term
from ddpbench.judge.comparison import Comparison, Turning
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria, Outcome
from ddpbench.judge.scaling import LargerBatch
from ddpbench.judge.stats import Equivalence, Estimate
from ddpbench.judge.sweep import Sweep
from ddpbench.record import Environment
from ddpbench.settings import Settings
from ddpbench.show.answer import Answer
from ddpbench.turns import TurnArm

SCHEMA = 2


class ArmSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A way of training, and what was measured of it."""

    label: str
    kind: str
    ranks: int
    threads: int
    comm: str | None
    batch: int
    role: Literal["reference", "parallel", "control", "other"]
    step_s: Estimate
    speed: Estimate | None
    efficiency: Estimate | None
    accuracy: Estimate | None


class Speed(msgspec.Struct, frozen=True):
    """How many times as fast the parallel arm is."""

    value: float
    low: float | None
    high: float | None
    n: int
    unit: str


class WholeRunSummary(msgspec.Struct, frozen=True):
    """A run with start-up and evaluation."""

    epochs: int
    reference_s: Estimate
    parallel_s: Estimate
    times_as_long: Estimate
    later_start_s: float
    ahead_from_epochs: Turning


class BreakdownSummary(msgspec.Struct, frozen=True):
    """Where a step of an arm goes."""

    arm: str
    batch: int
    observed_s: Estimate
    slowest_rank: int | None
    terms: list[Term]


class CostSummary(msgspec.Struct, frozen=True):
    """What an epoch costs, in the unit of the price."""

    price_per_hour: float
    reference: float
    parallel: float
    times_as_dear: Estimate
    outcome: Literal["pays", "does_not_pay", "cannot_tell"]


class AgreementSummary(msgspec.Struct, frozen=True):
    """The speed in turns against that of whole runs."""

    in_turns: Estimate
    in_runs: Estimate
    apart: Estimate | None
    agrees: bool


class SweepPoint(msgspec.Struct, frozen=True):
    """The swept arm at one batch."""

    batch: int
    speed: Estimate
    outcome: Outcome
    is_check: bool


class SweepSummary(msgspec.Struct, frozen=True):
    """A sweep over batches."""

    arm: str
    crossover_batch: float | None
    crossover_batch_predicted: float | None
    points: list[SweepPoint]


class Stalled(msgspec.Struct, frozen=True):
    """How much of an arm's rounds was disturbed."""

    arm: str
    share: float


class DisturbanceSummary(msgspec.Struct, frozen=True):
    """What disturbed the two arms."""

    stolen_share: float
    stalled: list[Stalled]
    minutes_needed: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What summary.json holds."""

    schema: int
    ddpbench: str
    study: str
    outcome: Outcome | None
    title: str
    subject: str
    rows: dict[str, str]
    speed: Speed | None
    accuracy: Equivalence | None
    whole_run: WholeRunSummary | None
    cost: CostSummary | None
    arms: list[ArmSummary]
    breakdowns: list[BreakdownSummary]
    larger_batch: LargerBatch | None
    sweep: SweepSummary | None
    disturbance: DisturbanceSummary | None
    agreement: AgreementSummary | None
    criteria: Criteria
    settings: Settings
    parameters: int
    machine: Environment
    launches: int
    runs: int
    cautions: list[str]
    left_out: list[str]


def summarize(judgement: Judgement, answer: Answer) -> Summary:
    """Return the summary of a judgement."""
    study, comparison = judgement.study, judgement.comparison
    return Summary(
        schema=SCHEMA,
        ddpbench=__version__,
        study=study.name,
        outcome=judgement.outcome,
        title=answer.title,
        subject=answer.subject,
        rows=dict(answer.rows),
        speed=_speed(judgement),
        accuracy=comparison.accuracy if comparison else None,
        whole_run=_whole_run(comparison) if comparison else None,
        cost=_cost(comparison) if comparison else None,
        arms=_arms(judgement),
        breakdowns=list(map(_breakdown, judgement.breakdowns)),
        larger_batch=judgement.larger_batch,
        sweep=_sweep(judgement.sweep) if judgement.sweep else None,
        disturbance=_disturbance(comparison) if comparison else None,
        agreement=_agreement(comparison) if comparison else None,
        criteria=judgement.criteria,
        settings=study.newest.settings,
        parameters=study.newest.parameters,
        machine=study.newest.environment,
        launches=len(study.launches),
        runs=len(study.records),
        cautions=cautions.find(judgement),
        left_out=study.left_out,
    )


def encode(judgement: Judgement, answer: Answer) -> bytes:
    """Return the content of summary.json. Infinity, which JSON does not have, becomes null."""
    return msgspec.json.format(msgspec.json.encode(summarize(judgement, answer)), indent=1) + b"\n"


def _speed(judgement: Judgement) -> Speed | None:
    found = judgement.comparison.speed if judgement.comparison else None
    return None if found is None else Speed(found.value, found.low, found.high, found.n, judgement.timing.noun)


def _arms(judgement: Judgement) -> list[ArmSummary]:
    """Return every arm at every batch, controls last."""
    timing = judgement.timing
    results = {result.turn: result for result in judgement.results}
    arms = []
    for turn in timing.turns:
        result = results.get(turn)
        arms.append(
            ArmSummary(
                label=turn.arm.label,
                kind=turn.arm.kind,
                ranks=turn.arm.world_size,
                threads=turn.arm.threads_per_rank,
                comm=turn.arm.comm,
                batch=turn.global_batch,
                role=_role(judgement, turn),
                step_s=timing.step_s(turn),
                speed=result.speed if result else None,
                efficiency=result.efficiency if result else None,
                accuracy=result.accuracy if result else None,
            )
        )
    return arms


def _role(judgement: Judgement, turn: TurnArm) -> Literal["reference", "parallel", "control", "other"]:
    if judgement.reference is not None and judgement.reference.turn == turn:
        return "reference"
    if judgement.parallel is not None and judgement.parallel.turn == turn:
        return "parallel"
    return "control" if turn.arm.is_control else "other"


def _whole_run(comparison: Comparison) -> WholeRunSummary | None:
    run = comparison.whole_run
    if run is None:
        return None
    return WholeRunSummary(
        run.epochs, run.reference_s, run.parallel_s, run.times_as_long, run.later_start_s, run.turning
    )


def _cost(comparison: Comparison) -> CostSummary | None:
    cost = comparison.cost
    if cost is None:
        return None
    return CostSummary(cost.price_per_hour, cost.reference, cost.parallel, cost.times_as_dear, cost.verdict)


def _agreement(comparison: Comparison) -> AgreementSummary | None:
    found = comparison.agreement
    return None if found is None else AgreementSummary(found.in_turns, found.in_runs, found.apart, found.agrees)


def _breakdown(breakdown: Breakdown) -> BreakdownSummary:
    turn = breakdown.turn
    return BreakdownSummary(
        turn.arm.label, turn.global_batch, breakdown.observed, breakdown.slowest_rank, breakdown.terms
    )


def _sweep(sweep: Sweep) -> SweepSummary:
    points = [SweepPoint(each.global_batch, each.speed, each.outcome, each.is_check) for each in sweep.points]
    return SweepSummary(sweep.arm.label, sweep.measured_batch, sweep.predicted_batch, points)


def _disturbance(comparison: Comparison) -> DisturbanceSummary | None:
    found = comparison.disturbance
    if found is None:
        return None
    stalled = [Stalled(turn.arm.label, share) for turn, share in found.stalled_shares.items()]
    return DisturbanceSummary(found.stolen_share, stalled, found.minutes_needed)
