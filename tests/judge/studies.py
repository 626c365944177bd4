"""Made-up studies with known answers, and a short way to judge them."""

from pathlib import Path

from msgspec.structs import replace

from ddpbench.judge import study
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.judgement import judge as judge_study
from ddpbench.record import Record, Target
from tests.records import ddp, make_record, put, timed

STEPS = 59_904 // 256  # in an epoch of a made-up record


def judge(folder: Path, *records: Record) -> Judgement:
    """Write the records into a folder, which may be new, and judge it."""
    folder.mkdir(exist_ok=True)
    put(folder, *records)
    return judge_study(study.load([folder]))


def two_arms(seeds: int = 3) -> list[Record]:
    """Return a study of two baselines, two ranks over gloo, and the control."""
    records = []
    for seed in range(seeds):
        wobble = 1 + 0.01 * seed
        records += [
            make_record(seed=seed, threads=1, train_s=(9, 6 * wobble, 6 * wobble)),
            make_record(seed=seed, threads=2, train_s=(9, 4 * wobble, 4 * wobble)),
            ddp(seed=seed, train_s=(9, 5, 5), accuracy=0.98),
            ddp(seed=seed, train_s=(9, 3, 3), comm="none", accuracy=0.9),
        ]
    return records


def paired(parallel_s: list[float], accuracy: float = 0.99) -> list[Record]:
    """Return a pair of runs for each seed: a process of 4 s an epoch, and two ranks of `parallel_s`."""
    records = []
    for seed, time_s in enumerate(parallel_s):
        records += [
            make_record(seed=seed, train_s=(9, 4, 4)),
            ddp(seed=seed, train_s=(9, time_s, time_s), accuracy=accuracy),
        ]
    return records


def known(seed: int = 0, **changes: Record | None) -> list[Record]:
    """Return runs with a known breakdown. Seconds per epoch: one worker 8, at half the batch 4.5, control 5, ddp 6."""
    records: dict[str, Record | None] = {
        "worker": make_record(seed=seed, threads=1, train_s=(9, 8, 8)),
        "alone": timed(128, 4.5 / STEPS, seed=seed, threads=1),
        "control": ddp(seed=seed, comm="none", train_s=(9, 5, 5)),
        "observed": ddp(seed=seed, train_s=(9, 6, 6), late_s=(0.3, 0.0)),
    }
    return [record for record in (records | changes).values() if record is not None]


def three_seeds() -> list[Record]:
    """Return `known` for three seeds."""
    return [record for seed in range(3) for record in known(seed)]


def swept(
    batches: tuple[int, ...], *, seeds: int = 3, parallel: tuple[float, float] = (0.004, 1e-5), minute: int = 0
) -> list[Record]:
    """Return a sweep. A step of one process takes 1 ms + 20 us a sample, of two ranks `parallel`: equal at 300."""
    records = []
    for seed in range(seeds):
        for batch in batches:
            one, two = 0.001 + 2e-5 * batch, parallel[0] + parallel[1] * batch
            wobble = 1 + 0.001 * seed
            records.append(timed(batch, one, seed=seed, minute=minute))
            records.append(
                timed(batch, two * wobble, "ddp", seed=seed, world_size=2, threads=1, comm="gloo", minute=minute)
            )
    return records


def ended_after(record: Record, epochs: int, *, reached: bool = True) -> Record:
    """Return a run that trains until 98 %, and that ended after so many epochs."""
    target = Target(epoch=epochs, train_s=9.0, train_eval_s=9.5, process_s=12.0) if reached else None
    names = ("train_s", "wait_s", "cpu_s", "reduce_s", "late_s")
    ranks = [
        replace(rank, **{name: (getattr(rank, name) or [])[:epochs] or None for name in names}) for rank in record.ranks
    ]
    settings = replace(record.settings, target_accuracy=0.98)
    return replace(record, settings=settings, epochs=record.epochs[:epochs], ranks=ranks, target=target)
