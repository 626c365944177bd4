"""The entries of a record: the first one, before training, and one for each epoch, from what all ranks measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from statistics import fmean

import torch
from msgspec.structs import replace
from torch import nn

from ddpbench.config import TrainConfig
from ddpbench.errors import NumericalError
from ddpbench.fields import is_figure
from ddpbench.record import SCHEMA, Epoch, Kind, Metric, Rank, Record, Startup
from ddpbench.tasks.task import Task
from ddpbench.tasks.tested import Tested, add_up
from ddpbench.train import machine
from ddpbench.train.batches import Batches
from ddpbench.train.reductions import late_s
from ddpbench.train.state import num_parameters
from ddpbench.train.timers import RankEpoch
from ddpbench.train.world import World

NOT_TESTED = Metric(name="", unit="", lower_is_better=False, margin=None, parts=[], counts=[])


@dataclass(frozen=True, slots=True)
class Figures:
    """What an epoch has come to on the whole test set."""

    metric: Metric
    value: float
    sums: list[float]  # of each part


def first(net: nn.Module, batches: Batches, cfg: TrainConfig, here: World, kind: Kind) -> Record:
    """Return the record of a run that has not trained yet. What is counted over the test set is known later."""
    environment, *others = here.gather(machine.describe())[:: here.local_size]
    return Record(
        schema=SCHEMA,
        study=cfg.results.resolve().name,
        kind=kind,
        comm=here.comm,
        world_size=here.size,
        threads_per_rank=torch.get_num_threads(),
        seed=cfg.seed,
        settings=batches.task.settings(cfg, here.device, net, batches.data),
        environment=environment,
        started_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        parameters=num_parameters(net),
        metric=NOT_TESTED,
        startup_s=0.0,
        startup=startup([0.0] * 6),
        epochs=[],
        target=None,
        ranks=[],
        weights=None,
        injected=cfg.injected,
        status="running",
        attempts=1,
        hosts=here.hosts,
        others=others,
    )


def startup(parts_s: Sequence[float]) -> Startup:
    """Return a start-up from the seconds of its parts, in the order of record.Startup. No step is taken yet."""
    launcher_s, interpreter_s, imports_s, data_s, rendezvous_s, build_s = parts_s
    return Startup(launcher_s, interpreter_s, imports_s, data_s, rendezvous_s, build_s, first_step_s=None)


def figures_of(task: Task, cfg: TrainConfig, ranks: Sequence[RankEpoch]) -> Figures:
    """Return the task's metric over the whole test set.

    Raises NumericalError where it is not finite, or too large, and UserError where a task counts what is no figure.
    """
    shares = [
        Tested(rank.tested_name, [math.nan if each is None else each for each in rank.tested_sums], rank.tested_counts)
        for rank in ranks
    ]
    whole = add_up(shares)
    value = task.score(whole)
    if not all(map(is_figure, [value, *whole.sums])):
        raise NumericalError(f"the {whole.name} of the test set is not a finite number; use a lower --lr")
    return Figures(task.metric(whole, cfg), value, whole.sums)


def with_epoch(
    record: Record, number: int, samples: int, ranks: Sequence[RankEpoch], figures: Figures, *, resumed: bool
) -> Record:
    """Return the record with one more epoch: `samples` trained on over all ranks, and one measurement by each rank.

    Raises NumericalError where the loss is not finite.
    """
    losses = [rank.loss for rank in ranks if rank.loss is not None and is_figure(rank.loss)]
    curves = [[point for point in rank.loss_curve if point is not None] for rank in ranks]
    if len(losses) < len(ranks) or not all(is_figure(point) for rank in ranks for point in rank.loss_curve):
        raise NumericalError(f"the loss of epoch {number} is not a finite number; use a lower --lr")
    epoch = Epoch(
        epoch=number,
        train_s=max(rank.train_s for rank in ranks),
        eval_s=max(rank.eval_s for rank in ranks),
        samples=samples,
        train_loss=fmean(losses),
        loss_curve=[fmean(points) for points in zip(*curves, strict=True)],
        metric=figures.value,
        metric_sums=figures.sums,
        resumed=resumed,
        suspended=any(rank.suspended for rank in ranks),
    )
    first_steps_s = [rank.first_step_s for rank in ranks if rank.first_step_s is not None]
    return replace(
        record,
        metric=figures.metric,
        epochs=[*record.epochs, epoch],
        ranks=_with_epoch(record.ranks, epoch, ranks),
        startup=replace(record.startup, first_step_s=max(first_steps_s)),
    )


def _with_epoch(before: Sequence[Rank], epoch: Epoch, measured: Sequence[RankEpoch]) -> list[Rank]:
    """Return what is recorded of each rank, with one more epoch."""
    waits = [rank.step_waits_s for rank in measured]
    reduces = bool(waits[0])
    lates_s = late_s(waits)

    def so_far(rank: int, name: str) -> list[float]:
        return [*getattr(before[rank], name)] if before else []

    return [
        Rank(
            rank=rank,
            rank_batch=mine.rank_batch,
            train_s=[*so_far(rank, "train_s"), mine.train_s],
            wait_s=[*so_far(rank, "wait_s"), epoch.train_s - mine.train_s],
            cpu_s=[*so_far(rank, "cpu_s"), mine.cpu_s],
            reduce_s=[*so_far(rank, "reduce_s"), sum(mine.step_waits_s)] if reduces else None,
            late_s=[*so_far(rank, "late_s"), lates_s[rank]] if reduces else None,
            between_s=None if mine.between_s is None else [*so_far(rank, "between_s"), mine.between_s],
            torch_reduce_s=mine.torch_reduce_s,
            data_s=None if mine.data_s is None else [*so_far(rank, "data_s"), mine.data_s],
            peak_rss_bytes=mine.peak_rss_bytes,
            peak_device_bytes=mine.peak_device_bytes,
        )
        for rank, mine in enumerate(measured)
    ]
