"""Which arms a study has, at which batch sizes and in which order."""

import math
from collections.abc import Callable, Sequence

from ddpbench.arm import Arm
from ddpbench.record import Comm
from ddpbench.study.plan import Job

MAX_DEFAULT_RANKS = 4
TIMED_EPOCH_S = 1.5  # of a short run: one such epoch to warm up, and at least as long to count
TIMED_EPOCHS = 5  # at most, where a whole pass over the data is shorter
StepS = Callable[[Arm, int], float]  # an arm and a global batch -> seconds of a step


def default_world_size(cores: int, gpus: int, global_batch: int) -> int:
    """Return the number of GPUs, or at most four ranks that share the cores out evenly and divide the batch."""
    if gpus:
        return gpus
    sizes = [size for size in range(1, min(cores, MAX_DEFAULT_RANKS) + 1) if global_batch % size == 0]
    return max((size for size in sizes if size > 1), key=lambda size: (size * (cores // size), size), default=1)


def nearest_multiple(value: int, of: int) -> int:
    """Return the multiple of `of`, at least `of`, that is nearest to `value`."""
    return max(1, round(value / of)) * of


def arms(sizes: Sequence[int], cores: int, physical_cores: int, gpus: int, comms: Sequence[Comm]) -> list[Arm]:
    """Return the arms of a study: single processes, nn.DataParallel where there are GPUs, DDP and its control.

    `comms` are the ways to combine gradients, the one that is expected to be fastest last.
    """
    per_rank = [max(1, cores // size) for size in sizes]
    # On CPUs one worker's threads, so that efficiency is measured, and every core, so that the reference is fair.
    # Physical cores too: a second thread on a core often slows one process down.
    threads = per_rank[:1] if gpus else sorted({1, cores, min(cores, physical_cores), *per_rank})
    found = [Arm("baseline", 1, count, None) for count in threads]
    if gpus:
        found.append(Arm("data_parallel", 1, threads[0], None))
    for size, count in zip(sizes, per_rank, strict=True):
        if size == 1:
            found.append(Arm("ddp", 1, count, comms[-1]))
        else:
            found += [Arm("ddp", size, count, comm) for comm in (*comms, "none")]
    return found


def controls(of: Sequence[Arm], global_batch: int, num_train: int) -> list[tuple[Arm, int]]:
    """Return the short runs, each an arm at a batch size, that explain the ddp arms of a study.

    One worker at the rank batch says what smaller batches cost. The ddp arm at its world size times the batch is weak
    scaling, and the single process with the most threads beside it says whether a larger batch would pay.
    """
    most_threads = max((arm for arm in of if arm.kind == "baseline"), key=lambda arm: arm.threads_per_rank)
    fastest = next((arm.comm for arm in reversed(of) if arm.kind == "ddp" and not arm.is_control), None)
    wanted = []
    for arm in of:
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
    """Return a short run: long enough to be timed, at most a few passes over the data."""
    seconds, whole_pass = step_s(arm, global_batch), num_train // global_batch
    steps = min(whole_pass, max(1, math.ceil(TIMED_EPOCH_S / seconds)))
    epochs = min(TIMED_EPOCHS, 1 + math.ceil(TIMED_EPOCH_S / (steps * seconds)))
    return Job(arm=arm, global_batch=global_batch, steps=steps, epochs=epochs)


def comparison(of: Sequence[Arm], global_batch: int, epochs: int, step_s: StepS, num_train: int) -> list[Job]:
    """Return the runs of a study of one batch size, for one seed: every arm, and the short controls."""
    short = [timed(arm, batch, step_s, num_train) for arm, batch in controls(of, global_batch, num_train)]
    return [whole(arm, global_batch, epochs) for arm in of] + short


def sweep(of: Sequence[Arm], batches: Sequence[int], step_s: StepS, num_train: int) -> list[Job]:
    """Return the runs of a sweep over batch sizes, for one seed: short ones, of every arm but the control."""
    pairs = [(arm, batch) for batch in batches for arm in of if not arm.is_control]
    return [timed(arm, batch, step_s, num_train) for arm, batch in pairs]


def interleave(jobs: Sequence[Job], seeds: Sequence[int]) -> list[Job]:
    """Return every job once per seed; each seed begins one job later, so that no arm always goes first."""
    turns = [(seed, jobs[(turn + k) % len(jobs)]) for turn, seed in enumerate(seeds) for k in range(len(jobs))]
    return [job.with_seed(seed) for seed, job in turns]
