"""The rows of the answer that hold figures: speed, what is learnt, a whole run, and cost."""

import math
from collections.abc import Sequence

from ddpbench.arm import plural
from ddpbench.judge.comparison import Comparison, Turning, WholeRun
from ddpbench.judge.cost import Cost
from ddpbench.judge.scaling import Row
from ddpbench.judge.stats import Equivalence, Estimate
from ddpbench.record import Metric
from ddpbench.show import figures
from ddpbench.show.phrases import LENGTH, PRICE, Scale, change_with_interval, count_text, with_interval, workers

SAME = "the same"


def speed_text(speed: Estimate | None, noun: str) -> str:
    """Return how much faster the parallel arm is. `noun` is what the interval counts: launch, or seed."""
    if speed is None:
        return f"not comparable: the two share no {noun}; run the same seeds with both"
    return f"{change_with_interval(speed)} ({count_text(speed, noun)})"


def learnt_text(comparison: Comparison, learnt: Equivalence) -> str:
    """Return whether the parallel arm learns as much, with the interval that was tested."""
    metric, why = comparison.reference.runs[0].metric, other_model(comparison)
    said = f"although workers train another model ({why})"
    return f"{_learnt(comparison, learnt, said)} ({figures.difference(metric, learnt)})"


def learnt_lead(comparison: Comparison, learnt: Equivalence) -> str:
    """Return the same in short."""
    metric = comparison.reference.runs[0].metric
    short = _learnt(comparison, learnt, "although workers train another model")
    return short if "although" in short else f"{short} ({figures.short_difference(metric, learnt)})"


def _learnt(comparison: Comparison, learnt: Equivalence, although: str) -> str:
    """Return a word and both figures. `although` is said where figures are as good and the models differ."""
    metric = comparison.reference.runs[0].metric
    both = " and ".join(figures.value(metric, each) for each in reversed(comparison.metrics))
    word = _learnt_word(learnt, metric)
    if other_model(comparison) and learnt.outcome == "kept" and word != figures.words_of(metric).better:
        word = f"{'the same figure' if word == SAME else word}, {although}"
    return f"{word}{';' if learnt.outcome == 'not_judged' else ':'} {both}"


def other_model(comparison: Comparison) -> str:
    """Return why workers train another model than one process. "" where they do not, or where nobody knows."""
    if not comparison.parallel.arm.is_exact:
        return "gradients are rounded or approximated"
    causes = {"batch_norm": "batch norm sees fewer samples", "batch_loss": "the loss is no sum over samples"}
    return causes.get(comparison.equal_gradient or "", "")


def whole_run_parts(comparison: Comparison, run: WholeRun) -> list[str]:
    """Return how long a whole run takes; then why, and from how many epochs on the parallel arm is ahead."""
    parts = [
        f"{_bracketed(run.times_as_long)}: {run.parallel_s.value:.1f} s and {run.reference_s.value:.1f} s "
        f"{_length(run)}"
    ]
    arm = comparison.parallel.arm
    if abs(run.later_start_s) >= 0.05:
        more = "more" if run.later_start_s > 0 else "less"
        parts.append(f"starting {workers(arm)} takes {abs(run.later_start_s):.1f} s {more}")
    they = "they are" if arm.world_size > 1 else "it is"
    return [*parts, f"{they} {ahead_text(run.turning)}"] if run.turning else parts


def _length(run: WholeRun) -> str:
    """Return how long whole runs train: `for 3 epochs`, or how many epochs each arm needs until the target."""
    if run.epochs is not None:
        return f"for {plural(run.epochs, 'epoch')}"
    spans = [f"{least}" if least == most else f"{least} to {most}" for least, most in reversed(run.lengths)]
    return f"until the target ({' and '.join(spans)} epochs)"


def hosts_parts(rows: Sequence[Row]) -> list[str]:
    """Return how much faster several hosts are than one: at the same batch, and where it grows. None: not measured."""
    strong = [row for row in rows if row.scaling == "strong" and row.over_one_host is not None]
    if not strong:
        return []
    fastest = min(strong, key=lambda row: (-row.turn.arm.hosts, row.step_s.value))
    arm, speed = fastest.turn.arm, fastest.over_one_host
    assert speed is not None, "only such rows are left"
    times, share = with_interval(speed, unit="x"), f"{100 * speed.value / arm.hosts:.0f} % of the ideal"
    parts = [f"{arm.hosts} hosts are {times} as fast as one ({arm.label}): {share}, at the same batch"]
    weak = next((row.host_efficiency for row in rows if row.scaling == "weak" and row.turn.arm == arm), None)
    if weak is not None:
        parts.append(f"where every worker keeps its batch, {100 * weak.value:.0f} % of the ideal")
    return parts


def ahead_text(turning: Turning) -> str:
    """Return from how many epochs on the parallel arm is ahead: `ahead from 40 epochs on (25 to 200)`, or `never`."""
    epochs, least, most = map(_whole, (turning.epochs, turning.least, turning.most))
    if math.isinf(turning.epochs):
        return "never ahead" if math.isinf(turning.least) else f"never ahead, or from {least} epochs on at the earliest"
    start = "ahead from the first epoch on" if turning.epochs <= 1 else f"ahead from {epochs} epochs on"
    if math.isinf(turning.most):
        return f"{start} ({least} or more, or never)"
    return f"{start} ({least} to {most})" if least != most else start


def cost_text(cost: Cost) -> str:
    """Return what an epoch costs, in the unit of the price, and whether it pays."""
    pays = {"pays": "it pays", "does_not_pay": "it does not pay", "cannot_tell": "cannot tell whether it pays"}
    parallel, reference = (f"{value:#.3g}".rstrip(".") for value in (cost.parallel, cost.reference))
    figures = f"an epoch costs {parallel} and {reference}"
    return f"{figures}: {_bracketed(cost.times_as_dear, PRICE)}; {pays[cost.verdict]}"


def _learnt_word(learnt: Equivalence, metric: Metric) -> str:
    words = figures.words_of(metric)
    if learnt.outcome == "not_judged":
        return "not judged: the task gives no margin"
    if learnt.outcome != "kept":
        return words.worse if learnt.outcome == "lost" else "cannot tell"
    assert learnt.margin is not None, "kept needs a margin"
    assert learnt.tested.low is not None, "kept needs an interval"
    assert learnt.tested.high is not None, "kept needs an interval"
    sign = -1 if metric.lower_is_better else 1
    least, most = sorted(sign * bound for bound in (learnt.tested.low, learnt.tested.high))
    if most < learnt.margin:
        return SAME
    return words.better if least > 0 else words.at_least


def _bracketed(estimate: Estimate, scale: Scale = LENGTH) -> str:
    """Return a ratio with its interval in brackets: `31 % longer (20 to 43 %)`."""
    value, _, bounds = change_with_interval(estimate, scale).partition(": ")
    return f"{value} ({bounds})" if bounds else value


def _whole(epochs: float) -> str:
    """Return a number of epochs, rounded up: the first at which the parallel arm is ahead."""
    return "never" if math.isinf(epochs) else f"{max(1, math.ceil(epochs)):,}"
