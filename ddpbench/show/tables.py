"""The tables of a report, as rows of text, with their titles and notes. The terminal, HTML and Markdown show them."""

from collections.abc import Sequence

from ddpbench.arm import plural
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.breakdown import COMMUNICATION, IDEAL, Breakdown
from ddpbench.judge.epochs import counts_warm_up
from ddpbench.judge.scaling import Row
from ddpbench.judge.sweep import Sweep
from ddpbench.show.layout import NO_VALUE, Table
from ddpbench.show.phrases import OUTCOMES, TERMS, share_text, with_interval

SWEEP_LEGEND = "n: runs; times are of a training step."


def arms_table(results: Sequence[ArmResult]) -> Table:
    """Return a row for each arm: time, speed, speedup, efficiency, accuracy, runs."""
    names = ("", "epoch s", "samples/s", "speedup (95 % CI)", "efficiency (95 % CI)", "test accuracy", "n")
    return [names, *map(_arm_cells, results)]


def arms_legend(results: Sequence[ArmResult]) -> list[str]:
    """Return the notes that say how to read the table of arms."""
    cold = {counts_warm_up(run) for result in results for run in result.runs}
    warm_up = "the first epoch of a run is warm-up" + (", unless no other counts" if True in cold else "")
    if cold == {True}:
        warm_up = "the only epoch counts, although warm-up is part of it"
    return [
        "n: runs; ±: one standard deviation of runs.",
        f"epoch s: training time of the slowest rank; {warm_up}.",
        "speedup: reference time / arm time at the same global batch, paired by seed.",
        "efficiency: speedup over one worker alone / workers.",
        "95 % CI: Student's t over runs paired by seed, on the logarithms of ratios; no run is dropped.",
    ]


def breakdown_title(breakdown: Breakdown) -> str:
    """Return the title of a breakdown's table."""
    n = plural(breakdown.observed.n, "seed")
    return f"Where the time of {breakdown.arm.label} goes, training seconds per epoch (n = {n})"


def breakdown_table(breakdown: Breakdown) -> Table:
    """Return a row for each term, from ideal to observed."""
    table: Table = [("", "seconds (95 % CI)", "share", "measured by")]
    for term in breakdown.terms:
        name = f"  of which {TERMS[term.term]}" if term.part_of else TERMS[term.term]
        if term.term == IDEAL:
            name = f"ideal: {breakdown.arm.world_size} perfect workers"
        share = NO_VALUE if term.share is None else share_text(term.share)
        table.append((name, with_interval(term.seconds), share, term.measured_by))
    total = "the sum" if not breakdown.unexplained else "more than the sum: a term was not measured"
    table.append(("observed", with_interval(breakdown.observed), "100%", total))
    return table


def breakdown_check(breakdown: Breakdown) -> list[str]:
    """Return, as a note, exposed communication by the timers inside the run; empty if there were none."""
    if breakdown.in_run is None:
        return []
    note = f"exposed communication by timers inside the run: {with_interval(breakdown.in_run)} s"
    by_difference = breakdown[COMMUNICATION]
    if by_difference is not None and by_difference.value > 0:
        apart = breakdown.in_run.value / by_difference.value - 1
        note += f", {abs(apart):.0%} {'less' if apart < 0 else 'more'} than by difference"
    if breakdown.in_run_by_torch is not None:
        note += f"; by DDP's own log: {breakdown.in_run_by_torch.value:.2f} s"
    return [note]


def scaling_table(rows: Sequence[Row]) -> Table:
    """Return strong and weak scaling beside one worker."""
    batches = ("global batch", "rank batch", "steps/epoch", "lr", "threads/rank")
    table: Table = [("scaling", "arm", *batches, "step ms", "samples/s", "efficiency (95 % CI)")]
    for row in rows:
        per_rank = str(row.arm.threads_per_rank)
        counts = (str(row.global_batch), str(row.rank_batch), str(row.steps_per_epoch), f"{row.lr:g}", per_rank)
        speed = (f"{1e3 * row.step_s.value:.2f}", f"{row.samples_per_s.value:,.0f}")
        efficiency = NO_VALUE if row.scaling == "one worker" else with_interval(row.efficiency, ".0%")
        table.append((row.scaling, row.arm.label, *counts, *speed, efficiency))
    return table


def sweep_table(sweep: Sweep) -> Table:
    """Return a row for each global batch: steps of the best single process and of the swept arm, and the speedup."""
    steps = ("best single process", "step ms", f"{sweep.arm.label} step ms")
    table: Table = [("global batch", *steps, "speedup", "outcome", "n")]
    for point in sweep.points:
        single_ms, parallel_ms = (
            f"{1e3 * point.global_batch / result.samples_per_s.value:.2f}"
            for result in (point.reference, point.parallel)
        )
        table.append(
            (
                f"{point.global_batch}{' (check)' if point is sweep.checked else ''}",
                point.reference.arm.label,
                single_ms,
                parallel_ms,
                with_interval(point.speedup),
                OUTCOMES[point.outcome],
                str(len(point.parallel.runs)),
            )
        )
    return table


def _arm_cells(result: ArmResult) -> tuple[str, ...]:
    accuracy_sd = None if result.accuracy_sd is None else 100 * result.accuracy_sd
    accuracy = f"{_with_deviation(100 * result.accuracy.value, accuracy_sd, '.2f')} %"
    return (
        result.arm.label,
        _with_deviation(result.epoch_s.value, result.epoch_sd_s, ".2f"),
        _with_deviation(result.samples_per_s.value, result.samples_per_s_sd, ",.0f"),
        "1, reference" if result.is_reference else with_interval(result.speedup),
        with_interval(result.efficiency, ".0%") if result.arm.kind == "ddp" else NO_VALUE,
        NO_VALUE if result.arm.is_control else accuracy,
        str(len(result.runs)),
    )


def _with_deviation(value: float, deviation: float | None, form: str) -> str:
    """Return `value ± deviation`. A single run has no deviation."""
    return f"{value:{form}}" if deviation is None else f"{value:{form}} ± {deviation:{form}}"
