"""The entries of a record: the first one, before training, and one for each epoch, from what all ranks measured."""

from collections.abc import Sequence
from datetime import datetime, timezone
from statistics import fmean

import torch
from msgspec.structs import replace

from ddpbench.config import TrainConfig
from ddpbench.errors import NumericalError
from ddpbench.record import SCHEMA, Epoch, Kind, Rank, Record, Startup, TestSet
from ddpbench.tasks import mnist
from ddpbench.train import machine
from ddpbench.train.batches import Batches
from ddpbench.train.reductions import late_s
from ddpbench.train.timers import RankEpoch
from ddpbench.train.world import World


def first(parameters: int, batches: Batches, cfg: TrainConfig, here: World, kind: Kind) -> Record:
    """Return the record of a run that has not trained yet. `parameters` counts the trained numbers of its network."""
    return Record(
        schema=SCHEMA,
        study=cfg.results.resolve().name,
        kind=kind,
        comm=here.comm,
        world_size=here.size,
        threads_per_rank=torch.get_num_threads(),
        seed=cfg.seed,
        settings=cfg.settings(device="cuda" if here.device.type == "cuda" else "cpu", lr=mnist.peak_lr(cfg)),
        environment=machine.describe(),
        started_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        parameters=parameters,
        test_set=TestSet(
            classes=list(batches.classes),
            samples_per_class=batches.test_labels.bincount(minlength=len(batches.classes)).tolist(),
        ),
        startup_s=0.0,
        startup=startup([0.0] * 6),
        epochs=[],
        target=None,
        ranks=[],
        weights=None,
        injected=cfg.injected,
        status="running",
        attempts=1,
    )


def startup(parts_s: Sequence[float]) -> Startup:
    """Return a start-up from the seconds of its parts, in the order of record.Startup. No step is taken yet."""
    launcher_s, interpreter_s, imports_s, data_s, rendezvous_s, build_s = parts_s
    return Startup(launcher_s, interpreter_s, imports_s, data_s, rendezvous_s, build_s, first_step_s=None)


def with_epoch(record: Record, number: int, samples: int, ranks: Sequence[RankEpoch], *, resumed: bool) -> Record:
    """Return the record with one more epoch: `samples` trained on over all ranks, and one measurement by each rank.

    Raises NumericalError where the loss is not finite.
    """
    losses = [rank.loss for rank in ranks if rank.loss is not None]
    curves = [[point for point in rank.loss_curve if point is not None] for rank in ranks]
    if len(losses) < len(ranks):
        raise NumericalError(f"the loss of epoch {number} is not a finite number; use a lower --lr")
    correct = [sum(counts) for counts in zip(*(rank.correct for rank in ranks), strict=True)]
    epoch = Epoch(
        epoch=number,
        train_s=max(rank.train_s for rank in ranks),
        eval_s=max(rank.eval_s for rank in ranks),
        samples=samples,
        train_loss=fmean(losses),
        loss_curve=[fmean(points) for points in zip(*curves, strict=True)],
        test_accuracy=sum(correct) / sum(record.test_set.samples_per_class),
        correct_per_class=correct,
        resumed=resumed,
        suspended=any(rank.suspended for rank in ranks),
    )
    first_steps_s = [rank.first_step_s for rank in ranks if rank.first_step_s is not None]
    return replace(
        record,
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
            torch_reduce_s=mine.torch_reduce_s,
            peak_rss_bytes=mine.peak_rss_bytes,
            peak_device_bytes=mine.peak_device_bytes,
        )
        for rank, mine in enumerate(measured)
    ]
