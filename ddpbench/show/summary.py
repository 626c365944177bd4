"""The judgement for other programs: summary.json, versioned; summary.md for pull requests; gates for CI.

Names never change their meaning within a SCHEMA; results/README.md documents them. null: not measured.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ddpbench.errors import DdpbenchError, GateFailedError, one_line
from ddpbench.files import write_whole
from ddpbench.judge.files import SUMMARY
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Outcome, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.show import report
from ddpbench.show.verdict import Verdict

SCHEMA = 1


class Term(msgspec.Struct, frozen=True):
    """A part of the parallel arm's epoch."""

    term: str
    seconds: Estimate | None
    share: float | None
    measured_by: str
    part_of: str | None


class SweepPoint(msgspec.Struct, frozen=True):
    """The swept arm at one global batch."""

    global_batch: int
    speedup: Estimate | None
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


def summarize(judged: Judgement, verdict: Verdict) -> Summary:
    """Return the summary of a judgement."""
    parallel, accuracy, sweep, found = judged.parallel, judged.accuracy, judged.sweep, judged.main_breakdown
    return Summary(
        schema=SCHEMA,
        study=judged.study.name,
        verdict=verdict.outcome,
        why=verdict.why,
        next=verdict.next,
        reference=judged.reference.arm.label if judged.reference else None,
        parallel=parallel.arm.label if parallel else None,
        speedup=parallel.speedup if parallel else None,
        efficiency=parallel.efficiency if parallel else None,
        accuracy_difference=accuracy.difference if accuracy else None,
        accuracy_verdict=accuracy.outcome if accuracy else None,
        accuracy_margin=accuracy.margin if accuracy else None,
        breakdown=[Term(t.term, t.seconds, t.share, t.measured_by, t.part_of) for t in found.terms] if found else None,
        exposed_communication_in_run_s=found.in_run if found else None,
        break_even_epochs=judged.startup.break_even_epochs if judged.startup else None,
        crossover_batch=sweep.measured_batch if sweep else None,
        crossover_batch_predicted=sweep.predicted_batch if sweep else None,
        sweep=[SweepPoint(p.global_batch, p.speedup, outcome_of(p.speedup)) for p in sweep.points] if sweep else None,
        cautions=judged.cautions,
        left_out=judged.study.left_out,
    )


def write(judged: Judgement, verdict: Verdict) -> list[Path]:
    """Write summary.json and summary.md into the study's folder. Returns the files."""
    folder = judged.study.folder
    content = msgspec.json.format(msgspec.json.encode(summarize(judged, verdict)), indent=1)
    write_whole(folder / SUMMARY, content + b"\n")
    write_whole(folder / "summary.md", markdown(judged, verdict).encode())
    return [folder / SUMMARY, folder / "summary.md"]


def markdown(judged: Judgement, verdict: Verdict) -> str:
    """Return the judgement as Markdown, for a pull request or a CI job's summary."""
    record = judged.study.all_runs[-1]
    parts = [
        f"**Verdict** {verdict.verdict}",
        f"**Why** {verdict.why}",
        f"**Next** {verdict.next}",
        _table(report.sweep_table(judged.sweep) if judged.sweep else report.arms_table(judged.results)),
    ]
    parts += [_table(report.breakdown_table(each)) for each in judged.breakdowns]
    if len(judged.scaling) > 1:
        parts.append(_table(report.scaling_table(judged.scaling)))
    parts += [f"- caution: {caution}" for caution in judged.cautions]
    parts += [f"- left out: {reason}" for reason in judged.study.left_out]
    parts.append(f"_{report.format_conditions(record).replace(chr(10), '; ')}_")
    return "\n\n".join(one_line(part) if "\n" not in part else part for part in parts) + "\n"


class Gates(Protocol):
    """What may be required of a study: the flags of compare.py. None requires nothing."""

    fail_below_speedup: float | None
    fail_below_efficiency: float | None
    fail_if_accuracy_lost: float | None  # points


@contextmanager
def required(judged: Sequence[Judgement], asked: Gates) -> Iterator[None]:
    """Judge the gates first, and raise GateFailedError, exit code 1, at the end for the first that fails.

    What fails meanwhile does not hide it: bad input and full disks are said beside it, and a fault of ours after it.
    """
    failed = next((why for each in judged if (why := gate(each, asked))), None)
    try:
        yield
    except DdpbenchError as problem:
        if failed:
            raise GateFailedError(f"{failed}; also: {problem}") from problem
        raise
    except Exception:
        if failed:
            print(f"compare.py: {failed}", file=sys.stderr)
        raise
    if failed:
        raise GateFailedError(failed)


def gate(judged: Judgement, asked: Gates) -> str | None:
    """Return why a study fails a gate, in one line; None when it passes all.

    Gates look at values and not at intervals, so that one seed can be gated; not measured fails.
    """
    parallel = judged.parallel
    gain = judged.accuracy.difference.scaled(100) if judged.accuracy else None
    allowed = asked.fail_if_accuracy_lost
    table: Sequence[tuple[str, Estimate | None, float | None]] = (
        ("speedup", parallel.speedup if parallel else None, asked.fail_below_speedup),
        ("efficiency", parallel.efficiency if parallel else None, asked.fail_below_efficiency),
        ("accuracy difference in points", gain, None if allowed is None else -allowed),
    )
    for name, estimate, least in table:
        if least is not None and (estimate is None or estimate.value < least):
            found = "not measured" if estimate is None else f"{estimate.value:.4g}"
            return f"gate failed: {name} is {found}, required at least {least:g}"
    return None


def _table(table: list[tuple[str, ...]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(one_line(str(cell)).replace("|", "\\|") for cell in cells) + " |"

    first, *rows = table
    return "\n".join([line(first), line(["-"] * len(first)), *map(line, rows)])
