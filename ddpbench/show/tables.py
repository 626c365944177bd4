"""The tables of a report, as rows of text, with their titles and notes. The terminal, HTML and Markdown show them."""

import math
from collections.abc import Sequence

from ddpbench.arm import Arm, plural
from ddpbench.judge.arms import ArmResult, equal_to_the_bit
from ddpbench.judge.breakdown import Breakdown, Cause
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.scaling import Row
from ddpbench.judge.sweep import Sweep
from ddpbench.show.figures import name_of, tested, value
from ddpbench.show.layout import NO_VALUE, Table
from ddpbench.show.phrases import NOT_MEASURED, OUTCOMES, arm_in_words, causes_text, doubt, share_text, with_interval

SAME_BITS = "equal to the bit"
REFERENCE = "1 (reference)"
MEASURED_BY: dict[Cause, str] = {
    "ideal": "one worker alone / workers",
    "smaller_batch": "one worker at the batch of a rank",
    "contention": "ranks that never communicate",
    "uneven_shares": "the largest share of the batch",
    "bookkeeping": "DDP that exchanges nothing",
    "exchange": "the arm itself",
    "reducing": "timers inside the ranks",
    "waiting": "timers inside the ranks",
    "slower_computing": "the rest",
    "data": "the arm itself, against replayed batches",
    "waiting_for_data": "timers inside the ranks",
    "beside_readers": "the rest",
}


def arms_table(judgement: Judgement) -> Table:
    """Return a row for each arm that a user could choose: for the terminal."""
    shown = [result for result in judgement.results if not result.arm.is_control]
    table: Table = [("arm", "ms a step", "speed (95 %)", tested(name_of(judgement.study.newest)), "n")]
    for result in shown:
        runs = len(result.runs)
        units = str(result.step_s.n) if result.step_s.n == runs or not runs else f"{result.step_s.n}, {runs}"
        learnt = SAME_BITS if _twin(result, shown) else _learnt_text(result)
        table.append((result.arm.label, _ms(result.step_s.value), _speed_text(result), learnt, units))
    return table


def arms_notes(judgement: Judgement) -> list[str]:
    """Return the notes below the table of arms."""
    noun, on_gpu = judgement.timing.noun, judgement.study.newest.settings.device == "cuda"
    shown = [result for result in judgement.results if not result.arm.is_control]
    mixed = any(result.runs and len(result.runs) != result.step_s.n for result in shown)
    units = "launches" if noun == "launch" else "seeds"
    notes = [f"speed: against the reference; n: {units}{', then whole runs' if mixed else ''}"]
    if judgement.parallel is not None:
        arm = judgement.parallel.arm
        notes.append(f"{arm.label}: {arm_in_words(arm, on_gpu=on_gpu)}{_threads_note(arm, on_gpu=on_gpu)}")
    for result in shown:
        if twin := _twin(result, shown):
            notes.append(f"{SAME_BITS}: {result.arm.label} learnt exactly what {twin.arm.label} learnt")
    return notes


def all_arms_table(judgement: Judgement) -> Table:
    """Return a row for each arm, controls last, with every figure: for the page."""
    learnt = tested(name_of(judgement.study.newest))
    table: Table = [("arm", "ms a step (95 %)", "speed (95 %)", "efficiency (95 %)", learnt, "n", "runs")]
    for result in judgement.results:
        table.append(
            (
                f"{result.arm.label}{' (control)' if result.arm.is_control else ''}",
                with_interval(result.step_s.scaled(1e3)),
                _speed_text(result),
                with_interval(result.efficiency) if result.arm.kind == "ddp" else NO_VALUE,
                NO_VALUE if result.arm.is_control else _learnt_text(result),
                str(result.step_s.n),
                str(len(result.runs)) if result.runs else NO_VALUE,
            )
        )
    return table


def all_arms_notes(judgement: Judgement) -> list[str]:
    """Return the notes that say how to read the table of all arms."""
    units = "launches of turns" if judgement.timing.noun == "launch" else "whole runs, a seed each"
    notes = [
        f"n: {units}; ±: one standard deviation of runs.",
        "speed: how many times as fast as the reference, the fastest single process, at the same global batch.",
        "efficiency: speed against one worker alone / workers.",
        "95 %: Student's t over n, for speeds on their logarithms; no launch, round or run is dropped"
        + ("; wide enough for a study that looks after every launch." if judgement.study.launches else "."),
        "A control shows what something costs; it exchanges no gradients, and is no result.",
    ]
    agreement = judgement.comparison.agreement if judgement.comparison else None
    if agreement is not None:
        in_turns, in_runs = with_interval(agreement.in_turns, unit="x"), with_interval(agreement.in_runs, unit="x")
        notes.append(f"The speed in turns is {in_turns}; in the whole runs it is {in_runs}.")
    return notes


def breakdown_title(breakdown: Breakdown, noun: str) -> str:
    """Return the title of a breakdown's table."""
    n = count(breakdown.observed.n, noun)
    return f"Where a step of {breakdown.turn.arm.label} goes, at batch {breakdown.turn.global_batch} (n = {n})"


