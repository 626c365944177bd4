"""Which arms a study has, at which batch sizes and in which order. Pure functions."""

import math
from collections.abc import Callable, Sequence

from ddpbench.arm import Arm
from ddpbench.record import Comm
from ddpbench.study.plan import Job
from ddpbench.turns import TurnArm

MAX_DEFAULT_RANKS = 4
TIMED_EPOCH_S = 1.5  # the least length of an epoch of a short run; the first epoch warms up and is not counted
MAX_TIMED_EPOCHS = 5  # where a whole pass over the data takes less than TIMED_EPOCH_S
StepS = Callable[[Arm, int], float]  # an arm and a global batch -> seconds of a step


def default_world_size(cores: int, gpus: int, global_batch: int) -> int:
    """Return the number of GPUs, or at most four ranks that share the cores out evenly and divide the batch."""
    if gpus:
        return gpus
    sizes = [size for size in range(1, min(cores, MAX_DEFAULT_RANKS) + 1) if global_batch % size == 0]
    return max((size for size in sizes if size > 1), key=lambda size: (size * (cores // size), size), default=1)


def nearest_multiple(value: int, divisor: int) -> int:
    """Return the multiple of `divisor`, at least `divisor`, that is nearest to `value`."""
    return max(1, round(value / divisor)) * divisor


def arms(sizes: Sequence[int], cores: int, physical_cores: int, gpus: int, comms: Sequence[Comm]) -> list[Arm]:
    """Return the arms of a study: single processes, nn.DataParallel where there are GPUs, DDP and its control.

    `sizes` are numbers of ranks. `comms` are the ways to combine gradients, the fastest by expectation last.
    """
    per_rank = [max(1, cores // size) for size in sizes]
    # On CPUs, the threads of one worker are there to measure efficiency, and every core for a fair reference.
    # Physical cores too, because a second thread on a core often slows one process down.
    threads = per_rank[:1] if gpus else sorted({1, cores, min(cores, physical_cores), *per_rank})
    chosen = [Arm("baseline", 1, count, None) for count in threads]
    if gpus:
        chosen.append(Arm("data_parallel", 1, threads[0], None))
    for size, count in zip(sizes, per_rank, strict=True):
        if size == 1:
            chosen.append(Arm("ddp", 1, count, comms[-1]))
        else:
            chosen += [Arm("ddp", size, count, comm) for comm in (*comms, "none")]
    return chosen


def comms(fastest: Comm, *, is_sweep: bool) -> list[Comm]:
    """Return the ways to combine gradients, the fastest last.

    A comparison shows beside shared memory what gloo costs, which torch uses by default; a sweep has no time for it.
    """
    return ["gloo", "shm"] if fastest == "shm" and not is_sweep else [fastest]


def turns(ranks: int, cores: int, physical_cores: int, comms: Sequence[Comm], global_batch: int) -> list[TurnArm]:
    """Return the arms that take turns in a launch of so many ranks.

    Single processes, every comm, and the controls that take one cause of lost time away after the other: one worker at
    the batch of a rank, ranks that never communicate, ranks whose gradients are wrapped and not exchanged. The last is
    weak scaling: the batch grows with the ranks.
    """
    threads = max(1, cores // ranks)
    counts = sorted({1, threads, min(cores, physical_cores), cores})
    singles = [Arm("baseline", 1, count, None) for count in counts]
    parallel = [Arm("ddp", ranks, threads, comm) for comm in (*comms, "none", "nothing")]
    worker, best = Arm("baseline", 1, threads, None), Arm("ddp", ranks, threads, comms[-1])
    at_batch = [TurnArm(arm=arm, global_batch=global_batch) for arm in (*singles, *parallel)]
    return [
        *at_batch,
        TurnArm(arm=worker, global_batch=global_batch // ranks),
        TurnArm(arm=best, global_batch=global_batch * ranks),
    ]


def controls(study_arms: Sequence[Arm], global_batch: int, num_train: int) -> list[tuple[Arm, int]]:
    """Return the short runs that explain the ddp arms of a study: each an arm and a global batch.

    One worker at the rank batch shows what smaller batches cost. The ddp arm at its world size times the batch is weak
    scaling. The single process with the most threads at that batch shows whether a larger batch would pay.
    """
    most_threads = max((arm for arm in study_arms if arm.kind == "baseline"), key=lambda arm: arm.threads_per_rank)
    fastest = next((arm.comm for arm in reversed(study_arms) if arm.kind == "ddp" and not arm.is_control), None)
    wanted = []
    for arm in study_arms:
        if arm.kind == "ddp" and arm.world_size > 1 and arm.comm == fastest:
            wanted.append((Arm("baseline", 1, arm.threads_per_rank, None), global_batch // arm.world_size))
            if global_batch * arm.world_size <= num_train:
                wanted.append((arm, global_batch * arm.world_size))
                wanted.append((most_threads, global_batch * arm.world_size))
    return list(dict.fromkeys(wanted))


def whole(arm: Arm, global_batch: int, epochs: int) -> Job:
    """Return a run of whole passes over the data, whose accuracy counts."""
    return Job(arm=arm, global_batch=global_batch, steps=None, epochs=epochs)


def timed(arm: Arm, global_batch: int, step_s: StepS, num_train: int) -> Job:
    """Return a short run: long enough to be timed, and at most a few passes over the data."""
    seconds, whole_pass = step_s(arm, global_batch), num_train // global_batch
    steps = min(whole_pass, max(1, math.ceil(TIMED_EPOCH_S / seconds)))
    epochs = min(MAX_TIMED_EPOCHS, 1 + math.ceil(TIMED_EPOCH_S / (steps * seconds)))
    return Job(arm=arm, global_batch=global_batch, steps=steps, epochs=epochs)


def comparison(study_arms: Sequence[Arm], global_batch: int, epochs: int, step_s: StepS, num_train: int) -> list[Job]:
    """Return the runs of a study of one batch size, for one seed: every arm, and the short controls."""
    short = [timed(arm, batch, step_s, num_train) for arm, batch in controls(study_arms, global_batch, num_train)]
    return [whole(arm, global_batch, epochs) for arm in study_arms] + short


def sweep(study_arms: Sequence[Arm], batches: Sequence[int], step_s: StepS, num_train: int) -> list[Job]:
    """Return the runs of a sweep over batch sizes, for one seed: a short run of every arm but the control."""
    pairs = [(arm, batch) for batch in batches for arm in study_arms if not arm.is_control]
    return [timed(arm, batch, step_s, num_train) for arm, batch in pairs]


def checks(jobs: Sequence[Job], batches: Sequence[int], seeds: Sequence[int], num_train: int) -> list[Job]:
    """Return the runs that check a sweep's prediction at `batches`; `jobs` are the runs of that sweep.

    Each has as many epochs as the run of its arm at the nearest batch, and as many samples in an epoch.
    """
    if not batches:
        return []
    added = []
    for batch in batches:
        for arm in dict.fromkeys(job.arm for job in jobs):
            near = min((job for job in jobs if job.arm == arm), key=lambda job: abs(job.global_batch - batch))
            steps = max(1, round((near.steps or 1) * near.global_batch / batch))
            steps = min(steps, num_train // batch)
            added.append(Job(arm=arm, global_batch=batch, steps=steps, epochs=near.epochs, is_check=True))
    return interleave(added, seeds)


def interleave(jobs: Sequence[Job], seeds: Sequence[int]) -> list[Job]:
    """Return every job once per seed; each seed begins one job later, so that no arm always goes first."""
    turns = [(seed, jobs[(turn + k) % len(jobs)]) for turn, seed in enumerate(seeds) for k in range(len(jobs))]
    return [job.with_seed(seed) for seed, job in turns]
