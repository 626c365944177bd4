"""What would be measured: a study's plan and what is there of it, before anything is written."""

from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path

from msgspec import structs

from ddpbench import config, environment
from ddpbench.errors import UserError
from ddpbench.questions import Machine
from ddpbench.study import designs, folders
from ddpbench.study.attempts import RESUMES
from ddpbench.study.designs import Resources
from ddpbench.study.inquiry import Inquiry
from ddpbench.study.layouts import Layout
from ddpbench.study.options import StudyOptions
from ddpbench.study.plan import Plan, Request
from ddpbench.turns import Launch, read_launches


@dataclass(frozen=True)
class Draft:
    """A study that may be carried out or printed."""

    options: StudyOptions  # with the global batch that its ranks can share
    machine: Machine
    plan: Plan
    folder: Path | None  # of the study that --resume or --more goes on with; None for a new study
    launches: list[Launch]  # that are there
    notice: str  # why --resume starts a new study; "" where it does not

    @classmethod
    def make(cls, options: StudyOptions, inquiry: Inquiry) -> "Draft":
        """Design the study, or find the one to go on with. Raises UserError for what cannot be measured."""
        options, plan, machine = _design(options, inquiry)
        results, folder, notice = options.train.results, None, ""
        if options.is_more:
            earlier = folders.find_alike(plan.request, results)
            if earlier is None:
                raise UserError(folders.explain_unlike(plan.request, results))
            folder, plan = earlier
        elif options.train.resume:
            earlier = folders.find_equal(plan.request, results)
            if earlier is None:
                notice = folders.explain_unequal(plan.request, results)
            else:
                folder, plan = earlier
        return cls(options, machine, plan, folder, [] if folder is None else read_launches(folder), notice)

    def goes_on(self, *, is_measured: bool) -> str:
        """Return in words how the user goes on after a stop. `is_measured`: the launches of this command are over.

        Until then --more has added no seeds, and --resume would find nothing left. After that, --more adds others.
        """
        if not self.options.is_more:
            return RESUMES
        if not is_measured:
            return "the same command goes on"
        seeds = self.plan.request.seeds  # --resume looks for a study with the seeds of its own command
        words = "--resume" if seeds == self.options.seeds else f"--resume --seeds {' '.join(map(str, seeds))}"
        return f"the same command with {words} instead of --more goes on"


def _design(options: StudyOptions, inquiry: Inquiry) -> tuple[StudyOptions, Plan, Machine]:
    """Return what is asked for with all that this machine decides, the plan of a new study, and the machine."""
    cfg, batches = options.train, options.batches
    machine = inquiry.describe(structs.replace(cfg, global_batch=max(batches)) if batches else cfg)
    resources = Resources(environment.usable_cores(), environment.physical_cores(), machine.gpus)
    sizes = options.world_sizes or [designs.default_world_size(resources.cores, machine.gpus, cfg.global_batch)]
    layouts = options.layouts or designs.layouts(options.hosts, sizes)
    sizes, across = [each.ranks for each in layouts if each.hosts == 1], [each for each in layouts if each.hosts > 1]
    ranks = list(dict.fromkeys(layout.ranks for layout in layouts))
    everyone = Layout(options.hosts, max(ranks))  # all ranks of a launch check the task together
    if not options.has_batch:
        divisor = lcm(everyone.size, *(layout.size for layout in layouts)) * cfg.accumulate
        cfg = structs.replace(cfg, global_batch=designs.nearest_multiple(cfg.global_batch, divisor))
    for batch in batches or [cfg.global_batch]:
        for size in ranks:
            inquiry.check(structs.replace(cfg, global_batch=batch), size)
        for layout in (*across, everyone) if options.hosts > 1 else ():
            config.part_batch(structs.replace(cfg, global_batch=batch), layout.size)
    wanted = designs.fitting(options.comms, Layout(1, 1)) if options.hosts > 1 else options.comms  # of one host
    for comm in wanted:
        inquiry.check(structs.replace(cfg, comm=comm, global_batch=(batches or [cfg.global_batch])[0]), max(ranks))
    comms = designs.comms(machine.comm, wanted)
    if batches:
        comms = comms[-1:]
        turns = designs.sweep(sizes, resources, comms[0], batches, across)
    else:
        reads, num_train = machine.settings.readers is not None, machine.num_train
        turns = designs.turns(sizes, resources, comms, cfg.global_batch, num_train, reads=reads, across=across)
    if cfg.compile:
        turns = designs.with_compiled(turns)
    if cfg.precision in ("bf16", "fp16") or cfg.sync_batchnorm:  # the threads of nn.DataParallel know none of these
        turns = [turn for turn in turns if turn.arm.kind != "data_parallel"]
    request = Request(
        design=options.design,
        seeds=options.seeds,
        world_sizes=sizes,
        batches=batches,
        comms=comms,
        compile=cfg.compile,
        layouts=across,
        settings=structs.replace(machine.settings, global_batch=cfg.global_batch),
        injected=cfg.injected,
    )
    return replace(options, train=cfg), Plan(request=request, turns=turns), machine
