"""What is said of a study before it begins, and what --plan prints instead of carrying it out."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from ddpbench import __version__
from ddpbench.arm import plural, runs
from ddpbench.command import COMPARE
from ddpbench.record import Record
from ddpbench.study import commands, designs, folders, forecast
from ddpbench.study.draft import Draft
from ddpbench.study.forecast import minutes
from ddpbench.study.plan import Pending
from ddpbench.turns import FIRST_LOOK, TurnArm


def describe(draft: Draft, folder: Path) -> Iterator[str]:
    """Yield the lines that say what a study is, what is there of it in its folder, and how long the rest takes."""
    yield from _introduction(draft)
    yield from _outlook(draft, folders.records_in(folder), folder)


def print_plan(draft: Draft) -> None:
    """Print the arms of a launch, what is left and how long it takes, and the commands of the whole runs to paste."""
    folder, plan = draft.folder or draft.options.train.results, draft.plan
    records = [] if draft.folder is None else folders.records_in(draft.folder)
    for line in (*_introduction(draft), *_outlook(draft, records, folder)):
        print(line)
    if plan.request.design != "comparison":
        return
    chosen = "The launches have chosen" if plan.jobs else "The launches choose, and these are probably"
    print(f"{chosen} the arms of these runs. By hand, in this order:")
    for job, has_begun in _runs_to_come(draft, records):
        print(f"  {shlex.join(commands.by_hand(job, draft.options, folder, resume=has_begun))}")
    print(f"  {shlex.join([*COMPARE.split(), str(folder)])}")


def _introduction(draft: Draft) -> Iterator[str]:
    """Yield the lines that describe a study: the machine, the data, and the arms."""
    machine, request = draft.machine, draft.plan.request
    settings, cores = request.settings, machine.environment.cores
    gpus = f"GPUs available: {len(machine.environment.gpu_models)}"
    hosts = f" on the first of {draft.options.hosts} hosts" if draft.options.hosts > 1 else ""
    yield f"ddpbench {__version__}, torch {machine.environment.torch}, {plural(cores, 'CPU core')}{hosts}, {gpus}"
    what = [f"{settings.dataset} ({machine.num_train:,} / {machine.num_test:,})"]
    what += [f"{settings.model} ({machine.parameters:,} parameters)"]
    what += [f"global batch {' '.join(map(str, draft.plan.batches))}"]
    if request.seeds:
        seeds = " ".join(map(str, draft.plan.seeds))
        what += [plural(settings.epochs, "epoch"), f"seed{'s' if len(draft.plan.seeds) > 1 else ''} {seeds}"]
    yield ", ".join(what)
    if settings.readers is not None:
        yield _said_of_readers(settings.readers, cores)
    yield f"arms that take turns: {' | '.join(_names(draft.plan.turns, draft.plan.batches))}"
    most_ranks = max([*request.world_sizes, *(layout.ranks for layout in request.layouts)])
    if not machine.gpus and most_ranks > cores:
        cure = f"use --world-sizes of at most {cores}"
        yield f"caution: {most_ranks} ranks take turns on {plural(cores, 'core')}; {cure}"


def _said_of_readers(readers: int, cores: int) -> str:
    """Return how many processes read data: arms of equally many threads, over all ranks, have equally many."""
    if readers == 0:
        return "data is read while training, by the processes that train (--readers 0)"
    each = "1 process" if readers == 1 else f"{readers} processes"
    shared = f"{readers * cores} beside {cores} threads"
    return f"data is read while training, by {each} for each thread: {shared} (--readers)"


def _outlook(draft: Draft, records: Sequence[Record], folder: Path) -> Iterator[str]:
    """Yield the lines that say what is there of a study, what is left, and how long that takes."""
    plan, options = draft.plan, draft.options
    pending, to_come = plan.pending(records), len(_runs_to_come(draft, records))
    if draft.launches:
        done = f", {runs(len(plan.jobs) - len(pending))} of {len(plan.jobs)} complete" if plan.jobs else ""
        count = len(draft.launches)
        yield f"going on with {folder}: {count} {'launch' if count == 1 else 'launches'}{done}"
    if plan.is_measured and not options.is_more:
        if to_come:
            yield f"learning: {runs(to_come)} left"
        return
    least_s = FIRST_LOOK * forecast.launch_s(60 * options.minutes, draft.machine)
    if least_s < 60 * options.minutes:
        span = f"{minutes(least_s)} to {options.minutes:g} min"
        yield f"speed: {span}, until +- {100 * options.within:g} % or the time is over (--within, --minutes)"
    else:
        yield f"speed: about {minutes(least_s)}: {FIRST_LOOK} launches, the fewest, take longer than --minutes"
    if to_come:
        yield f"learning: then {to_come} whole runs; their time is estimated after the first launch"


def _runs_to_come(draft: Draft, records: Sequence[Record]) -> list[Pending]:
    """Return the whole runs that are left, of the arms that were chosen or else of those that probably will be."""
    plan, is_more = draft.plan, draft.options.is_more
    if plan.request.design != "comparison":
        return []
    arms = list(dict.fromkeys(job.arm for job in plan.jobs)) or designs.expected_arms(plan.turns)
    jobs = designs.interleave(arms, designs.more_seeds(plan.seeds) if is_more else plan.seeds)
    return replace(plan, jobs=jobs).pending(records)


def _names(turns: Sequence[TurnArm], batches: Sequence[int]) -> list[str]:
    """Return the names of arms, with the batch where it is not one of the study's own."""
    names = [turn.label + ("" if turn.global_batch in batches else f", batch {turn.global_batch}") for turn in turns]
    return list(dict.fromkeys(names))
