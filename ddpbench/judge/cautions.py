"""What a reader must know before believing a study. Every caution says what to do about it."""

from collections.abc import Sequence
from statistics import median

from ddpbench.arm import arm_of, plural
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.breakdown import COMMUNICATION, Breakdown
from ddpbench.judge.epochs import counts_warm_up, run_epoch_s
from ddpbench.judge.study import Study, run_label
from ddpbench.judge.sweep import Sweep
from ddpbench.record import Record

MIN_RUNS = 3
MAX_SPREAD = 0.10  # standard deviation of an arm's runs / their mean
MAX_DISTANCE = 0.15  # of one run from the median of its arm, as a share of the median
MAX_DRIFT = 0.10  # between an arm's first and last run, as a share of the first
MAX_DISAGREEMENT = 0.15  # between the two measurements of exposed communication
MIN_COMMUNICATION = 0.02  # share of an epoch below which the two measurements are not compared


def find(
    study: Study, results: Sequence[ArmResult], breakdowns: Sequence[Breakdown], sweep: Sweep | None = None
) -> list[str]:
    """Return every caution that a study deserves, each in one line."""
    at_points = [result for point in sweep.points for result in point.results] if sweep else []
    return [
        *_few_runs([*results, *at_points]),
        *(caution for result in results for caution in _unsteady(result)),
        *_unsteady_points(at_points),
        *_machine(study),
        *_suspended(study.all_runs),
        *_warm_up(study.records),
        *_target(study.records),
        *(caution for each in breakdowns for caution in _disagreement(each)),
    ]


def _few_runs(results: Sequence[ArmResult]) -> list[str]:
    fewest = min((len(result.runs) for result in results), default=MIN_RUNS)
    if fewest >= MIN_RUNS:
        return []
    return [f"an arm has only {plural(fewest, 'run')}: for a usable interval run three seeds or more"]


def _unsteady(result: ArmResult) -> list[str]:
    """Caution about the runs of one arm: their spread, a run far from the others, and drift from first to last."""
    label, times = result.arm.label, [run_epoch_s(run) for run in result.runs]
    cautions = []
    if result.epoch_sd_s and result.epoch_sd_s > MAX_SPREAD * result.epoch_s.value:
        spread = f"{result.epoch_sd_s / result.epoch_s.value:.0%}"
        cautions.append(f"{label}: epoch times vary by {spread}; run on a quiet machine, or more seeds")
    middle = median(times)
    for run, time_s in zip(result.runs, times, strict=True):
        if len(times) >= MIN_RUNS and abs(time_s / middle - 1) > MAX_DISTANCE:
            apart = f"{time_s:.2f} s an epoch against {middle:.2f} s of the others"
            cautions.append(
                f"{run_label(run)}: {apart}; it is counted; to see whether it was chance, run that seed again"
            )
    if len(times) >= MIN_RUNS and not cautions and abs(times[-1] / times[0] - 1) > MAX_DRIFT:
        drift = f"epoch times changed by {times[-1] / times[0] - 1:+.0%} from its first to its last run"
        cautions.append(f"{label}: {drift}; the machine warmed up or changed: let it settle, then run again")
    return cautions


def _unsteady_points(at_points: Sequence[ArmResult]) -> list[str]:
    """Caution, in one line, about the batches of a sweep at which times vary."""
    unsteady = [each for each in at_points if each.epoch_sd_s and each.epoch_sd_s > MAX_SPREAD * each.epoch_s.value]
    if not unsteady:
        return []
    batches = sorted({each.runs[0].settings.global_batch for each in unsteady})
    spread = max(each.epoch_sd_s / each.epoch_s.value for each in unsteady if each.epoch_sd_s)
    where = f"at global batch {', '.join(map(str, batches))}"
    return [f"times vary by up to {spread:.0%} {where}; run on a quiet machine, or more seeds"]


def _machine(study: Study) -> list[str]:
    """Caution about other programs, more threads than cores, restarted runs, and code that changed."""
    runs = study.all_runs
    first = runs[0].environment
    cautions = []
    if first.load_1m > 0.5 * first.cores:
        cautions.append(f"the machine was busy before the first run (load {first.load_1m:.1f}); end other programs")
    cautions += [
        f"{label}: {threads} threads on {plural(first.cores, 'core')}; ranks take turns; use fewer"
        for label, threads in dict.fromkeys(map(_threads, runs))
        if runs[0].settings.device == "cpu" and threads > first.cores
    ]
    cautions += [
        f"{run_label(run)}: took {run.attempts} attempts; epochs with a restart are not timed"
        for run in runs
        if run.attempts > 1
    ]
    commits = sorted({run.environment.commit for run in runs if run.environment.commit})
    if len(commits) > 1:
        cautions.append(f"runs were made from different commits ({', '.join(commits)}); run the study again in one go")
    elif commits and commits[0].endswith("-dirty"):
        cautions.append(f"the code differed from commit {commits[0].removesuffix('-dirty')}; commit, then run again")
    return cautions


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


def _disagreement(breakdown: Breakdown) -> list[str]:
    """Caution if the two measurements of exposed communication disagree."""
    by_difference, in_run = breakdown[COMMUNICATION], breakdown.in_run
    if by_difference is None or in_run is None:
        return []
    if by_difference.value <= MIN_COMMUNICATION * breakdown.observed.value:
        return []
    apart = in_run.value / by_difference.value - 1
    if abs(apart) <= MAX_DISAGREEMENT:
        return []
    figures = f"{by_difference.value:.2f} s an epoch by difference, {in_run.value:.2f} s by timers inside"
    cause = "those runs computed more slowly than the control" if apart < 0 else "the control ran slowly"
    return [f"{breakdown.arm.label}: exposed communication is {figures}, probably because {cause}; run more seeds"]


def _threads(run: Record) -> tuple[str, int]:
    """Return the ranks and threads of a run in words, and all its threads together."""
    label = f"{plural(run.world_size, 'rank')} of {plural(run.threads_per_rank, 'thread')}"
    return label, run.world_size * run.threads_per_rank
