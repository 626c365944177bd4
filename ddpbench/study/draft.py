"""What would run: a study's plan and its estimates, before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import lcm
from pathlib import Path

from msgspec.structs import replace

from ddpbench import environment
from ddpbench.questions import Machine
from ddpbench.study import designs, folders, forecast
from ddpbench.study.inquiry import Inquiry
from ddpbench.study.options import StudyOptions
from ddpbench.study.plan import Job, Pending, Plan, Request


@dataclass(frozen=True)
class Draft:
    """A study that may be carried out or printed."""

    options: StudyOptions
    machine: Machine
    plan: Plan
    estimates_s: dict[Job, float]  # of every job of the plan
    folder: Path | None  # of the study that --resume goes on with; None for a new study
    notice: str  # why --resume starts a new study; "" where it does not

    @classmethod
    def make(cls, options: StudyOptions, inquiry: Inquiry) -> "Draft":
        """Design the study, or find the one that --resume goes on with. Raises UserError for what no run could do."""
        plan, machine, estimates_s = _design(options, inquiry)
        folder, notice = None, ""
        if options.train.resume:
            earlier = folders.find_equal(plan.request, options.train.results)
            if earlier is None:
                notice = folders.explain_unequal(plan.request, options.train.results)
            else:
                folder, plan = earlier
                estimates_s = {job: _estimate_s(job, estimates_s) for job in plan.jobs}
        return cls(options, machine, plan, estimates_s, folder, notice)

    def pending(self) -> list[Pending]:
        """Return the jobs that are left: of a new study, all."""
        return self.plan.pending([] if self.folder is None else folders.records_in(self.folder))


def _design(options: StudyOptions, inquiry: Inquiry) -> tuple[Plan, Machine, dict[Job, float]]:
    """Return the plan of a new study, what it runs on, and the estimated seconds of every job."""
    cfg, batches = options.train, options.batches
    machine = inquiry.describe(replace(cfg, global_batch=max(batches)) if batches else cfg)
    cores = environment.usable_cores()
    sizes = options.world_sizes or [designs.default_world_size(cores, machine.gpus, cfg.global_batch)]
    if not options.has_batch:
        cfg = replace(cfg, global_batch=designs.nearest_multiple(cfg.global_batch, lcm(*sizes)))
    for batch in batches or [cfg.global_batch]:
        for size in sizes:
            inquiry.check(replace(cfg, global_batch=batch), size)
    comms = designs.comms(machine.comm, is_sweep=bool(batches))
    arms = designs.arms(sizes, cores, environment.physical_cores(), machine.gpus, comms)
    if cfg.precision == "bf16":  # the threads of nn.DataParallel do not inherit autocast
        arms = [arm for arm in arms if arm.kind != "data_parallel"]
    step_s = partial(inquiry.step_s, cfg, machine)
    if batches:
        jobs = designs.sweep(arms, batches, step_s, machine.num_train)
    else:
        jobs = designs.comparison(arms, cfg.global_batch, cfg.epochs, step_s, machine.num_train)
    request = Request(
        design=options.design,
        seeds=options.seeds,
        world_sizes=sizes,
        batches=batches,
        settings=replace(machine.settings, global_batch=cfg.global_batch),
        injected=cfg.injected,
    )
    plan = Plan(request=request, jobs=designs.interleave(jobs, options.seeds))
    return plan, machine, {job: forecast.run_s(job, step_s, machine) for job in plan.jobs}


def _estimate_s(job: Job, estimates_s: Mapping[Job, float]) -> float:
    """Return the estimate of a job of an earlier plan, whose steps may differ from those of a new plan."""
    alike = [s for other, s in estimates_s.items() if (other.arm, other.global_batch) == (job.arm, job.global_batch)]
    return alike[0] if alike else sum(estimates_s.values()) / len(estimates_s)
