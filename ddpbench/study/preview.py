"""What is said of a study before it runs, and what --plan prints instead of running it."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ddpbench import __version__
from ddpbench.arm import plural, runs
from ddpbench.study import commands
from ddpbench.study.draft import Draft
from ddpbench.study.forecast import Forecast, minutes
from ddpbench.study.plan import Pending


def introduction(draft: Draft) -> Iterator[str]:
    """Yield the lines that describe a study: the machine, the data, the arms and the controls."""
    machine, request, jobs = draft.machine, draft.plan.request, draft.plan.jobs
    settings, cores = request.settings, machine.environment.cores
    gpus = f"GPUs available: {len(machine.environment.gpu_models)}"
    yield f"ddpbench {__version__}, torch {machine.environment.torch}, {plural(cores, 'CPU core')}, {gpus}"
    length = "timed" if request.batches else f"global batch {settings.global_batch}, {plural(settings.epochs, 'epoch')}"
    data = f"{settings.dataset} ({machine.num_train:,} / {machine.num_test:,})"
    seeds = f"seed{'s' if len(request.seeds) > 1 else ''} {' '.join(map(str, request.seeds))}"
    yield f"{data}, {settings.model} ({machine.parameters:,} parameters), {length}, {seeds}"
    yield f"plan: {' | '.join(dict.fromkeys(job.arm.label for job in jobs))}"
    if request.batches:
        yield f"at global batch {' '.join(map(str, request.batches))}"
    elif controls := [job for job in jobs if job.steps is not None]:
        names = dict.fromkeys(f"{job.arm.label}, batch {job.global_batch}" for job in controls)
        yield f"short controls, whose accuracy does not count: {' | '.join(names)}"
    most_ranks = max(request.world_sizes)
    if not machine.gpus and most_ranks > cores:
        cure = f"use --world-sizes of at most {cores}"
        yield f"caution: {most_ranks} ranks take turns on {plural(cores, 'core')}; {cure}"


def outlook(draft: Draft, pending: Sequence[Pending], folder: Path, logs: Path) -> Iterator[str]:
    """Yield the lines that say what is left of a study, how long it takes, and where its output goes."""
    total = len(draft.plan.jobs)
    done = total - len(pending)
    if done or any(each.has_begun for each in pending):
        yield f"going on with {folder}: {runs(done)} of {total} complete"
    if pending:
        yield f"{_amount(draft, pending)}; Ctrl-C is safe, and --resume goes on; all output is in {logs}"


def print_plan(draft: Draft) -> None:
    """Print what would run, for how long, and the commands to paste."""
    folder, pending = draft.folder or draft.options.train.results, draft.pending()
    for line in introduction(draft):
        print(line)
    print(f"{_amount(draft, pending)}. By hand, in this order:")
    for job, has_begun in pending:
        command = commands.by_hand(job, draft.options, folder, resume=has_begun)
        print(f"  {shlex.join(command)}  # about {minutes(draft.estimates_s[job])}")
    print(f"  {shlex.join(['python', 'compare.py', str(folder)])}")


def _amount(draft: Draft, pending: Sequence[Pending]) -> str:
    left_s = Forecast(draft.estimates_s).left_s([job for job, _ in pending])
    return f"{runs(len(pending))}, about {minutes(left_s)}"
