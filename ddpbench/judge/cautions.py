"""What a reader must know before believing a study. Every caution says what to do about it."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from statistics import median, stdev

from ddpbench.arm import Arm, arm_of, plural
from ddpbench.command import COMMAND
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.comparison import equal_gradient
from ddpbench.judge.epochs import counts_warm_up, run_epoch_s
from ddpbench.judge.hosts import others
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.study import Study, findings, run_label
from ddpbench.record import Record
from ddpbench.turns import FIRST_LOOK, Launch

MIN_RUNS = 3
MAX_SPREAD = 0.10  # standard deviation of an arm's runs / their mean
MAX_DISTANCE = 0.15  # of one run from the median of its arm, as a share of the median
MAX_STOLEN = 0.02  # of the CPU time, by the host


@dataclass(frozen=True, slots=True)
class Caution:
    """One line that says what is doubtful and what to do about it."""

    text: str
    touches: bool  # the outcome: it may be another one, or mean less, because of this


def find(judgement: Judgement) -> list[str]:
    """Return the text of every caution that a study deserves."""
    return [caution.text for caution in collect(judgement)]


def collect(judgement: Judgement) -> list[Caution]:
    """Return every caution that a study deserves. Those about arms that are not in the answer do not touch it."""
    study, in_turns = judgement.study, bool(judgement.study.launches)
    arms = _arms_of_the_answer(judgement)
    return [
        *_findings(study),
        *_few_units(judgement, arms),
        *([] if in_turns else (caution for result in judgement.results for caution in _unsteady(result, arms))),
        *_stolen(judgement),
        *_disagreement(judgement),
        *_other_arithmetic(judgement),
        *_busy(study),
        *_unlike_hosts(judgement, arms),
        *_threads(study, arms),
        *_restarted(study.records),
        *_code(study),
        *_not_to_the_bit(study.records, arms),
        *_suspended(study.records),
        *([] if in_turns else _warm_up(study.records, arms)),
        *_target(study.records, arms),
    ]


def _arms_of_the_answer(judgement: Judgement) -> set[Arm]:
    """Return the arms that the outcome rests on: of a sweep, the swept one and every single process."""
    if judgement.sweep is not None:
        alone = (turn.arm for turn in judgement.timing.turns if turn.arm.kind == "baseline")
        return {judgement.sweep.arm, *alone}
    return {result.arm for result in (judgement.reference, judgement.parallel) if result is not None}


def _findings(study: Study) -> list[Caution]:
    """Return what the check of the task says. It touches the outcome where workers may compute another gradient."""
    unequal = equal_gradient(study.launches) not in ("exact", None)
    return [Caution(finding, touches=unequal) for finding in findings(study.launches)]


def _few_units(judgement: Judgement, arms: Set[Arm]) -> list[Caution]:
    cautions = []
    launches, runs = len(judgement.study.launches), [result for result in judgement.results if result.runs]
    if 0 < launches < FIRST_LOOK:
        few = f"speed is from {launches} of at least {FIRST_LOOK} launches; {COMMAND} --more adds some"
        cautions.append(Caution(few, touches=True))
    least = min((len(result.runs) for result in runs), default=MIN_RUNS)
    if least < MIN_RUNS:
        few = f"an arm has only {plural(least, 'run')}: for a usable interval run three seeds or more"
        touches = any(len(result.runs) < MIN_RUNS and result.arm in arms for result in runs)
        cautions.append(Caution(few, touches=touches))
    return cautions


def _unsteady(result: ArmResult, arms: Set[Arm]) -> list[Caution]:
    """Caution about the runs of one arm: their spread, and a run far from the others."""
    times = [run_epoch_s(run) for run in result.runs]
    if len(times) < 2:
        return []
    label, middle = result.arm.label, median(times)
    said = []
    deviation = stdev(times)
    if deviation > MAX_SPREAD * middle:
        said.append(f"{label}: epoch times vary by {deviation / middle:.0%}; measure in turns: {COMMAND}")
    for run, time_s in zip(result.runs, times, strict=True):
        if len(times) >= MIN_RUNS and abs(time_s / middle - 1) > MAX_DISTANCE:
            far = f"{time_s:.2f} s an epoch against {middle:.2f} s of the others"
            said.append(f"{run_label(run)}: {far}; it is counted; to see whether it was chance, run that seed again")
    return [Caution(text, touches=result.arm in arms) for text in said]


def _stolen(judgement: Judgement) -> list[Caution]:
    found = judgement.comparison.disturbance if judgement.comparison else None
    if found is None or found.stolen_share <= MAX_STOLEN:
        return []
    taken = f"the host took {found.stolen_share:.0%} of the CPU time away during the launches"
    return [Caution(f"{taken}; use a quieter machine", touches=True)]


def _disagreement(judgement: Judgement) -> list[Caution]:
    """Caution where the speed in whole runs is another one than in turns."""
    found = judgement.comparison.agreement if judgement.comparison else None
    if found is None or found.agrees:
        return []
    figures = f"{found.in_turns.value:.2f} in turns, {found.in_runs.value:.2f} in whole runs"
    advice = "believe neither before you know why: run the study again"
    return [Caution(f"the speeds disagree ({figures}); {advice}", touches=True)]


def _other_arithmetic(judgement: Judgement) -> list[Caution]:
    """Caution where the arm that the answer is about does not combine gradients as they are."""
    arm = judgement.sweep.arm if judgement.sweep else judgement.parallel.arm if judgement.parallel else None
    if arm is None or arm.is_exact:
        return []
    why = "its gradients are rounded or approximated, so a difference in accuracy is not DDP's fault"
    return [Caution(f"{arm.label}: {why}; to see DDP's own, name other --comms", touches=True)]


def _busy(study: Study) -> list[Caution]:
    """Caution about other programs. Launches show by themselves what disturbed them."""
    if study.launches or study.records[0].environment.load_1m <= 0.5 * study.records[0].environment.cores:
        return []
    load = study.records[0].environment.load_1m
    return [Caution(f"the machine was busy before the first run (load {load:.1f}); end other programs", touches=True)]


def _unlike_hosts(judgement: Judgement, arms: Set[Arm]) -> list[Caution]:
    touches, margin = any(arm.hosts > 1 for arm in arms), judgement.criteria.speed
    return [Caution(text, touches=touches) for host in others(judgement.study) for text in host.doubts(margin)]


def _threads(study: Study, arms: Set[Arm]) -> list[Caution]:
    """Caution about more threads than cores."""
    cores = (study.launches or study.records)[0].environment.cores
    trained = [arm_of(run) for run in study.records]
    trained += [visits.turn.arm for launch in study.launches for visits in launch.visits]
    many = [
        arm
        for arm in trained
        if arm.ranks_per_host * arm.threads_per_rank > cores and study.newest.settings.device == "cpu"
    ]
    shapes = dict.fromkeys((arm.ranks_per_host, arm.threads_per_rank) for arm in many)
    return [
        Caution(
            f"{plural(ranks, 'rank')} of {plural(threads, 'thread')}: {ranks * threads} threads on "
            f"{plural(cores, 'core')}; ranks take turns; use fewer",
            touches=any(arm in arms for arm in many if (arm.ranks_per_host, arm.threads_per_rank) == (ranks, threads)),
        )
        for ranks, threads in shapes
    ]


def _restarted(runs: Sequence[Record]) -> list[Caution]:
    return [
        Caution(f"{run_label(run)}: took {run.attempts} attempts; epochs with a restart are not timed", touches=False)
        for run in runs
        if run.attempts > 1
    ]


def _code(study: Study) -> list[Caution]:
    """Caution about code that changed while the study was made, or that no commit has."""
    measured: list[Record | Launch] = [*study.records, *study.launches]
    commits = sorted({each.environment.commit for each in measured if each.environment.commit})
    if len(commits) > 1:
        changed = f"runs were made from different commits ({', '.join(commits)}); run the study again in one go"
        return [Caution(changed, touches=True)]
    if commits and commits[0].endswith("-dirty"):
        differed = f"the code differed from commit {commits[0].removesuffix('-dirty')}; commit, then run again"
        return [Caution(differed, touches=False)]
    return []


def _not_to_the_bit(runs: Sequence[Record], arms: Set[Arm]) -> list[Caution]:
    """Name the runs that were restarted without what their ranks remembered."""
    return [
        Caution(
            f"{run_label(run)}: was restarted, and {arm_of(run).restart_differs}; "
            "for the weights of a run in one go, run that seed again",
            touches=arm_of(run) in arms,
        )
        for run in runs
        if run.attempts > 1 and arm_of(run).restart_differs
    ]


def _suspended(runs: Sequence[Record]) -> list[Caution]:
    """Name the epochs during which a run was suspended."""
    cautions = []
    for run in runs:
        epochs = [str(epoch.epoch) for epoch in run.epochs if epoch.suspended]
        if epochs:
            which = f"epoch {epochs[0]}, which is" if len(epochs) == 1 else f"epochs {', '.join(epochs)}, which are"
            said = f"{run_label(run)}: was suspended for a while in {which} not timed"
            cautions.append(Caution(said, touches=False))
    return cautions


def _warm_up(runs: Sequence[Record], arms: Set[Arm]) -> list[Caution]:
    """Name the runs whose first epoch counts, if other runs leave theirs out as warm-up."""
    with_warm_up = [run for run in runs if counts_warm_up(run)]
    if len(with_warm_up) == len(runs):
        return []
    return [
        Caution(
            f"{run_label(run)}: only its first epoch counts, with its warm-up, and other runs leave theirs out; "
            "give it more epochs, or run it again",
            touches=arm_of(run) in arms,
        )
        for run in with_warm_up
    ]


def _target(runs: Sequence[Record], arms: Set[Arm]) -> list[Caution]:
    """Say what accuracy means in a study whose runs end at a target, and name the runs that did not reach it."""
    if not runs or runs[0].settings.target_accuracy is None:
        return []
    target = f"{100 * runs[0].settings.target_accuracy:g}%"
    ends = f"runs end when they reach {target}: their accuracy is not the most that they could reach"
    missed = [
        Caution(
            f"{run_label(run)}: did not reach {target} in {plural(len(run.epochs), 'epoch')}; train longer, or ask for "
            "less",
            touches=arm_of(run) in arms,
        )
        for run in runs
        if run.target is None and not arm_of(run).is_control
    ]
    return [Caution(ends, touches=True), *missed]
