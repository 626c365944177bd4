"""What a reader must know before believing a study, each with what to do about it."""

from collections.abc import Sequence
from statistics import median

from ddpbench.arm import arm_of, plural
from ddpbench.judge.arms import ArmResult, counts_warm_up, run_epoch_s
from ddpbench.judge.breakdown import Breakdown
from ddpbench.judge.study import Study
from ddpbench.judge.sweep import Sweep
from ddpbench.record import Record

FEW_RUNS = 3
SPREAD = 0.10  # one standard deviation of runs over their mean
STRANGE = 0.15  # one run from the median of its arm
DRIFT = 0.10  # last run of an arm against its first
DISAGREEMENT = 0.15  # exposed communication, by difference against timers inside


def find(
    study: Study, results: Sequence[ArmResult], breakdowns: Sequence[Breakdown], sweep: Sweep | None = None
) -> list[str]:
    """Return every caution that this study deserves."""
    at_points = [result for point in sweep.points for result in point.results] if sweep else []
    return [
        *_few_runs([*results, *at_points]),
        *(said for result in results for said in _unsteady(result)),
        *_unsteady_points(at_points),
        *_machine(study),
        *_stood_still(study.all_runs),
        *_cold(study.records),
        *_target(study.records),
        *(said for each in breakdowns for said in _disagreement(each)),
    ]


def _few_runs(results: Sequence[ArmResult]) -> list[str]:
    fewest = min((len(result.runs) for result in results), default=FEW_RUNS)
    if fewest >= FEW_RUNS:
        return []
    return [f"an arm has only {plural(fewest, 'run')}: for a usable interval run three seeds or more"]


def _unsteady(result: ArmResult) -> list[str]:
    """Say what is strange about the runs of one arm: spread, a run apart, drift. All of them stay in the figures."""
    label, times = result.arm.label, [run_epoch_s(run) for run in result.runs]
    said = []
    if result.epoch_sd_s and result.epoch_sd_s > SPREAD * result.epoch_s.value:
        spread = f"{result.epoch_sd_s / result.epoch_s.value:.0%}"
        said.append(f"{label}: epoch times vary by {spread}; run on a quiet machine, or more seeds")
    middle = median(times)
    for run, time_s in zip(result.runs, times, strict=True):
        if len(times) >= FEW_RUNS and abs(time_s / middle - 1) > STRANGE:
            apart = f"{time_s:.2f} s an epoch against {middle:.2f} s"
            said.append(f"{label}, seed {run.seed}: {apart} of the others; it is counted: run that seed again to see")
    if len(times) >= FEW_RUNS and not said and abs(times[-1] / times[0] - 1) > DRIFT:
        drift = f"{times[-1] / times[0] - 1:+.0%} from its first to its last run"
        said.append(f"{label}: {drift}; the machine warmed up or changed: let it settle, then run again")
    return said


def _unsteady_points(at_points: Sequence[ArmResult]) -> list[str]:
    """Say in one line which batches of a sweep varied; each stays in its figures."""
    varied = [each for each in at_points if each.epoch_sd_s and each.epoch_sd_s > SPREAD * each.epoch_s.value]
    if not varied:
        return []
    batches = sorted({each.runs[0].settings.global_batch for each in varied})
    spread = max(each.epoch_sd_s / each.epoch_s.value for each in varied if each.epoch_sd_s)
    where = f"at global batch {', '.join(map(str, batches))}"
    return [f"times vary by up to {spread:.0%} {where}; run on a quiet machine, or more seeds"]


def _machine(study: Study) -> list[str]:
    runs = study.all_runs
    first = runs[0].environment
    said = []
    if first.load_1m > 0.5 * first.cores:
        said.append(f"the machine was busy before the first run (load {first.load_1m:.1f}); end other programs")
    said += [
        f"{label}: {threads} threads on {plural(first.cores, 'core')}; ranks take turns: use fewer"
        for label, threads in dict.fromkeys(map(_threads, runs))
        if runs[0].settings.device == "cpu" and threads > first.cores
    ]
    said += [
        f"{arm_of(run).label}, seed {run.seed}: took {run.attempts} attempts; only epochs of one attempt are timed"
        for run in runs
        if run.attempts > 1
    ]
    commits = sorted({run.environment.commit for run in runs if run.environment.commit})
    if len(commits) > 1:
        said.append(f"runs are of different commits ({', '.join(commits)}); run the study again in one go")
    elif commits and commits[0].endswith("-dirty"):
        said.append(f"the code differed from commit {commits[0].removesuffix('-dirty')}; commit, then run again")
    return said


def _stood_still(runs: Sequence[Record]) -> list[str]:
    """Name the epochs in which a run was stopped for a while."""
    said = []
    for run in runs:
        epochs = [str(epoch.epoch) for epoch in run.epochs if epoch.suspended]
        if epochs:
            which = (
                f"epoch {epochs[0]}; that epoch is" if len(epochs) == 1 else f"epochs {', '.join(epochs)}; those are"
            )
            said.append(f"{arm_of(run).label}, seed {run.seed}: stood still for a while in {which} not timed")
    return said


def _cold(runs: Sequence[Record]) -> list[str]:
    """Name the runs whose first epoch had to count, where other runs leave theirs out as warm-up."""
    cold = [run for run in runs if counts_warm_up(run)]
    if len(cold) == len(runs):
        return []
    return [
        f"{arm_of(run).label}, seed {run.seed}: only its first epoch is timed, warm-up and all, and other runs leave "
        "theirs out; give it more epochs, or run it again"
        for run in cold
    ]


def _target(runs: Sequence[Record]) -> list[str]:
    """Say what an accuracy means where training ends as soon as one is reached, and which runs did not reach it."""
    if not runs or runs[0].settings.target_accuracy is None:
        return []
    target = f"{100 * runs[0].settings.target_accuracy:g}%"
    missed = [
        f"{arm_of(run).label}, seed {run.seed}: did not reach {target} in {plural(len(run.epochs), 'epoch')}; "
        "train longer, or ask for less"
        for run in runs
        if run.target is None and not arm_of(run).is_control
    ]
    return [f"runs end once they reach {target}: their accuracy is that of the moment, and no limit", *missed]


def _threads(run: Record) -> tuple[str, int]:
    label = f"{plural(run.world_size, 'rank')} of {plural(run.threads_per_rank, 'thread')}"
    return label, run.world_size * run.threads_per_rank


def _disagreement(each: Breakdown) -> list[str]:
    by_difference = each["exposed_communication"]
    if by_difference is None or each.in_run is None or by_difference.value <= 0.02 * each.observed.value:
        return []
    apart = each.in_run.value / by_difference.value - 1
    if abs(apart) <= DISAGREEMENT:
        return []
    figures = f"{by_difference.value:.2f} s an epoch by difference, {each.in_run.value:.2f} s by timers inside"
    why = "computing was slower, or the machine was, in those runs" if apart < 0 else "the control was slow"
    return [f"{each.arm.label}: exposed communication is {figures}: {why}; more seeds tell"]
