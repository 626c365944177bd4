"""Where the time of a parallel arm went: from perfect workers to what was observed, by measured controls.

Levels, in seconds of training per epoch, each above the one before by one term:

    ideal          one worker's time / number of workers
    smaller batch  one worker alone, at the rank batch
    contention     the fastest rank of the control, N ranks that never communicate, at an even share
    uneven shares  the same for the rank with the largest share of every batch
    communication  what was observed: the slowest rank, with gradients reduced

Differences of levels add up to what was observed by construction, so the last term is measured a second time, by
timers inside the run (reduction.py): what they see is reducing gradients and waiting for the slowest rank. The rest of
the difference is computing that takes longer in a run that communicates, and noise. Runs are paired by seed; a missing
control makes the terms on both its sides "not measured".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.arm import Arm, arm_of
from ddpbench.judge.arms import by_arm, mean_counted, num_steps, one_worker, per_seed, run_epoch_s, run_step_s
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
REDUCING, WAITING, SLOWED = "reducing_gradients", "waiting_for_slowest_rank", "computing_slowed"  # parts of the last


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an epoch's time. `seconds` is None where it was not measured."""

    term: str
    seconds: Estimate | None
    share: float | None  # of the observed epoch
    measured_by: str
    part_of: str | None = None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The terms of one parallel arm. `observed` is an epoch of it, over the same seeds as the terms."""

    arm: Arm
    terms: list[Term]
    observed: Estimate
    in_run: Estimate | None  # exposed communication by the timers inside the run
    in_run_by_torch: Estimate | None  # the same by DDP's own log
    slowest_rank: int | None  # the one that waits least

    def __getitem__(self, term: str) -> Estimate | None:
        """Return the seconds of a term."""
        return next(each.seconds for each in self.terms if each.term == term)

    @property
    def unexplained(self) -> bool:
        """Whether a term is missing, so that the terms do not add up."""
        return any(term.seconds is None for term in self.terms if term.part_of is None)


def break_down(study: Study, arm: Arm) -> Breakdown:
    """Break an epoch of a ddp arm down."""
    runs = by_arm(study.records)
    observed = runs[arm]
    worker = one_worker(arm, runs)
    control = Arm("ddp", arm.world_size, arm.threads_per_rank, "none")
    rank_batch = observed[0].settings.global_batch // arm.world_size
    alone = [
        run
        for run in study.timed
        if worker is not None and arm_of(run) == worker and run.settings.global_batch == rank_batch
    ]
    steps = num_steps(observed[0])
    heaviest = max(share_of_work(rank, observed[0]) for rank in observed[0].ranks)
    ideal, small, contended, laden, took = _over_common_seeds(
        [
            per_seed(runs[worker] if worker else [], lambda run: run_epoch_s(run) / arm.world_size),
            per_seed(alone, lambda run: run_step_s(run) * steps),
            per_seed(runs.get(control, []), fastest_rank_s),
            per_seed(runs.get(control, []), lambda run: fastest_rank_s(run) * heaviest),
            per_seed(observed, run_epoch_s),
        ]
    )
    whole = mean(list(took.values()))
    timed = [run for run in observed if _is_timed_inside(run) and run.seed in took]
    waiting = per_seed(timed, lambda run: waited_s(run, laden))
    table = [
        (IDEAL, ideal, "one worker alone / workers"),
        (UNEVEN, _less(laden, contended) if heaviest != 1 else dict.fromkeys(took, 0.0), "samples given to each rank"),
        (SMALLER, _less(small, ideal), "one worker alone at the rank batch"),
        (CONTENTION, _less(contended, small), "ranks that never communicate against one alone"),
        (COMMUNICATION, _less(took, laden), "the run against ranks that never communicate"),
    ]
    terms = [_term(name, by_seed, whole, how) for name, by_seed, how in table]
    inside = per_seed(timed, lambda run: in_run_s(run, laden))
    parts = [
        (REDUCING, _less(inside, waiting), "timers inside the run"),
        (WAITING, waiting, "timers inside the run"),
        (SLOWED, _less(table[-1][1], inside), "the rest: computing slower beside it"),
    ]
    terms += [_term(name, by_seed, whole, how, part_of=COMMUNICATION) for name, by_seed, how in parts]
    by_torch = per_seed([run for run in timed if _torch_reduce_s(run)], lambda run: steps * _torch_reduce_s(run))
    return Breakdown(
        arm=arm,
        terms=terms,
        observed=whole,
        in_run=mean(list(inside.values())) if inside else None,
        in_run_by_torch=mean(list(by_torch.values())) if by_torch else None,
        slowest_rank=_slowest_rank(observed),
    )


def share_of_work(rank: Rank, run: Record) -> float:
    """Return a rank's samples per step over those of an even share: 1 where all have as many."""
    return rank.rank_batch * run.world_size / sum(each.rank_batch for each in run.ranks)


def fastest_rank_s(run: Record) -> float:
    """Return the seconds of a counted epoch of the fastest rank, at an even share.

    The fastest, so that a rank that is slower than others counts as one that others wait for.
    """
    return min(mean_counted(run, rank.train_s) / share_of_work(rank, run) for rank in run.ranks)


def waited_s(run: Record, control: dict[int, float]) -> float:
    """Return how long, in a counted epoch, the rank that waits most waits for the slowest one.

    Without what it waits because its own share is smaller: that is the term of uneven shares.
    """
    work_s = control.get(run.seed, run_epoch_s(run))
    heaviest = max(share_of_work(rank, run) for rank in run.ranks)
    lighter = [work_s * (1 - share_of_work(rank, run) / heaviest) for rank in run.ranks]
    late = [mean_counted(run, rank.late_s) for rank in run.ranks]
    return max(0.0, *(waited - expected for waited, expected in zip(late, lighter, strict=True)))


def in_run_s(run: Record, control: dict[int, float]) -> float:
    """Return the exposed communication of a counted epoch by the timers inside: the transfer, and waiting for it."""
    transfer = [mean_counted(run, rank.reduce_s) - mean_counted(run, rank.late_s) for rank in run.ranks]
    return min(transfer) + waited_s(run, control)


def _over_common_seeds(levels: Sequence[dict[int, float]]) -> list[dict[int, float]]:
    """Keep the seeds that every level has, so that the terms add up; a level without any was not measured."""
    seeds = set(levels[-1])
    for level in reversed(levels):
        seeds = seeds & set(level) or seeds
    return [{seed: level[seed] for seed in seeds if seed in level and seeds <= set(level)} for level in levels]


def _slowest_rank(runs: Sequence[Record]) -> int | None:
    """Return the rank that waits least, where every run agrees which that is."""
    least = {
        min(run.ranks, key=lambda rank: mean_counted(run, rank.late_s)).rank for run in runs if _is_timed_inside(run)
    }
    return least.pop() if len(least) == 1 else None


def _term(name: str, by_seed: dict[int, float], whole: Estimate, how: str, part_of: str | None = None) -> Term:
    if not by_seed:
        return Term(name, None, None, "not measured", part_of)
    seconds = mean(list(by_seed.values()))
    return Term(name, seconds, seconds.value / whole.value, how, part_of)


def _less(after: dict[int, float], before: dict[int, float]) -> dict[int, float]:
    return {seed: after[seed] - before[seed] for seed in after if seed in before}


def _is_timed_inside(run: Record) -> bool:
    return all(rank.reduce_s and rank.late_s for rank in run.ranks)


def _torch_reduce_s(run: Record) -> float:
    return max((rank.torch_reduce_s or 0.0 for rank in run.ranks), default=0.0)
