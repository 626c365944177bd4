"""What a study says, as text for a terminal. Figures with unit, n and spread."""

from collections.abc import Sequence

from ddpbench.errors import one_line
from ddpbench.judge.arms import ArmResult, counts_warm_up
from ddpbench.judge.breakdown import IDEAL, Breakdown
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import NAMES, SAID, length, outcome_of, share_text
from ddpbench.judge.scaling import Row
from ddpbench.judge.stats import Estimate
from ddpbench.judge.sweep import Sweep
from ddpbench.record import Record
from ddpbench.show.layout import Page, Table
from ddpbench.show.verdict import Verdict

NOT_MEASURED = "not measured"
SWEEP_LEGEND = "n: runs; times are of a training step."
PAGE = Page()


def format_all(judged: Sequence[Judgement], verdicts: Sequence[Verdict], page: Page = PAGE) -> str:
    """Return everything compare.py prints: each study, and several side by side."""
    parts = [format_report(*each, page) for each in zip(judged, verdicts, strict=True)]
    if len(parts) > 1:
        parts.append(page.table(studies_table(list(zip(judged, verdicts, strict=True)))))
    return "\n\n\n".join(parts)


def format_report(judged: Judgement, verdict: Verdict, page: Page = PAGE) -> str:
    """Return everything compare.py prints of one study: verdict, why and next first."""
    parts = [
        _lines(format_conditions(judged.study.all_runs[-1] if judged.sweep else judged.study.records[-1]), page),
        format_verdict(verdict, page),
    ]
    if judged.sweep is not None:
        parts += [page.table(sweep_table(judged.sweep)), _lines(SWEEP_LEGEND, page)]
    else:
        parts += [page.table(arms_table(judged.results)), _lines(format_legend(judged.results), page)]
    parts += [format_breakdown(each, page) for each in judged.breakdowns]
    if len(judged.scaling) > 1:
        parts.append(page.table(scaling_table(judged.scaling)))
    notes = [page.paragraph(one_line(caution), "caution: ") for caution in judged.cautions]
    notes += [page.paragraph(one_line(reason), "left out: ") for reason in judged.study.left_out]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def _lines(text: str, page: Page) -> str:
    """Return lines that are broken further where the page is narrow."""
    return "\n".join(page.paragraph(line, hang=2) for line in text.split("\n") if line)


def format_verdict(verdict: Verdict, page: Page = PAGE) -> str:
    """Return the three paragraphs, each under its word."""
    paragraphs = (("Verdict", verdict.verdict), ("Why", verdict.why), ("Next", verdict.next))
    return "\n".join(page.paragraph(one_line(text), word.ljust(9)) for word, text in paragraphs)


def format_breakdown(found: Breakdown, page: Page = PAGE) -> str:
    """Return the terms of one arm as a table, and how the last one was checked."""
    title = f"Where the time of {found.arm.label} goes, training seconds per epoch (n = {found.observed.n} seeds)"
    return "\n".join(
        [_lines(title, page), page.table(breakdown_table(found)), _lines(format_check(found), page)]
    ).rstrip()


def format_check(found: Breakdown) -> str:
    """Say what the timers inside the run say about exposed communication; empty where there were none."""
    if found.in_run is None:
        return ""
    said = f"exposed communication by timers inside the run: {seconds(found.in_run)}"
    by_difference = found["exposed_communication"]
    if by_difference is not None and by_difference.value > 0:
        said += f", {found.in_run.value / by_difference.value - 1:+.0%} of the difference"
    if found.in_run_by_torch is not None:
        said += f"; by DDP's own log: {found.in_run_by_torch.value:.2f} s"
    return said


def format_conditions(record: Record) -> str:
    """Return what was trained, and on which machine, in two lines."""
    machine, settings = record.environment, record.settings
    gpus = f"{len(machine.gpu_models)} x {machine.gpu_models[0]}" if machine.gpu_models else "no GPU"
    hardware = f"{machine.cpu_model}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {gpus}"
    training = ", ".join(
        [
            f"{settings.dataset}, {settings.model} ({record.parameters:,} parameters)",
            f"global batch {settings.global_batch}",
            length(settings),
            f"{settings.optimizer} {settings.schedule} lr {settings.lr}",
            f"{settings.precision}{', channels last' if settings.channels_last else ''}",
        ]
    )
    return one_line(f"{hardware}, torch {machine.torch}, {settings.device}") + "\n" + one_line(training)


def format_legend(results: Sequence[ArmResult]) -> str:
    """Return how to read the table."""
    cold = {counts_warm_up(run) for result in results for run in result.runs}
    warm_up = "the first epoch of a run is warm-up" + (", unless no other counts" if True in cold else "")
    if cold == {True}:
        warm_up = "the only epoch counts, warm-up and all"
    return (
        "n: runs; ±: one standard deviation of runs.\n"
        f"epoch s: training time of the slowest rank; {warm_up}.\n"
        "speedup: reference time / arm time at the same global batch, paired by seed.\n"
        "efficiency: speedup over one worker alone / workers.\n"
        "95 % CI: Student's t over runs paired by seed, of ratios on their logarithms; no run is dropped."
    )


