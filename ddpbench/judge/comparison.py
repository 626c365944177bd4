"""The parallel arm against the reference: speed, what is learnt, how long a whole run takes, and what it costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ddpbench.findings import EqualGradient
from ddpbench.judge import stats, timing
from ddpbench.judge.agreement import Agreement, agreement
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.cost import Cost, cost
from ddpbench.judge.disturbance import Disturbance, disturbance
from ddpbench.judge.epochs import final_metric, run_epoch_s, run_eval_s, run_s
from ddpbench.judge.outcome import Criteria, Outcome, outcome_of
from ddpbench.judge.stats import Equivalence, Estimate, equivalence, mean
from ddpbench.judge.timing import Timing
from ddpbench.record import Record
from ddpbench.turns import Launch


@dataclass(frozen=True, slots=True)
class Turning:
    """From how many epochs on a whole run of the parallel arm is the shorter one. math.inf: never."""

    epochs: float
    least: float  # where its steps are as fast as the interval of the speed allows; `epochs` without an interval
    most: float  # where they are as slow


@dataclass(frozen=True, slots=True)
class WholeRun:
    """Seconds of the study's own epochs, with start-up and evaluation, by the clock on the wall.

    All figures are of the seeds that both arms have. Figures of both are those of the reference first.
    """

    lengths: tuple[tuple[int, int], tuple[int, int]]  # epochs of the shortest and of the longest run of each arm
    reference_s: Estimate
    parallel_s: Estimate
    times_as_long: Estimate  # parallel / reference, paired by seed
    startup_s: tuple[float, float]  # means
    eval_s: tuple[float, float]  # after an epoch: means
    train_s: float  # of an epoch of the reference: the mean
    turning: Turning | None  # None where runs differ in length: to be ahead needs an equal number of epochs

    @property
    def epochs(self) -> int | None:
        """The epochs of every run. None where runs differ in length, as they may where training ends at a target."""
        shortest, longest = min(map(min, self.lengths)), max(map(max, self.lengths))
        return shortest if shortest == longest else None

    @property
    def later_start_s(self) -> float:
        """How much later the parallel arm takes its first step."""
        return self.startup_s[1] - self.startup_s[0]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms: the reference, and the parallel one that the answer is about."""

    reference: ArmResult
    parallel: ArmResult
    outcome: Outcome  # of the speed
    learnt: Equivalence | None  # the metric, parallel less reference; None without a common seed
    whole_run: WholeRun | None  # None without a common seed
    agreement: Agreement | None  # of turns with whole runs; None where either is missing
    disturbance: Disturbance | None  # None without launches
    cost: Cost | None  # None without a price, or without whole runs
    equal_gradient: EqualGradient | None  # what the check found of the task; None: not checked, or one worker

    @property
    def speed(self) -> Estimate | None:
        """How many times as fast the parallel arm is."""
        return self.parallel.speed

    @property
    def metrics(self) -> tuple[float, float]:
        """The metric of the reference and of the parallel arm, of the seeds of `learnt`. Both have such a seed."""
        return means(self.reference.runs, self.parallel.runs, final_metric)


def compare(
    timed: Timing, launches: Sequence[Launch], reference: ArmResult, parallel: ArmResult, criteria: Criteria
) -> Comparison:
    """Compare the two arms that matter. `launches` are those of `timed`; there may be none."""
    learnt = learnt_by(reference.runs, parallel.runs, criteria)
    pair, runs = (parallel.turn, reference.turn), [*reference.runs, *parallel.runs]
    price = criteria.price_per_hour
    return Comparison(
        reference=reference,
        parallel=parallel,
        outcome=outcome_of(parallel.speed, criteria.speed),
        learnt=learnt,
        whole_run=_whole_run(reference, parallel) if learnt else None,
        agreement=agreement(timed, timing.of_runs(runs), *pair) if launches else None,
        disturbance=disturbance(launches, timed, pair, criteria.speed) if launches else None,
        cost=cost(timed, pair, price, runs[0]) if price is not None and runs else None,
        equal_gradient=equal_gradient(launches) if _shares_out(parallel) else None,
    )


def equal_gradient(launches: Sequence[Launch]) -> EqualGradient | None:
    """Return whether workers compute the gradient of one process, as the first launch of a study has checked it."""
    return next((launch.check.equal_gradient for launch in launches if launch.check is not None), None)


def learnt_by(before: Sequence[Record], after: Sequence[Record], criteria: Criteria) -> Equivalence | None:
    """Compare the metric of two arms, paired by seed: `after` less `before`. None without a common seed."""
    differences = [new - old for old, new in pairs(before, after, final_metric)]
    if not differences:
        return None
    metric = before[0].metric
    return equivalence(differences, criteria.margin_of(metric), lower_is_better=metric.lower_is_better)


def pairs(
    before: Sequence[Record], after: Sequence[Record], figure: Callable[[Record], float]
) -> list[tuple[float, float]]:
    """Pair a figure of two arms by seed. A seed that only one has is left out; runs that share a seed count once."""
    old, new = (
        {run.seed: fmean(figure(each) for each in runs if each.seed == run.seed) for run in runs}
        for runs in (before, after)
    )
    return [(old[seed], new[seed]) for seed in old if seed in new]


def means(before: Sequence[Record], after: Sequence[Record], figure: Callable[[Record], float]) -> tuple[float, float]:
    """Return the mean of a figure of two arms over the seeds that both have. There must be one."""
    old, new = zip(*pairs(before, after, figure), strict=True)
    return fmean(old), fmean(new)


def _shares_out(result: ArmResult) -> bool:
    """Whether an arm shares a batch out: nn.DataParallel does so, too."""
    return result.arm.world_size > 1 or result.arm.kind == "data_parallel"


def _whole_run(reference: ArmResult, parallel: ArmResult) -> WholeRun:
    both = reference.runs, parallel.runs
    took_s = pairs(*both, run_s)
    seeds = {run.seed for run in both[0]} & {run.seed for run in both[1]}
    one, other = ([len(run.epochs) for run in runs if run.seed in seeds] for runs in both)
    startup_s, eval_s, train_s = means(*both, _startup_s), means(*both, run_eval_s), means(*both, run_epoch_s)[0]
    turning = None
    if len({*one, *other}) == 1:
        assert parallel.speed is not None, "two arms with runs of one seed have a speed"
        turning = _turning(parallel.speed, train_s, eval_s, startup_s[1] - startup_s[0])
    return WholeRun(
        lengths=((min(one), max(one)), (min(other), max(other))),
        reference_s=mean([old for old, _ in took_s]),
        parallel_s=mean([new for _, new in took_s]),
        times_as_long=stats.ratio([math.log(new / old) for old, new in took_s]),
        startup_s=startup_s,
        eval_s=eval_s,
        train_s=train_s,
        turning=turning,
    )


def _startup_s(run: Record) -> float:
    return run.startup_s


def _turning(speed: Estimate, train_s: float, eval_s: tuple[float, float], later_s: float) -> Turning:
    """Return from how many epochs on the parallel arm has made up for its later start.

    `train_s` is an epoch of the reference, and `eval_s` an evaluation of the reference and of the parallel arm.
    """

    def epochs(speed: float) -> float:
        saved_s = train_s * (1 - 1 / speed) + eval_s[0] - eval_s[1]
        if later_s <= 0:
            return 0.0 if saved_s >= 0 else math.inf
        return later_s / saved_s if saved_s > 0 else math.inf

    low, high = (speed.value if bound is None else bound for bound in (speed.low, speed.high))
    return Turning(epochs(speed.value), epochs(high), epochs(low))
