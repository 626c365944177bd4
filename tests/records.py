"""Made-up records, for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ddpbench.record import SCHEMA, Environment, Epoch, Kind, Rank, Record, Settings, Startup, TestSet, write_record

MACHINE = Environment(
    cpu_model="Test CPU",
    cpu_capability="AVX2",
    cores=2,
    memory_bytes=8 * 2**30,
    gpu_models=[],
    python="3.11.7",
    torch="2.14.1",
    blas="mkl",
    system="Linux x86_64",
    load_1m=0.1,
    commit="0123456789ab",
)
SETTINGS = Settings(
    model="cnn",
    dataset="mnist",
    epochs=3,
    global_batch=256,
    steps=None,
    lr=0.01,
    label_smoothing=0.0,
    target_accuracy=None,
    optimizer="adamw",
    schedule="one-cycle",
    precision="fp32",
    channels_last=True,
    device="cpu",
)


def make_record(
    kind: Kind = "baseline",
    *,
    train_s: Sequence[float] = (9.0, 4.0, 4.0),
    accuracy: float = 0.99,
    world_size: int = 1,
    threads: int = 2,
    seed: int = 0,
    comm: Any = None,
    minute: int = 0,
    late_s: Sequence[float] | None = None,
    **changes: Any,
) -> Record:
    """Make the record of a run over two classes of 500 test samples each.

    `train_s` holds the seconds of each epoch. `late_s` holds, for each rank, the seconds that it waits in every epoch.
    """
    right = round(500 * accuracy)
    epochs = [
        Epoch(
            epoch=number + 1,
            train_s=seconds,
            eval_s=0.5,
            samples=59_904,
            train_loss=0.5 / (number + 1),
            loss_curve=[0.6 / (number + 1), 0.4 / (number + 1)],
            test_accuracy=accuracy,
            correct_per_class=[right, 2 * right - right],
        )
        for number, seconds in enumerate(train_s)
    ]
    values = {
        "schema": SCHEMA,
        "study": "test",
        "kind": kind,
        "comm": comm,
        "world_size": world_size,
        "threads_per_rank": threads,
        "seed": seed,
        "settings": SETTINGS,
        "environment": MACHINE,
        "started_at": f"2026-11-24T00:{minute:02d}:00.000+00:00",
        "parameters": 56_826,
        "test_set": TestSet(classes=["cat", "dog"], samples_per_class=[500, 500]),
        "startup_s": 3.0,
        "startup": Startup(0.5, 0.1, 1.4, 0.5, 0.3, 0.2, 0.1),
        "epochs": epochs,
        "target": None,
        "ranks": [
            Rank(
                rank=rank,
                rank_batch=256 // world_size,
                train_s=list(train_s),
                wait_s=[0.0] * len(train_s),
                cpu_s=list(train_s),
                reduce_s=None if late_s is None else [late_s[rank] + 0.5] * len(train_s),
                late_s=None if late_s is None else [late_s[rank]] * len(train_s),
                torch_reduce_s=None if late_s is None else 0.002,
                peak_rss_bytes=10**9,
                peak_device_bytes=None,
            )
            for rank in range(world_size)
        ],
        "weights": "weights.safetensors",
        "injected": None,
        "status": "complete",
        "attempts": 1,
    }
    return Record(**(values | changes))


def timed(global_batch: int, step_s: float, kind: Kind = "baseline", *, steps: int = 100, **changes: Any) -> Record:
    """Make the record of a short timed run: a warm-up epoch, and one that counts with `steps` steps of `step_s`."""
    record = make_record(kind, train_s=(9.0, steps * step_s), **changes)
    settings = msgspec.structs.replace(record.settings, global_batch=global_batch, steps=steps, epochs=2)
    epochs = [msgspec.structs.replace(epoch, samples=steps * global_batch) for epoch in record.epochs]
    return msgspec.structs.replace(record, settings=settings, epochs=epochs)


def ddp(**changes: Any) -> Record:
    """Make the record of a run of two ranks over gloo."""
    return make_record(**({"kind": "ddp", "world_size": 2, "threads": 1, "comm": "gloo"} | changes))


def put(folder: Path, *records: Record, start: int = 0) -> list[Path]:
    """Write records into a folder, under names that sort by time like those of real runs. Returns their paths."""
    paths = [folder / f"20261124-00{number:02d}00-run.json" for number in range(start, start + len(records))]
    for path, record in zip(paths, records, strict=True):
        write_record(path, record)
    return paths
