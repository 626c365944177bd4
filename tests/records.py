"""Records made up for tests of the judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddpbench.record import Environment, Epoch, Kind, Rank, Record, Settings, TestSet, write_record

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
    lr=0.01,
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
    **changes: Any,
) -> Record:
    """Make the record of a run over two classes of 500 test samples each."""
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
    told = {
        "schema": 1,
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
        "epochs": epochs,
        "ranks": [
            Rank(
                rank=rank,
                train_s=list(train_s),
                wait_s=[0.0] * len(train_s),
                cpu_s=list(train_s),
                peak_rss_bytes=10**9,
                peak_device_bytes=None,
            )
            for rank in range(world_size)
        ],
        "weights": "weights.safetensors",
        "status": "complete",
        "attempts": 1,
    }
    return Record(**(told | changes))


def ddp(**changes: Any) -> Record:
    """Make the record of a two-rank gloo run."""
    return make_record(**({"kind": "ddp", "world_size": 2, "threads": 1, "comm": "gloo"} | changes))


def put(folder: Path, *records: Record, start: int = 0) -> list[Path]:
    """Write records into a folder under names that sort by time, as a run does."""
    paths = [folder / f"20261124-00{number:02d}00-run.json" for number in range(start, start + len(records))]
    for path, record in zip(paths, records, strict=True):
        write_record(path, record)
    return paths
