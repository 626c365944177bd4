"""What would run: the design of a study, once it is known what there is to train on."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path

from ddpbench import __version__, environment
from ddpbench.arm import Arm, plural, runs
from ddpbench.questions import Machine
from ddpbench.record import Comm
from ddpbench.study import commands, designs, forecast, plan
from ddpbench.study.forecast import Forecast
from ddpbench.study.inquiry import Inquiry
from ddpbench.study.options import Asked
from ddpbench.study.plan import Job, Plan, Request


@dataclass(frozen=True)
class Draft:
    """What would run, before there is a folder."""

    plan: Plan
    machine: Machine
    estimates_s: dict[Job, float]

    @classmethod
    def of(cls, asked: Asked, inquiry: Inquiry) -> "Draft":
        """Ask what there is, and design the study. Raises UserError for what no run could do."""
        cfg, batches = asked.train, asked.batches
        machine = inquiry.describe(replace(cfg, global_batch=max(batches)) if batches else cfg)
        cores = environment.usable_cores()
        sizes = asked.world_sizes or [designs.default_world_size(cores, machine.gpus, cfg.global_batch)]
        if not asked.has_batch:
            cfg = replace(cfg, global_batch=designs.nearest_multiple(cfg.global_batch, lcm(*sizes)))
        for batch in batches or [cfg.global_batch]:
            for size in sizes:
                inquiry.check(replace(cfg, global_batch=batch), size)

        def step_s(arm: Arm, batch: int) -> float:
            return inquiry.step_s(cfg, arm, batch, machine)

        # A study shows what the sockets of torch's own choice cost beside shared memory; a sweep has no time for it.
        comms: list[Comm] = ["gloo", "shm"] if machine.comm == "shm" and not batches else [machine.comm]
        arms = designs.arms(sizes, cores, environment.physical_cores(), machine.gpus, comms)
        if cfg.precision == "bf16":  # nn.DataParallel's threads forget the type of autocast
            arms = [arm for arm in arms if arm.kind != "data_parallel"]
        if batches:
            jobs = designs.sweep(arms, batches, step_s, machine.num_train)
        else:
            jobs = designs.comparison(arms, cfg.global_batch, cfg.epochs, step_s, machine.num_train)
        request = Request(
            design=asked.design,
            seeds=asked.seeds,
            world_sizes=sizes,
            batches=batches,
            settings=cfg.settings(machine.device),
            injected=cfg.inject,
        )
        whole = Plan(request=request, jobs=designs.interleave(jobs, asked.seeds))
        return cls(whole, machine, {job: forecast.run_s(job, step_s, machine) for job in whole.jobs})


def introduction(whole: Plan, machine: Machine) -> Iterator[str]:
    """Yield what is said of a study before it runs."""
    request, described = whole.request, machine.environment
    settings = request.settings
    gpus = f"GPUs available: {len(described.gpu_models)}"
    yield f"ddpbench {__version__}, torch {described.torch}, {plural(described.cores, 'CPU core')}, {gpus}"
    at = "timed" if request.batches else f"global batch {settings.global_batch}, {plural(settings.epochs, 'epoch')}"
    data = f"{settings.dataset} ({machine.num_train:,} / {machine.num_test:,})"
    seeds = f"seed{'s' if len(request.seeds) > 1 else ''} {' '.join(map(str, request.seeds))}"
    yield f"{data}, {settings.model} ({machine.parameters:,} parameters), {at}, {seeds}"
    yield f"plan: {' | '.join(dict.fromkeys(job.arm.label for job in whole.jobs))}"
    if request.batches:
        yield f"at global batch {' '.join(map(str, request.batches))}"
    elif controls := [job for job in whole.jobs if job.steps is not None]:
        names = dict.fromkeys(f"{job.arm.label}, batch {job.global_batch}" for job in controls)
        yield f"short controls, whose accuracy does not count: {' | '.join(names)}"
    if not machine.gpus and max(request.world_sizes) > described.cores:
        most = max(request.world_sizes)
        cure = f"use --world-sizes of at most {described.cores}"
        yield f"caution: {most} ranks take turns on {plural(described.cores, 'core')}; {cure}"


def print_plan(draft: Draft, asked: Asked, found: tuple[Path, Plan] | None = None) -> None:
    """Print what would run, for how long, and the commands to paste. `found` is the study to go on with."""
    folder, whole = found or (asked.train.results, draft.plan)
    todo = whole.left(plan.records_in(folder) if found else [])
    cast = Forecast({job: estimate_of(job, draft) for job in whole.jobs})
    for line in introduction(whole, draft.machine):
        print(line)
    left_s = cast.left_s([job for job, _ in todo])
    print(f"{runs(len(todo))}, about {forecast.minutes(left_s)}. By hand, in this order:")
    for job, has_begun in todo:
        command = commands.by_hand(job, asked, folder, resume=has_begun)
        print(f"  {shlex.join(command)}  # about {forecast.minutes(cast.job_s(job))}")
    print(f"  {shlex.join(['python', 'compare.py', str(folder)])}")


def estimate_of(job: Job, draft: Draft) -> float:
    """Return the first estimate of a job; one of an earlier plan may have other steps than this draft's."""
    alike = [
        s for other, s in draft.estimates_s.items() if (other.arm, other.global_batch) == (job.arm, job.global_batch)
    ]
    return alike[0] if alike else sum(draft.estimates_s.values()) / len(draft.estimates_s)
