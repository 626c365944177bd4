"""What `bash launch.sh` will do: checked, listed, and how long it will take, before anything is started.

python -m ddpbench.plan SEEDS WORLD_SIZES BATCHES FOLDER FLAGS...

BATCHES, when not empty, makes a sweep of short timed runs; FOLDER, when not empty, is a study to add to.
Speaks to the person on stderr and to launch.sh on stdout: the study's folder, then a line per run, its parts
separated by tabs: kind, ranks, threads per rank, flags, name.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import torch

from ddpbench import config, data, environment, errors, estimate, fetch, progress, startup, unfinished, world
from ddpbench.arm import Arm, plural
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.files import require_writable
from ddpbench.record import Comm

MAX_DEFAULT_RANKS = 4
ARM_FLAGS = dict.fromkeys(("threads", "comm", "data_parallel", "steps"), "is set by launch.sh for each run")
ARM_FLAGS["seed"] = 'is set by launch.sh for each run; use SEEDS="0 1 2"'
TIMED_EPOCH_S = 1.5  # of a short run: one such epoch to warm up, and at least as long to count
TIMED_EPOCHS = 5  # at most, where a whole pass over the data is shorter


@dataclass(frozen=True, slots=True)
class Job:
    """An arm at a batch size. `steps` per epoch: None for a whole pass, whose accuracy counts; else it is timed."""

    arm: Arm
    global_batch: int
    steps: int | None
    epochs: int

    @property
    def label(self) -> str:
        """The name in the list of runs."""
        return self.arm.label if self.steps is None else f"{self.arm.label}, global batch {self.global_batch}, timed"

    def flags(self, seed: int) -> str:
        """The flags that make a run of this job."""
        told = f"--seed {seed} --global-batch {self.global_batch} --epochs {self.epochs}"
        if self.steps is not None:
            told += f" --steps {self.steps}"
        if self.arm.comm is not None:
            told += f" --comm {self.arm.comm}"
        return told + (" --data-parallel" if self.arm.kind == "data_parallel" else "")


def main() -> None:
    """Check everything, say the plan, and hand it to launch.sh."""
    start_s = startup.alive_s(with_parent=False)  # what every run pays before it can load its data
    seeds_text, sizes_text, batches_text, folder_text, *flags = sys.argv[1:]
    cfg = config.parse(flags, doc="Flags that reach both training scripts.", refuse=ARM_FLAGS)
    seeds = numbers("SEEDS", seeds_text, at_least=0)
    if not seeds:
        raise UserError('SEEDS is empty; give whole numbers, like SEEDS="0 1 2"')
    batches = numbers("BATCHES", batches_text, at_least=1)
    cores, gpus = environment.usable_cores(), torch.cuda.device_count() if world.resolve_device(cfg) == "cuda" else 0
    sizes = numbers("WORLD_SIZES", sizes_text, at_least=1) or [default_world_size(cores, gpus, cfg.global_batch)]
    if not any(flag.startswith("--global-batch") for flag in flags):
        cfg = replace(cfg, global_batch=nearest_multiple(cfg.global_batch, math.lcm(*sizes)))
    for batch in batches or [cfg.global_batch]:
        for size in sizes:
            world.check(replace(cfg, global_batch=batch), size, size)
    require_writable(cfg.results)
    for seed in seeds:
        replace(cfg, seed=seed)  # refuses what a run would refuse
    if cfg.dataset != "synthetic":
        fetch.ensure(cfg.dataset, cfg.data_dir)
    begin = time.perf_counter()
    images = data.load(replace(cfg, global_batch=max(batches or [cfg.global_batch])))
    start_s += time.perf_counter() - begin
    num_train, num_test = len(images.train.labels), len(images.test.labels)
    best = world.resolve_comm(cfg, one_machine=True)
    # A study shows what the sockets of torch's own choice cost beside shared memory; a sweep would take twice as long.
    arms = study_arms(sizes, cores, gpus, ["gloo", best] if best == "shm" and not batches else [best])
    if cfg.precision == "bf16":  # nn.DataParallel's threads forget the type of autocast
        arms = [arm for arm in arms if arm.kind != "data_parallel"]
    if batches:
        pairs = [(arm, batch) for batch in batches for arm in arms if not arm.is_control]
        jobs = [timed(arm, batch, cfg, num_train) for arm, batch in pairs]
    else:
        jobs = [Job(arm, cfg.global_batch, None, cfg.epochs) for arm in arms]
        jobs += [timed(arm, batch, cfg, num_train) for arm, batch in controls(arms, cfg.global_batch, num_train)]
    lines = [line_of(job, seed) for seed, job in interleave(jobs, seeds)]
    total_s = len(seeds) * sum(run_s(job, cfg, start_s, num_train, num_test) for job in jobs)
    command = unfinished.command_of(seeds_text, sizes_text, batches_text, flags)
    folder = Path(folder_text) if folder_text else unfinished.newest(cfg.results, command) if cfg.resume else None
    name = unfinished.CHECK if folder_text else unfinished.PLAN
    done = 0
    if folder is not None and cfg.resume and (folder / name).exists():
        lines, done = unfinished.left(folder / name)
    else:
        folder = folder or new_folder(cfg.results)
        unfinished.keep(folder / name, command, lines)

    if not folder_text:
        say(progress.headline(environment.describe()))
        at = "timed" if batches else f"global batch {cfg.global_batch}, {plural(cfg.epochs, 'epoch')}"
        where = f"{cfg.dataset} ({num_train:,} / {num_test:,}), {cfg.model}"
        say(f"{where}, {at}, seeds {' '.join(map(str, seeds))}")
    say(f"plan: {' | '.join(dict.fromkeys(job.arm.label for job in jobs))}")
    if batches:
        say(f"at global batch {' '.join(map(str, batches))}")
    elif any(job.steps for job in jobs):
        say(f"controls, short: {' | '.join(job.label.removesuffix(', timed') for job in jobs if job.steps)}")
    if not gpus and max(sizes) > cores:
        say(f"caution: {max(sizes)} ranks take turns on {plural(cores, 'core')}; use WORLD_SIZES of at most {cores}")
    if done:
        say(f"going on with {folder}: {plural(done, 'run')} of {done + len(lines)} complete")
    if lines:
        say(f"{plural(len(lines), 'run')}, about {minutes(total_s * len(lines) / (done + len(lines)))}")
    print(folder, *lines, sep="\n")


def line_of(job: Job, seed: int) -> str:
    """Return what launch.sh reads of a run."""
    arm = job.arm
    parts = (arm.kind, arm.world_size, arm.threads_per_rank, job.flags(seed), f"{job.label}, seed {seed}")
    return "\t".join(map(str, parts))


def numbers(name: str, text: str, *, at_least: int) -> list[int]:
    """Read a variable that holds whole numbers. Raises UserError naming it."""
    try:
        values = [int(word) for word in text.split()]
    except ValueError:
        values = [at_least - 1]
    if any(value < at_least for value in values):
        raise UserError(f'{name}="{text}" must be whole numbers from {at_least} up, like {name}="2 4"')
    return list(dict.fromkeys(values))


def default_world_size(cores: int, gpus: int, global_batch: int) -> int:
    """Return the number of GPUs, or at most four ranks that share the cores out evenly and divide the batch."""
    if gpus:
        return gpus
    sizes = [size for size in range(1, min(cores, MAX_DEFAULT_RANKS) + 1) if global_batch % size == 0]
    return max((size for size in sizes if size > 1), key=lambda size: (size * (cores // size), size), default=1)


def nearest_multiple(value: int, of: int) -> int:
    """Return the multiple of `of`, at least `of`, that is nearest to `value`."""
    return max(1, round(value / of)) * of


def study_arms(sizes: Sequence[int], cores: int, gpus: int, comms: Sequence[Comm]) -> list[Arm]:
    """Return the arms of a study: single processes, nn.DataParallel where there are GPUs, DDP and its control.

    `comms` are the ways to combine gradients, the one that is expected to be fastest last.
    """
    per_rank = [max(1, cores // size) for size in sizes]
    # On CPUs one worker's threads, so that efficiency is measured, and every core, so that the reference is fair.
    # Physical cores too: a second thread on a core often slows one process down.
    threads = per_rank[:1] if gpus else sorted({1, cores, min(cores, environment.physical_cores()), *per_rank})
    arms = [Arm("baseline", 1, count, None) for count in threads]
    if gpus:
        arms.append(Arm("data_parallel", 1, threads[0], None))
    for size, count in zip(sizes, per_rank, strict=True):
        if size == 1:
            arms.append(Arm("ddp", 1, count, comms[-1]))
        else:
            arms += [Arm("ddp", size, count, comm) for comm in (*comms, "none")]
    return arms


def controls(arms: Sequence[Arm], global_batch: int, num_train: int) -> list[tuple[Arm, int]]:
    """Return the short runs, each an arm at a batch size, that explain the ddp arms of a study.

    One worker at the rank batch says what smaller batches cost. The ddp arm at its world size times the batch is weak
    scaling, and the single process with the most threads beside it says whether a larger batch would pay.
    """
    most_threads = max((arm for arm in arms if arm.kind == "baseline"), key=lambda arm: arm.threads_per_rank)
    fastest = next((arm.comm for arm in reversed(arms) if arm.kind == "ddp" and not arm.is_control), None)
    wanted = []
    for arm in arms:
        if arm.kind == "ddp" and arm.world_size > 1 and arm.comm == fastest:
            wanted.append((Arm("baseline", 1, arm.threads_per_rank, None), global_batch // arm.world_size))
            if global_batch * arm.world_size <= num_train:
                wanted.append((arm, global_batch * arm.world_size))
                wanted.append((most_threads, global_batch * arm.world_size))
    return list(dict.fromkeys(wanted))


def timed(arm: Arm, global_batch: int, cfg: TrainConfig, num_train: int) -> Job:
    """Return a short run: long enough to be timed, at most a few passes over the data."""
    step_s = estimate.step_s(arm, replace(cfg, global_batch=global_batch))
    whole_pass = num_train // global_batch
    steps = min(whole_pass, max(1, math.ceil(TIMED_EPOCH_S / step_s)))
    return Job(arm, global_batch, steps, min(TIMED_EPOCHS, 1 + math.ceil(TIMED_EPOCH_S / (steps * step_s))))


def run_s(job: Job, cfg: TrainConfig, start_s: float, num_train: int, num_test: int) -> float:
    """Estimate the seconds of one run of a job."""
    steps = job.steps or num_train // job.global_batch
    told = replace(cfg, global_batch=job.global_batch, epochs=job.epochs)
    return estimate.run_s(job.arm, told, steps, start_s, num_test)


def interleave(jobs: Sequence[Job], seeds: Sequence[int]) -> list[tuple[int, Job]]:
    """Return every job once per seed; each seed begins one job later, so that no arm always goes first."""
    return [(seed, jobs[(turn + k) % len(jobs)]) for turn, seed in enumerate(seeds) for k in range(len(jobs))]


def new_folder(results: Path) -> Path:
    """Make the folder of this study, one that no earlier study has."""
    name, again = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}", 1
    folder = results / name
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            again += 1
            folder = results / f"{name}-{again}"


def minutes(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 4 min."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def say(line: str) -> None:
    """Say a line to the person."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    errors.run(main, name="launch.sh")
