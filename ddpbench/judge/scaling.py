"""Strong and weak scaling side by side. Both are labelled, because they can lead to opposite verdicts.

Strong: more workers share one global batch. Weak: every worker keeps its batch, so the global batch grows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.arm import Arm
from ddpbench.judge.arms import ArmResult, by_arm, one_worker, pairs, speedup
from ddpbench.judge.epochs import num_steps, run_samples_per_s, run_step_s
from ddpbench.judge.stats import Estimate, mean, ratio
from ddpbench.judge.study import Study
from ddpbench.record import Record


@dataclass(frozen=True, slots=True)
class Row:
    """An arm at one global batch."""

    scaling: str  # "one worker", "strong" or "weak"
    arm: Arm
    global_batch: int
    rank_batch: int
    steps_per_epoch: int  # of a whole pass over the data
    lr: float | None
    step_s: Estimate
    samples_per_s: Estimate
    efficiency: Estimate | None  # speed / (workers * speed of one worker); None if one worker was not measured


@dataclass(frozen=True, slots=True)
class LargerBatch:
    """The speedup of the main parallel arm at a larger global batch, measured in short runs."""

    global_batch: int
    speedup: Estimate


def rows(study: Study, arm: Arm) -> list[Row]:
    """Return the rows of a ddp arm: one worker and weak scaling where they were measured, and strong scaling."""
    runs = by_arm(study.records)
    strong = runs[arm]
    batch, samples = strong[0].settings.global_batch, num_steps(strong[0]) * strong[0].settings.global_batch
    worker = one_worker(arm, runs)
    alone = runs[worker] if worker else []
    weak = _at_batch(study, arm, batch * arm.world_size)
    table = [("one worker", worker, alone), ("strong", arm, strong), ("weak", arm, weak)]
    return [_row(label, each, group, alone, samples) for label, each, group in table if each and group]


def larger_batch(study: Study, parallel: ArmResult | None) -> LargerBatch | None:
    """Return the speedup of a ddp arm at its weak-scaling batch; None if no single process was timed there too."""
    if parallel is None or parallel.arm.kind != "ddp":
        return None
    batch = parallel.runs[0].settings.global_batch * parallel.arm.world_size
    mine = _at_batch(study, parallel.arm, batch)
    singles = [_at_batch(study, arm, batch) for arm in by_arm(study.timed) if arm.kind == "baseline"]
    measured = [estimate for single in singles if single and mine and (estimate := speedup(single, mine))]
    least = min(measured, key=lambda estimate: estimate.value, default=None)  # over the fastest single process
    return LargerBatch(batch, least) if least else None


def _at_batch(study: Study, arm: Arm, global_batch: int) -> list[Record]:
    """Return the timed runs of an arm at a global batch."""
    return [run for run in by_arm(study.timed).get(arm, []) if run.settings.global_batch == global_batch]


def _row(label: str, arm: Arm, group: Sequence[Record], alone: Sequence[Record], samples: int) -> Row:
    batch = group[0].settings.global_batch
    speeds = pairs(alone, group, run_samples_per_s)
    over_one = ratio([new for _, new in speeds], [old for old, _ in speeds]) if speeds else None
    return Row(
        scaling=label,
        arm=arm,
        global_batch=batch,
        rank_batch=batch // arm.world_size,
        steps_per_epoch=samples // batch,
        lr=group[0].settings.lr,
        step_s=mean([run_step_s(run) for run in group]),
        samples_per_s=mean([run_samples_per_s(run) for run in group]),
        efficiency=over_one.scaled(1 / arm.world_size) if over_one and label != "one worker" else None,
    )
