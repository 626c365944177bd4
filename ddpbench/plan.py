"""What `bash launch.sh` will do: checked, listed, and how long it will take, before anything is started.

Speaks to the person on stderr and to launch.sh on stdout: the study's folder, the global batch, then a line
per run: seed, kind, ranks, threads per rank, comm, and the arm's name.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from ddpbench import config, data, engine, environment, errors, fetch, models, optim, progress, world
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.files import require_writable
from ddpbench.record import Arm, Comm, plural

MAX_DEFAULT_RANKS = 4
ARM_FLAGS = dict.fromkeys(("threads", "comm", "data_parallel"), "is set by launch.sh for each arm")
ARM_FLAGS["seed"] = 'is set by launch.sh for each run; use SEEDS="0 1 2"'
# For the estimate only: one gradient exchange between processes of one host (gloo on two cores: 3 ms).
COMM_STEP_S = 0.003
PROBE_STEPS = 8


def main() -> None:
    """Check everything, say the plan, and hand it to launch.sh."""
    start_s = environment.alive_s(with_parent=False)  # what every run pays before it can load its data
    seeds_text, sizes_text, *flags = sys.argv[1:]
    cfg = config.parse(flags, doc="Flags that reach both training scripts.", refuse=ARM_FLAGS)
    seeds = numbers("SEEDS", seeds_text, at_least=0)
    if not seeds:
        raise UserError('SEEDS is empty; give whole numbers, like SEEDS="0 1 2"')
    cores, gpus = environment.usable_cores(), torch.cuda.device_count() if world.resolve_device(cfg) == "cuda" else 0
    sizes = numbers("WORLD_SIZES", sizes_text, at_least=1) or [default_world_size(cores, gpus, cfg.global_batch)]
    if not any(flag.startswith("--global-batch") for flag in flags):
        cfg = replace(cfg, global_batch=nearest_multiple(cfg.global_batch, math.lcm(*sizes)))
    for size in sizes:
        world.check(cfg, size, size)
    require_writable(cfg.results)
    for seed in seeds:
        replace(cfg, seed=seed)  # refuses what a run would refuse
    if cfg.dataset != "synthetic":
        fetch.ensure(cfg.dataset, cfg.data_dir)
    begin = time.perf_counter()
    images = data.load(cfg)
    start_s += time.perf_counter() - begin
    arms = study_arms(sizes, cores, gpus, world.resolve_comm(cfg))
    if cfg.precision == "bf16":  # nn.DataParallel's threads forget the type of autocast
        arms = [arm for arm in arms if arm.kind != "data_parallel"]
    runs = interleave(arms, seeds)
    folder = new_folder(cfg.results)

    say(progress.headline(environment.describe()))
    say(
        f"{cfg.dataset} ({len(images.train.labels):,} / {len(images.test.labels):,}), {cfg.model}, "
        f"global batch {cfg.global_batch}, {plural(cfg.epochs, 'epoch')}, seeds {' '.join(map(str, seeds))}"
    )
    say(f"plan: {' | '.join(arm.label for arm in arms)}")
    if not gpus and max(sizes) > cores:
        say(f"caution: {max(sizes)} ranks take turns on {plural(cores, 'core')}; use WORLD_SIZES of at most {cores}")
    sizes_of_data = len(images.train.labels), len(images.test.labels)
    total_s = len(seeds) * sum(estimate_s(arm, cfg, start_s, *sizes_of_data) for arm in arms)
    say(f"{plural(len(runs), 'run')}, about {minutes(total_s)}")
    print(folder)
    print(cfg.global_batch)
    for seed, arm in runs:
        print(seed, arm.kind, arm.world_size, arm.threads_per_rank, arm.comm or "-", arm.label)


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


def study_arms(sizes: Sequence[int], cores: int, gpus: int, comm: Comm) -> list[Arm]:
    """Return the arms of a study: single processes, nn.DataParallel where there are GPUs, DDP and its control."""
    per_rank = [max(1, cores // size) for size in sizes]
    # On CPUs one worker's threads, so that efficiency is measured, and every core, so that the reference is fair.
    # Physical cores too: a second thread on a core often slows one process down.
    threads = per_rank[:1] if gpus else sorted({1, cores, min(cores, environment.physical_cores()), *per_rank})
    arms = [Arm("baseline", 1, count, None) for count in threads]
    if gpus:
        arms.append(Arm("data_parallel", 1, threads[0], None))
    for size, count in zip(sizes, per_rank, strict=True):
        arms.append(Arm("ddp", size, count, comm))
        if size > 1:
            arms.append(Arm("ddp", size, count, "none"))
    return arms


def interleave(arms: Sequence[Arm], seeds: Sequence[int]) -> list[tuple[int, Arm]]:
    """Return every arm once per seed; each seed begins one arm later, so that no arm always goes first."""
    return [(seed, arms[(turn + k) % len(arms)]) for turn, seed in enumerate(seeds) for k in range(len(arms))]


def estimate_s(arm: Arm, cfg: TrainConfig, start_s: float, num_train: int, num_test: int) -> float:
    """Estimate one run's seconds, from a few timed steps of one rank's work in this process."""
    device = torch.device(world.resolve_device(cfg))
    torch.set_num_threads(arm.threads_per_rank)
    step_s = probe_step_s(cfg, config.rank_batch(cfg.global_batch, arm.world_size), device)
    if arm.world_size > 1 and not arm.is_control:
        step_s += COMM_STEP_S
    test_s = step_s / 3 * num_test / cfg.global_batch  # forward only
    starts = 2 if arm.kind == "ddp" else 1  # torchrun imports torch, and then each rank does
    return starts * start_s + cfg.epochs * (step_s * (num_train // cfg.global_batch) + test_s)


def probe_step_s(cfg: TrainConfig, batch: int, device: torch.device) -> float:
    """Time a training step on random images: the median of a few, after as many to warm up."""
    net = models.build(cfg).to(device)
    optimizer = optim.build_optimizer(net, cfg)
    images = torch.rand(batch, 1, 28, 28, device=device, dtype=models.dtype(cfg))
    labels = torch.randint(10, (batch,), device=device)
    steps_s = []
    for _ in range(2 * PROBE_STEPS):
        begin = time.perf_counter()
        with engine.autocast(cfg, device):
            loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        steps_s.append(time.perf_counter() - begin)
    return sorted(steps_s[PROBE_STEPS:])[PROBE_STEPS // 2]


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
