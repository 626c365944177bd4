"""Strong and weak scaling side by side: the two give opposite verdicts from the same machine, so both are labelled.

Strong: more workers share one global batch. Weak: every worker keeps its batch, so the global batch grows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.arm import Arm
from ddpbench.judge.arms import by_arm, num_steps, one_worker, pairs, per_seed, run_step_s
from ddpbench.judge.stats import Estimate, mean, ratio
from ddpbench.judge.study import Study
from ddpbench.record import Record


@dataclass(frozen=True, slots=True)
class Row:
    """An arm at a global batch, beside one worker alone. `efficiency` is None where one worker was not measured."""

    scaling: str  # "one worker", "strong" or "weak"
    arm: Arm
    global_batch: int
    rank_batch: int
    steps_per_epoch: int  # of a whole pass over the data
    lr: float
    step_s: Estimate
    samples_per_s: Estimate
    efficiency: Estimate | None


def rows(study: Study, arm: Arm) -> list[Row]:
    """Return one worker, the strong row and, where it was measured, the weak row of a ddp arm."""
    runs = by_arm(study.records)
    strong = runs[arm]
    batch, samples = strong[0].settings.global_batch, num_steps(strong[0]) * strong[0].settings.global_batch
    worker = one_worker(arm, runs)
    alone = runs[worker] if worker else []
    weak = at_batch(study, arm, batch * arm.world_size)
    table = [("one worker", worker, alone), ("strong", arm, strong), ("weak", arm, weak)]
    return [_row(label, each, group, alone, samples) for label, each, group in table if each and group]


def at_batch(study: Study, arm: Arm, global_batch: int) -> list[Record]:
    """Return the timed runs of an arm at a global batch."""
    return [run for run in by_arm(study.timed).get(arm, []) if run.settings.global_batch == global_batch]


def _row(label: str, arm: Arm, group: Sequence[Record], alone: Sequence[Record], samples: int) -> Row:
    batch = group[0].settings.global_batch
    speeds = pairs(per_seed(alone, samples_per_s), per_seed(group, samples_per_s))
    over_one = ratio([new for _, new in speeds], [old for old, _ in speeds]) if speeds else None
    return Row(
        scaling=label,
        arm=arm,
        global_batch=batch,
        rank_batch=batch // arm.world_size,
        steps_per_epoch=samples // batch,
        lr=group[0].settings.lr,
        step_s=mean([run_step_s(run) for run in group]),
        samples_per_s=mean([samples_per_s(run) for run in group]),
        efficiency=over_one.scaled(1 / arm.world_size) if over_one and label != "one worker" else None,
    )


def samples_per_s(run: Record) -> float:
    """Return the training speed of a run."""
    return run.settings.global_batch / run_step_s(run)
