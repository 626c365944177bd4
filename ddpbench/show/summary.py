"""The judgement for other programs: summary.json, and the batches that a running sweep should measure next.

No name in summary.json changes its meaning within a SCHEMA; results/README.md documents them. null: not measured.
"""

import msgspec

from ddpbench.errors import UserError
from ddpbench.judge.breakdown import Term
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Outcome
from ddpbench.judge.stats import Estimate
from ddpbench.judge.sweep import Sweep, next_batches
from ddpbench.show.verdict import Verdict

SCHEMA = 1


class SweepPoint(msgspec.Struct, frozen=True):
    """The swept arm at one global batch."""

    global_batch: int
    speedup: Estimate
    verdict: Outcome


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What summary.json holds."""

    schema: int
    study: str
    verdict: Outcome | None
    why: str
    next: str
    reference: str | None
    parallel: str | None
    speedup: Estimate | None
    efficiency: Estimate | None
    accuracy_difference: Estimate | None
    accuracy_verdict: str | None
    accuracy_margin: float | None
    breakdown: list[Term] | None
    exposed_communication_in_run_s: Estimate | None
    break_even_epochs: float | None
    crossover_batch: float | None
    crossover_batch_predicted: float | None
    sweep: list[SweepPoint] | None
    cautions: list[str]
    left_out: list[str]


def summarize(judgement: Judgement, verdict: Verdict) -> Summary:
    """Return the summary of a judgement."""
    reference, parallel, sweep = judgement.reference, judgement.parallel, judgement.sweep
    comparison, breakdown = judgement.comparison, judgement.main_breakdown
    accuracy = comparison.accuracy if comparison else None
    return Summary(
        schema=SCHEMA,
        study=judgement.study.name,
        verdict=judgement.outcome,
        why=verdict.why,
        next=verdict.next,
        reference=reference.arm.label if reference else None,
        parallel=parallel.arm.label if parallel else None,
        speedup=parallel.speedup if parallel else None,
        efficiency=parallel.efficiency if parallel else None,
        accuracy_difference=accuracy.difference if accuracy else None,
        accuracy_verdict=accuracy.outcome if accuracy else None,
        accuracy_margin=accuracy.margin if accuracy else None,
        breakdown=breakdown.terms if breakdown else None,
        exposed_communication_in_run_s=breakdown.in_run if breakdown else None,
        break_even_epochs=comparison.startup.break_even_epochs if comparison else None,
        crossover_batch=sweep.measured_batch if sweep else None,
        crossover_batch_predicted=sweep.predicted_batch if sweep else None,
        sweep=[SweepPoint(p.global_batch, p.speedup, p.outcome) for p in sweep.points] if sweep else None,
        cautions=judgement.cautions,
        left_out=judgement.study.left_out,
    )


def encode(judgement: Judgement, verdict: Verdict) -> bytes:
    """Return the content of summary.json."""
    return msgspec.json.format(msgspec.json.encode(summarize(judgement, verdict)), indent=1) + b"\n"


def write_next_batches(sweep: Sweep | None, descriptor: int) -> None:
    """Write the global batches to measure next, as a JSON list, to a file descriptor that the calling program opened.

    Standard output would not do, because any library may print there. Raises UserError if the descriptor cannot be
    written to.
    """
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(msgspec.json.encode(next_batches(sweep)))
    except (OSError, ValueError, TypeError) as problem:
        raise UserError(f"cannot answer to file descriptor {descriptor}: {problem}; hand over an open one") from problem
