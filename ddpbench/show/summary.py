"""The answer for other programs: summary.json, in the names of `schema`."""

from typing import Literal

import msgspec

from ddpbench import __version__
from ddpbench.judge import cautions, hosts
from ddpbench.judge.breakdown import Breakdown
from ddpbench.judge.comparison import Comparison, equal_gradient
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.sweep import Sweep
from ddpbench.show.answer import Answer
from ddpbench.show.schema import (
    SCHEMA,
    AgreementSummary,
    ArmSummary,
    BreakdownSummary,
    CostSummary,
    DisturbanceSummary,
    HostSummary,
    MetricSummary,
    Speed,
    Stalled,
    Summary,
    SweepPoint,
    SweepSummary,
    WholeRunSummary,
)
from ddpbench.turns import TurnArm


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
        equal_gradient=equal_gradient(study.launches),
        metric=_metric(judgement),
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
        other_hosts=[HostSummary(each.number, each.machine, each.times_as_long) for each in hosts.others(study)],
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


def _metric(judgement: Judgement) -> MetricSummary | None:
    metric, comparison = judgement.study.metric, judgement.comparison
    if metric is None:
        return None
    learnt = comparison.learnt if comparison else None
    return MetricSummary(
        name=metric.name,
        unit=metric.unit,
        lower_is_better=metric.lower_is_better,
        margin=judgement.criteria.margin_of(metric),
        difference=learnt.difference if learnt else None,
        tested=learnt.tested if learnt else None,
        outcome=learnt.outcome if learnt else None,
        p=learnt.p if learnt else None,
    )


def _arms(judgement: Judgement) -> list[ArmSummary]:
    """Return every arm at every batch, controls last."""
    timing = judgement.timing
    results = {result.turn: result for result in judgement.results}
    of_hosts = {row.turn: row.host_efficiency for row in judgement.scaling}
    arms = []
    for turn in timing.turns:
        result = results.get(turn)
        arms.append(
            ArmSummary(
                label=turn.label,
                kind=turn.arm.kind,
                ranks=turn.arm.world_size,
                threads=turn.arm.threads_per_rank,
                comm=turn.arm.comm,
                batch=turn.global_batch,
                role=_role(judgement, turn),
                step_s=timing.step_s(turn),
                speed=result.speed if result else None,
                efficiency=result.efficiency if result else None,
                hosts=turn.arm.hosts,
                host_efficiency=of_hosts.get(turn),
                metric=result.metric if result else None,
            )
        )
    return arms


def _role(judgement: Judgement, turn: TurnArm) -> Literal["reference", "parallel", "control", "other"]:
    if judgement.reference is not None and judgement.reference.turn == turn:
        return "reference"
    if judgement.parallel is not None and judgement.parallel.turn == turn:
        return "parallel"
    return "control" if turn.is_control else "other"


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
