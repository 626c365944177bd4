"""What each rank of an arm does in an epoch."""

from dataclasses import dataclass
from statistics import fmean

from ddpbench.judge.arms import ArmResult
from ddpbench.judge.epochs import mean_counted


@dataclass(frozen=True, slots=True)
class RankTime:
    """Seconds per epoch of one rank, by what it does: means over the runs of an arm."""

    computing_s: float
    reducing_s: float  # 0 if reductions were not timed
    waiting_s: float  # for the slowest rank; 0 if reductions were not timed


def rank_times(result: ArmResult) -> list[RankTime]:
    """Return how each rank spends an epoch, rank 0 first."""
    return [_rank_time(result, rank) for rank in range(result.arm.world_size)]


def _rank_time(result: ArmResult, number: int) -> RankTime:
    mine = [(run, run.ranks[number]) for run in result.runs]
    whole = fmean(mean_counted(run, rank.train_s) for run, rank in mine)
    waiting = fmean(mean_counted(run, rank.late_s) for run, rank in mine)
    reducing = fmean(mean_counted(run, rank.reduce_s) for run, rank in mine) - waiting
    return RankTime(whole - reducing - waiting, reducing, waiting)