def arms_table(results: Sequence[ArmResult]) -> Table:
    """Return a row an arm: time, speed, speedup, efficiency, accuracy, runs."""
    names = ("", "epoch s", "samples/s", "speedup (95 % CI)", "efficiency (95 % CI)", "test accuracy", "n")
    return [names, *map(_arm_cells, results)]


def breakdown_table(found: Breakdown) -> Table:
    """Return a row a term, from ideal to observed."""
    table: Table = [("", "seconds (95 % CI)", "share", "measured by")]
    for term in found.terms:
        name = f"  of which {NAMES[term.term]}" if term.part_of else NAMES[term.term]
        if term.term == IDEAL:
            name = f"ideal: {found.arm.world_size} perfect workers"
        share = "-" if term.share is None else share_text(term.share)
        table.append((name, NOT_MEASURED if term.seconds is None else seconds(term.seconds), share, term.measured_by))
    complete = "the sum" if not found.unexplained else "more than the sum: a term is missing"
    table.append(("observed", seconds(found.observed), "100%", complete))
    return table


def scaling_table(rows: Sequence[Row]) -> Table:
    """Return strong and weak scaling beside one worker."""
    names = (
        "scaling",
        "arm",
        "global batch",
        "rank batch",
        "steps/epoch",
        "lr",
        "threads/rank",
        "step ms",
        "samples/s",
    )
    table: Table = [(*names, "efficiency (95 % CI)")]
    for row in rows:
        per_rank = str(row.arm.threads_per_rank)
        counts = (str(row.global_batch), str(row.rank_batch), str(row.steps_per_epoch), f"{row.lr:g}", per_rank)
        speed = (f"{1e3 * row.step_s.value:.2f}", f"{row.samples_per_s.value:,.0f}")
        efficiency = "-" if row.scaling == "one worker" else _percent(row.efficiency)
        table.append((row.scaling, row.arm.label, *counts, *speed, efficiency))
    return table


def sweep_table(sweep: Sweep) -> Table:
    """Return a row a global batch: steps of the best single process and of the swept arm, speedup, verdict."""
    table: Table = [
        ("global batch", "best single process", "step ms", f"{sweep.arm.label} step ms", "speedup", "outcome", "n")
    ]
    for point in sweep.points:
        single = next(result for result in point.results if result.is_reference)
        steps = [
            1e3 * result.runs[0].settings.global_batch / result.samples_per_s.value
            for result in (single, point.parallel)
        ]
        check = " (check)" if point is sweep.checked else ""
        table.append(
            (
                f"{point.global_batch}{check}",
                single.arm.label,
                *(f"{step:.2f}" for step in steps),
                speedup_text(point.speedup),
                outcome_of(point.speedup).replace("_", " "),
                str(len(point.parallel.runs)),
            )
        )
    return table


def studies_table(judged: Sequence[tuple[Judgement, Verdict]]) -> Table:
    """Return a row a study, each on its own machine: their figures stand side by side and are never divided."""
    table: Table = [("study", "machine", "model, batch", "arm", "speedup", "efficiency", "accuracy", "verdict")]
    for each, verdict in judged:
        record = each.study.all_runs[-1]
        machine, settings = record.environment, record.settings
        hardware = machine.gpu_models[0] if machine.gpu_models else f"{machine.cpu_model}, {machine.cores} cores"
        parallel = each.parallel
        gain = None if each.accuracy is None else each.accuracy.difference
        table.append(
            (
                one_line(each.study.name),
                hardware,
                f"{settings.model}, {'swept' if each.sweep else settings.global_batch}",
                parallel.arm.label if parallel else "-",
                speedup_text(parallel.speedup if parallel else None),
                _percent(parallel.efficiency) if parallel else NOT_MEASURED,
                NOT_MEASURED if gain is None else f"{100 * gain.value:+.2f} points",
                "see its own report" if verdict.outcome is None else SAID[verdict.outcome],
            )
        )
    return table


def seconds(estimate: Estimate) -> str:
    """Return seconds with their interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} - {estimate.high:.2f})"


def _arm_cells(result: ArmResult) -> tuple[str, ...]:
    accuracy_sd = None if result.accuracy_sd is None else 100 * result.accuracy_sd
    return (
        result.arm.label,
        _with_spread(f"{result.epoch_s.value:.2f}", result.epoch_sd_s, ".2f"),
        _with_spread(f"{result.samples_per_s.value:,.0f}", result.samples_per_s_sd, ",.0f"),
        "1, reference" if result.is_reference else speedup_text(result.speedup),
        _percent(result.efficiency) if result.arm.kind == "ddp" else "-",
        "-" if result.arm.is_control else _with_spread(f"{100 * result.accuracy.value:.2f}", accuracy_sd, ".2f") + " %",
        str(len(result.runs)),
    )


def _with_spread(value: str, spread: float | None, form: str) -> str:
    """Return `value ± spread`; a single run has no spread."""
    return value if spread is None else f"{value} ± {spread:{form}}"


def speedup_text(estimate: Estimate | None) -> str:
    """Return a speedup with its interval."""
    if estimate is None:
        return NOT_MEASURED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} - {estimate.high:.2f})"


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOT_MEASURED
    value, low, high = estimate.value, estimate.low, estimate.high
    return f"{value:.0%}" if low is None or high is None else f"{value:.0%} ({low:.0%} - {high:.0%})"