def breakdown_table(breakdown: Breakdown) -> Table:
    """Return a row for each term, from ideal to observed."""
    table: Table = [("term", "ms of a step (95 %)", "share", "measured by")]
    for term in breakdown.terms:
        name = causes_text(term.causes)
        if term.causes == ("ideal",):
            name = f"{breakdown.turn.arm.world_size} ideal workers"
        table.append(
            (
                f"{'  of which ' if term.part_of else ''}{name}{'' if term.is_certain else f' ({doubt(term)})'}",
                with_interval(term.seconds.scaled(1e3), ".2f" if term.causes == ("ideal",) else "+.2f"),
                share_text(term.share),
                MEASURED_BY[term.causes[-1]],
            )
        )
    table.append(("observed", with_interval(breakdown.observed.scaled(1e3)), "100 %", "the sum"))
    return table


def scaling_table(rows: Sequence[Row]) -> Table:
    """Return strong and weak scaling beside one worker, and beside one host where there are several."""
    has_hosts = any(row.turn.arm.hosts > 1 for row in rows)
    of_hosts = ("of hosts (95 %)",) if has_hosts else ()
    names = ("scaling", "arm", "global batch", "rank batch", "ms a step (95 %)", "efficiency (95 %)", *of_hosts)
    table: Table = [names]
    for row in rows:
        batch = row.turn.global_batch
        efficiency = NO_VALUE if row.scaling == "one worker" else with_interval(row.efficiency)
        per_rank = str(batch // row.turn.arm.world_size)
        step = with_interval(row.step_s.scaled(1e3))
        hosts = NO_VALUE if row.turn.arm.hosts == 1 else with_interval(row.host_efficiency)
        more = (hosts,) if has_hosts else ()
        table.append((row.scaling, row.turn.arm.label, str(batch), per_rank, step, efficiency, *more))
    return table


def scaling_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes that say what is held fixed, and what arms are compared with."""
    notes = [
        "strong: the global batch stays the same; weak: every worker keeps its batch, and the global batch grows.",
        "efficiency: speed / (workers x the speed of one worker alone).",
    ]
    if any(row.turn.arm.hosts > 1 for row in rows):
        notes.append("of hosts: speed / (hosts x the speed of one host with as many ranks, at its fastest).")
    return notes


def sweep_table(sweep: Sweep) -> Table:
    """Return a row for each global batch: a step of the fastest single process, one of the swept arm, and the speed."""
    table: Table = [("batch", "threads", "one process, ms", f"{sweep.arm.label}, ms", "speed (95 %)", "outcome", "n")]
    for point in sweep.points:
        table.append(
            (
                f"{point.global_batch}{' (check)' if point.is_check else ''}",
                str(point.reference.arm.threads_per_rank),
                _ms(point.reference_step_s.value),
                _ms(point.parallel_step_s.value),
                with_interval(point.speed, unit="x"),
                OUTCOMES[point.outcome],
                str(point.speed.n),
            )
        )
    return table


def launches_table(judgement: Judgement) -> Table:
    """Return a row for each launch of turns: when, how long, how disturbed, and the speed of the parallel arm in it."""
    table: Table = [
        ("launch", "started at", "rounds", "seconds", "taken by the host", "speed", "load before", "commit")
    ]
    pair = judgement.comparison
    for launch, unit in zip(judgement.study.launches, judgement.timing.units, strict=True):
        seconds = sum(launch.round_s)
        speed = NO_VALUE
        if pair is not None and {pair.parallel.turn, pair.reference.turn} <= unit.sample_s.keys():
            speed = f"{math.exp(unit.log_speed(pair.parallel.turn, pair.reference.turn)):.3f}x"
        table.append(
            (
                str(launch.number + 1),
                launch.started_at,
                str(len(launch.order)),
                f"{seconds:.1f}",
                f"{100 * sum(launch.stolen_s) / (seconds * launch.environment.cores):.1f} %",
                speed,
                f"{launch.environment.load_1m:.2f}",
                launch.environment.commit or NO_VALUE,
            )
        )
    return table


def count(number: int, noun: str) -> str:
    """Return `1 launch`, `3 launches`, `3 seeds`."""
    return f"{number} launches" if noun == "launch" and number != 1 else plural(number, noun)


def _twin(result: ArmResult, results: Sequence[ArmResult]) -> ArmResult | None:
    """Return the first arm before this one that learnt the same to the bit; None without one."""
    before = results[: results.index(result)]
    return next((other for other in before if equal_to_the_bit(other, result)), None)


def _threads_note(arm: Arm, *, on_gpu: bool) -> str:
    """Return what a worker has, where its words do not say it."""
    return "" if on_gpu or arm.kind != "ddp" or arm.threads_per_rank > 1 else ", one thread each"


def _speed_text(result: ArmResult) -> str:
    return REFERENCE if result.is_reference else with_interval(result.speed, unit="x")


def _learnt_text(result: ArmResult) -> str:
    if result.metric is None:
        return NOT_MEASURED
    return value(result.runs[0].metric, result.metric.value, result.metric_sd)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"
