"""Where the time of a parallel arm goes: the way from perfect workers to the observed epoch, in measured terms.

Controls give levels, in seconds of training per epoch. A term is the difference between its level and the one before:

    ideal          one worker's time / number of workers
    smaller batch  one worker alone, at the batch of one rank
    contention     the fastest rank of the control (N ranks that never communicate) at an even share of the batch
    uneven shares  the same rank at the largest share of the batch that any rank has
    communication  the observed epoch: the slowest rank, with gradients reduced

Differences add up to the observed epoch by construction, so that alone proves nothing. The last term is therefore
measured a second time, by timers inside the run. They see gradients being reduced, and ranks that wait for the slowest
one. They do not see that ranks may compute more slowly in a run that communicates; noise is in that rest, too.

Runs are paired by seed. Where a control is missing, the two terms that need it are "not measured".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.arm import Arm, arm_of
from ddpbench.judge.arms import by_arm, one_worker, per_seed
from ddpbench.judge.epochs import mean_counted, num_steps, run_epoch_s, run_step_s
from ddpbench.judge.stats import Estimate, mean
from ddpbench.judge.study import Study
from ddpbench.record import Rank, Record

IDEAL, UNEVEN, SMALLER, CONTENTION, COMMUNICATION = (
    "ideal",
    "uneven_shares",
    "smaller_batch",
    "contention",
    "exposed_communication",
)
# Parts of COMMUNICATION, by the timers inside the run:
REDUCING, WAITING, SLOWED = "reducing_gradients", "waiting_for_slowest_rank", "computing_slowed"


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an epoch's time. `seconds` and `share` are None if it was not measured."""

    term: str
    seconds: Estimate | None
    share: float | None  # of the observed epoch
    measured_by: str
    part_of: str | None = None  # the term that this one is a part of


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The terms of one parallel arm. All figures are over the same seeds."""

    arm: Arm
    terms: list[Term]
    observed: Estimate  # seconds per epoch
    in_run: Estimate | None  # exposed communication by the timers inside the run, seconds per epoch
    in_run_by_torch: Estimate | None  # the same by the log of DistributedDataParallel
    slowest_rank: int | None  # the rank that waits least; None if that is not the same rank in every run

    def __getitem__(self, term: str) -> Estimate | None:
        """Return the seconds of a term; None if it was not measured."""
        return next(each.seconds for each in self.terms if each.term == term)

    @property
    def unexplained(self) -> bool:
        """Whether a term was not measured, so that the terms do not add up."""
        return any(term.seconds is None for term in self.terms if term.part_of is None)

    @property
    def largest_loss(self) -> Term | None:
        """The measured term that takes the most seconds beyond the ideal; None if none was measured."""
        losses = [term for term in self.terms if term.seconds and term.term != IDEAL and not term.part_of]
        return max(losses, key=lambda term: term.seconds.value if term.seconds else 0.0, default=None)


def break_down(study: Study, arm: Arm) -> Breakdown:
    """Break an epoch of a ddp arm down into its terms."""
    runs = by_arm(study.records)
    observed, control = runs[arm], runs.get(Arm("ddp", arm.world_size, arm.threads_per_rank, "none"), [])
    worker = one_worker(arm, runs)
    largest_share = max(share_of_work(rank, observed[0]) for rank in observed[0].ranks)
    steps = num_steps(observed[0])
    ideal, small, contended, uneven, took = _over_common_seeds(
        [
            per_seed(runs[worker] if worker else [], lambda run: run_epoch_s(run) / arm.world_size),
            per_seed(_at_rank_batch(study, worker, observed[0]), lambda run: run_step_s(run) * steps),
            per_seed(control, fastest_rank_s),
            per_seed(control, lambda run: fastest_rank_s(run) * largest_share),
            per_seed(observed, run_epoch_s),
        ]
    )
    shares_s = dict.fromkeys(took, 0.0) if largest_share == 1 else _less(uneven, contended)
    communication_s = _less(took, uneven)
    timed = [run for run in observed if run.seed in took and _has_reduction_times(run)]
    waiting_s = per_seed(timed, lambda run: waited_s(run, uneven))
    in_run = per_seed(timed, lambda run: in_run_s(run, uneven))
    by_torch = per_seed([run for run in timed if _torch_reduce_s(run)], lambda run: steps * _torch_reduce_s(run))
    whole = mean(list(took.values()))
    return Breakdown(
        arm=arm,
        terms=[
            _term(IDEAL, ideal, whole, "one worker alone / workers"),
            _term(UNEVEN, shares_s, whole, "samples given to each rank"),
            _term(SMALLER, _less(small, ideal), whole, "one worker alone at the rank batch"),
            _term(CONTENTION, _less(contended, small), whole, "ranks that never communicate against one alone"),
            _term(COMMUNICATION, communication_s, whole, "the run against ranks that never communicate"),
            _part(REDUCING, _less(in_run, waiting_s), whole, "timers inside the run"),
            _part(WAITING, waiting_s, whole, "timers inside the run"),
            _part(SLOWED, _less(communication_s, in_run), whole, "the rest"),
        ],
        observed=whole,
        in_run=mean(list(in_run.values())) if in_run else None,
        in_run_by_torch=mean(list(by_torch.values())) if by_torch else None,
        slowest_rank=_slowest_rank(observed),
    )


def share_of_work(rank: Rank, run: Record) -> float:
    """Return a rank's samples per step / the samples of an even share: 1 if all ranks have equally many."""
    return rank.rank_batch * run.world_size / sum(each.rank_batch for each in run.ranks)


