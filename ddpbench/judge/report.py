"""The table and the sentence, as text for a terminal. Figures with unit, n and spread."""

from collections.abc import Sequence

from ddpbench.errors import one_line
from ddpbench.judge.arms import ArmResult, main_parallel, reference_of
from ddpbench.judge.stats import Estimate
from ddpbench.judge.study import Study
from ddpbench.record import Record, plural

NOT_MEASURED = "not measured"
HEADINGS = ("", "epoch s", "samples/s", "speedup (95 % CI)", "efficiency (95 % CI)", "test accuracy", "n")


def format_report(study: Study, results: Sequence[ArmResult]) -> str:
    """Return everything compare.py prints: conditions, table, what the columns mean, the sentence, and notes."""
    parts = [
        format_conditions(study.records[0]),
        format_table(results),
        format_legend(results),
        format_sentence(results),
    ]
    notes = format_notes(study, results)
    return "\n\n".join([*parts, notes] if notes else parts)


def format_conditions(record: Record) -> str:
    """Return what was trained, and on which machine, in two lines."""
    machine, settings = record.environment, record.settings
    gpus = f"{len(machine.gpu_models)} x {machine.gpu_models[0]}" if machine.gpu_models else "no GPU"
    hardware = f"{machine.cpu_model}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {gpus}"
    training = ", ".join(
        [
            f"{settings.dataset}, {settings.model} ({record.parameters:,} parameters)",
            f"global batch {settings.global_batch}",
            plural(settings.epochs, "epoch"),
            f"{settings.optimizer} {settings.schedule} lr {settings.lr}",
            f"{settings.precision}{', channels last' if settings.channels_last else ''}",
        ]
    )
    return one_line(f"{hardware}, torch {machine.torch}, {settings.device}") + "\n" + one_line(training)


def format_table(results: Sequence[ArmResult]) -> str:
    """Return one aligned table: a row an arm."""
    rows = [HEADINGS, *(_cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = []
    for row in rows:
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("   ".join([first, *others]).rstrip())
    return "\n".join(lines)


def format_legend(results: Sequence[ArmResult]) -> str:
    """Return how to read the table."""
    one_epoch = all(len(run.epochs) == 1 for result in results for run in result.runs)
    warm_up = "the only epoch counts, warm-up and all" if one_epoch else "the first epoch of a run is warm-up"
    return (
        f"n: runs; ±: one standard deviation of runs. epoch s: training time of the slowest rank; {warm_up}.\n"
        "speedup: reference time / arm time at the same global batch, paired by seed. "
        "efficiency: speedup over one worker alone / workers."
    )


def format_sentence(results: Sequence[ArmResult]) -> str:
    """Return the sentence a person can quote."""
    parallel, reference = main_parallel(results), reference_of(results)
    return f"{_speed_sentence(parallel, reference)}\n{_accuracy_sentence(parallel, reference)}"


def format_notes(study: Study, results: Sequence[ArmResult]) -> str:
    """Return what a reader must know before believing the table; empty when there is nothing."""
    fewest = min(len(result.runs) for result in results)
    notes = []
    if fewest < 3:
        advice = "for a usable interval run three seeds or more (bash launch.sh does)"
        notes.append(f"an arm has only {plural(fewest, 'run')}: {advice}")
    notes += [
        f"{result.arm.label}: epoch times vary by {result.epoch_sd_s / result.epoch_s.value:.0%}; "
        "run on a quiet machine, or more seeds"
        for result in results
        if result.epoch_sd_s and result.epoch_sd_s > 0.1 * result.epoch_s.value
    ]
    notes += [f"left out: {one_line(reason)}" for reason in study.left_out]
    return "\n".join(f"note: {note}" for note in notes)


def percent(estimate: Estimate) -> str:
    """Return an accuracy for people: 99.05 %."""
    return f"{estimate.value * 100:.2f} %"


def interval(estimate: Estimate) -> str:
    """Return the 95 % interval in words, or that a single run has none."""
    if estimate.low is None or estimate.high is None:
        return "n = 1, no interval"
    return f"95 % CI {estimate.low:.2f} to {estimate.high:.2f}, n = {estimate.n} seeds"


def _cells(result: ArmResult) -> tuple[str, ...]:
    accuracy_sd = None if result.accuracy_sd is None else 100 * result.accuracy_sd
    return (
        result.arm.label,
        _with_spread(f"{result.epoch_s.value:.2f}", result.epoch_sd_s, ".2f"),
        _with_spread(f"{result.samples_per_s.value:,.0f}", result.samples_per_s_sd, ",.0f"),
        "1, reference" if result.is_reference else _speedup(result.speedup),
        _efficiency(result),
        "-" if result.arm.is_control else _with_spread(f"{100 * result.accuracy.value:.2f}", accuracy_sd, ".2f") + " %",
        str(len(result.runs)),
    )


def _with_spread(value: str, spread: float | None, form: str) -> str:
    """Return `value ± spread`; a single run has no spread."""
    return value if spread is None else f"{value} ± {spread:{form}}"


def _speedup(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOT_MEASURED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} - {estimate.high:.2f})"


def _efficiency(result: ArmResult) -> str:
    if result.arm.kind != "ddp":
        return "-"
    if result.efficiency is None:
        return NOT_MEASURED
    value, low, high = result.efficiency.value, result.efficiency.low, result.efficiency.high
    return f"{value:.0%}" if low is None or high is None else f"{value:.0%} ({low:.0%} - {high:.0%})"


def _speed_sentence(parallel: ArmResult, reference: ArmResult) -> str:
    one, other = parallel.arm.label, f"{reference.arm.label}, the best single process"
    if parallel.speedup is None:
        return f"Speedup not measured: {one} and {reference.arm.label} share no seed; run the same seeds in both."
    said = f"{parallel.speedup.value:.2f} times as fast as {other} ({interval(parallel.speedup)})."
    low, high = parallel.speedup.low, parallel.speedup.high
    if low is None or high is None:
        return f"{one} was {said}"
    return f"No measurable difference: {one} is {said}" if low <= 1 <= high else f"{one} is {said}"


def _accuracy_sentence(parallel: ArmResult, reference: ArmResult) -> str:
    both = f"Test accuracy {percent(parallel.accuracy)} against {percent(reference.accuracy)}"
    gain = parallel.accuracy_gain
    if gain is None:
        return f"{both}."
    if gain.low is None or gain.high is None:
        return f"{both}: difference {gain.value * 100:+.2f} points (n = 1, no interval)."
    return (
        f"{both}: difference {gain.value * 100:+.2f} points "
        f"(95 % CI {gain.low * 100:+.2f} to {gain.high * 100:+.2f}, n = {gain.n} seeds)."
    )
