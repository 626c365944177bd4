"""What a reader must know before believing a study. Every caution says what to do about it."""

from collections.abc import Sequence
from statistics import median, stdev

from ddpbench.arm import arm_of, plural
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.epochs import counts_warm_up, run_epoch_s
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.study import Study, findings, run_label
from ddpbench.record import Record
from ddpbench.turns import FIRST_LOOK, Launch

MIN_RUNS = 3
MAX_SPREAD = 0.10  # standard deviation of an arm's runs / their mean
MAX_DISTANCE = 0.15  # of one run from the median of its arm, as a share of the median
MAX_STOLEN = 0.02  # of the CPU time, by the host


def find(judgement: Judgement) -> list[str]:
    """Return every caution that a study deserves, each in one line."""
    study, in_turns = judgement.study, bool(judgement.study.launches)
    return [
        *findings(study.launches),
        *_few_units(judgement),
        *([] if in_turns else (caution for result in judgement.results for caution in _unsteady(result))),
        *_stolen(judgement),
        *_disagreement(judgement),
        *_other_arithmetic(judgement),
        *_machine(study),
        *_not_to_the_bit(study.records),
        *_suspended(study.records),
        *([] if in_turns else _warm_up(study.records)),
        *_target(study.records),
    ]


def _few_units(judgement: Judgement) -> list[str]:
    cautions = []
    launches, runs = len(judgement.study.launches), [len(result.runs) for result in judgement.results if result.runs]
    if 0 < launches < FIRST_LOOK:
        cautions.append(f"speed is from {launches} of at least {FIRST_LOOK} launches; bash launch.sh --more adds some")
    if runs and min(runs) < MIN_RUNS:
        cautions.append(f"an arm has only {plural(min(runs), 'run')}: for a usable interval run three seeds or more")
    return cautions


def _unsteady(result: ArmResult) -> list[str]:
    """Caution about the runs of one arm: their spread, and a run far from the others."""
    times = [run_epoch_s(run) for run in result.runs]
    if len(times) < 2:
        return []
    label, middle = result.arm.label, median(times)
    cautions = []
    deviation = stdev(times)
    if deviation > MAX_SPREAD * middle:
        cautions.append(f"{label}: epoch times vary by {deviation / middle:.0%}; measure in turns: bash launch.sh")
    for run, time_s in zip(result.runs, times, strict=True):
        if len(times) >= MIN_RUNS and abs(time_s / middle - 1) > MAX_DISTANCE:
            far = f"{time_s:.2f} s an epoch against {middle:.2f} s of the others"
            cautions.append(
                f"{run_label(run)}: {far}; it is counted; to see whether it was chance, run that seed again"
            )
    return cautions


def _stolen(judgement: Judgement) -> list[str]:
    found = judgement.comparison.disturbance if judgement.comparison else None
    if found is None or found.stolen_share <= MAX_STOLEN:
        return []
    return [f"the host took {found.stolen_share:.0%} of the CPU time away during the launches; use a quieter machine"]


def _disagreement(judgement: Judgement) -> list[str]:
    """Caution where the speed in whole runs is another one than in turns."""
    found = judgement.comparison.agreement if judgement.comparison else None
    if found is None or found.agrees:
        return []
    figures = f"{found.in_turns.value:.2f} in turns, {found.in_runs.value:.2f} in whole runs"
    return [f"the speeds disagree ({figures}); believe neither before you know why: run the study again"]


def _machine(study: Study) -> list[str]:
    """Caution about other programs, more threads than cores, restarted runs, and code that changed."""
    runs = study.records
    first = (study.launches or runs)[0].environment
    cautions = []
    if not study.launches and first.load_1m > 0.5 * first.cores:  # launches show by themselves what disturbed them
        cautions.append(f"the machine was busy before the first run (load {first.load_1m:.1f}); end other programs")
    shapes = [_threads(run.world_size, run.threads_per_rank) for run in runs]
    shapes += [
        _threads(visits.turn.arm.world_size, visits.turn.arm.threads_per_rank)
        for launch in study.launches
        for visits in launch.visits
    ]
    cautions += [
        f"{label}: {threads} threads on {plural(first.cores, 'core')}; ranks take turns; use fewer"
        for label, threads in dict.fromkeys(shapes)
        if study.newest.settings.device == "cpu" and threads > first.cores
    ]
    cautions += [
        f"{run_label(run)}: took {run.attempts} attempts; epochs with a restart are not timed"
        for run in runs
        if run.attempts > 1
    ]
    measured: list[Record | Launch] = [*runs, *study.launches]
    commits = sorted({each.environment.commit for each in measured if each.environment.commit})
    if len(commits) > 1:
        cautions.append(f"runs were made from different commits ({', '.join(commits)}); run the study again in one go")
    elif commits and commits[0].endswith("-dirty"):
        cautions.append(f"the code differed from commit {commits[0].removesuffix('-dirty')}; commit, then run again")
    return cautions


def _other_arithmetic(judgement: Judgement) -> list[str]:
    """Caution where the arm that the answer is about does not combine gradients as they are."""
    arm = judgement.sweep.arm if judgement.sweep else judgement.parallel.arm if judgement.parallel else None
    if arm is None or arm.is_exact:
        return []
    why = "its gradients are rounded or approximated, so a difference in accuracy is not DDP's fault"
    return [f"{arm.label}: {why}; to see DDP's own, name other --comms"]


def _not_to_the_bit(runs: Sequence[Record]) -> list[str]:
    """Name the runs that were restarted without what their ranks remembered."""
    return [
        f"{run_label(run)}: was restarted, and what powersgd had not sent yet is in no checkpoint; "
        "for the weights of a run in one go, run that seed again"
        for run in runs
        if run.attempts > 1 and not arm_of(run).restarts_exactly
    ]


def _suspended(runs: Sequence[Record]) -> list[str]:
    """Name the epochs during which a run was suspended."""
    cautions = []
    for run in runs:
        epochs = [str(epoch.epoch) for epoch in run.epochs if epoch.suspended]
        if epochs:
            which = f"epoch {epochs[0]}, which is" if len(epochs) == 1 else f"epochs {', '.join(epochs)}, which are"
            cautions.append(f"{run_label(run)}: was suspended for a while in {which} not timed")
    return cautions


def _warm_up(runs: Sequence[Record]) -> list[str]:
    """Name the runs whose first epoch counts, if other runs leave theirs out as warm-up."""
    with_warm_up = [run for run in runs if counts_warm_up(run)]
    if len(with_warm_up) == len(runs):
        return []
    return [
        f"{run_label(run)}: only its first epoch counts, with its warm-up, and other runs leave theirs out; "
        "give it more epochs, or run it again"
        for run in with_warm_up
    ]


def _target(runs: Sequence[Record]) -> list[str]:
    """Say what accuracy means in a study whose runs end at a target, and name the runs that did not reach it."""
    if not runs or runs[0].settings.target_accuracy is None:
        return []
    target = f"{100 * runs[0].settings.target_accuracy:g}%"
    missed = [
        f"{run_label(run)}: did not reach {target} in {plural(len(run.epochs), 'epoch')}; train longer, or ask for less"
        for run in runs
        if run.target is None and not arm_of(run).is_control
    ]
    return [f"runs end when they reach {target}: their accuracy is not the most that they could reach", *missed]


def _threads(world_size: int, threads_per_rank: int) -> tuple[str, int]:
    """Return ranks and threads in words, and all threads together."""
    label = f"{plural(world_size, 'rank')} of {plural(threads_per_rank, 'thread')}"
    return label, world_size * threads_per_rank