def fastest_rank_s(run: Record) -> float:
    """Return the seconds per epoch of the fastest rank, scaled to an even share of the batch.

    The fastest, because time lost to a slower rank is waiting and not contention.
    """
    return min(mean_counted(run, rank.train_s) / share_of_work(rank, run) for rank in run.ranks)


def waited_s(run: Record, control: dict[int, float]) -> float:
    """Return the seconds per epoch that the rank which waits most waits for the slowest rank.

    A rank with a smaller share of the batch waits for that reason as well. That belongs to the term of uneven shares,
    and is subtracted: `control` has, by seed, the seconds of the rank with the largest share without communication.
    """
    work_s = control.get(run.seed, run_epoch_s(run))
    largest_share = max(share_of_work(rank, run) for rank in run.ranks)
    expected = [work_s * (1 - share_of_work(rank, run) / largest_share) for rank in run.ranks]
    late = [mean_counted(run, rank.late_s) for rank in run.ranks]
    return max(0.0, *(waited - smaller for waited, smaller in zip(late, expected, strict=True)))


def in_run_s(run: Record, control: dict[int, float]) -> float:
    """Return the exposed communication by the timers inside a run, in seconds per epoch: reducing and waiting.

    `control` is that of `waited_s`.
    """
    reducing = [mean_counted(run, rank.reduce_s) - mean_counted(run, rank.late_s) for rank in run.ranks]
    return min(reducing) + waited_s(run, control)


def _at_rank_batch(study: Study, worker: Arm | None, observed: Record) -> list[Record]:
    """Return the timed runs of one worker at the batch that a rank of the observed arm has."""
    batch = observed.settings.global_batch // observed.world_size
    return [run for run in study.timed if arm_of(run) == worker and run.settings.global_batch == batch]


def _over_common_seeds(levels: Sequence[dict[int, float]]) -> list[dict[int, float]]:
    """Keep the seeds that all measured levels share, so that the terms add up. A level without them becomes empty."""
    seeds = set(levels[-1])
    for level in reversed(levels):
        seeds = seeds & set(level) or seeds
    return [{seed: level[seed] for seed in seeds if seed in level and seeds <= set(level)} for level in levels]


def _slowest_rank(runs: Sequence[Record]) -> int | None:
    """Return the rank that waits least; None if that differs from run to run."""
    least = {
        min(run.ranks, key=lambda rank: mean_counted(run, rank.late_s)).rank
        for run in runs
        if _has_reduction_times(run)
    }
    return least.pop() if len(least) == 1 else None


def _term(name: str, by_seed: dict[int, float], whole: Estimate, how: str, part_of: str | None = None) -> Term:
    if not by_seed:
        return Term(name, None, None, "not measured", part_of)
    seconds = mean(list(by_seed.values()))
    return Term(name, seconds, seconds.value / whole.value, how, part_of)


def _part(name: str, by_seed: dict[int, float], whole: Estimate, how: str) -> Term:
    return _term(name, by_seed, whole, how, part_of=COMMUNICATION)


def _less(after: dict[int, float], before: dict[int, float]) -> dict[int, float]:
    """Subtract by seed."""
    return {seed: after[seed] - before[seed] for seed in after if seed in before}


def _has_reduction_times(run: Record) -> bool:
    """Return whether timers inside the run measured how long its ranks reduced gradients."""
    return all(rank.reduce_s and rank.late_s for rank in run.ranks)


def _torch_reduce_s(run: Record) -> float:
    return max((rank.torch_reduce_s or 0.0 for rank in run.ranks), default=0.0)
