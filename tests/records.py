"""Made-up records of runs and of launches of turns, for tests."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ddpbench import turns
from ddpbench.arm import Arm
from ddpbench.record import SCHEMA, Environment, Epoch, Kind, Metric, Rank, Record, Startup, write_record
from ddpbench.settings import Settings

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
    task="mnist",
    set=(),
    task_sha256=None,
    model="cnn",
    dataset="mnist",
    epochs=3,
    global_batch=256,
    lr=0.01,
    label_smoothing=0.0,
    target_accuracy=None,
    optimizer="adamw",
    schedule="one-cycle",
    precision="fp32",
    channels_last=True,
    device="cpu",
)
DIGITS = list("0123456789")
ACCURACY = Metric(name="accuracy", unit="%", lower_is_better=False, margin=0.3, parts=DIGITS, counts=[100.0] * 10)
PERPLEXITY = Metric(name="perplexity", unit="", lower_is_better=True, margin=None, parts=[], counts=[20_000.0])
GLUCOSE = Metric(
    name="mean absolute error",
    unit="mg/dl",
    lower_is_better=True,
    margin=0.5,
    parts=["fasting", "after a meal"],
    counts=[600.0, 400.0],
)


def make_record(
    kind: Kind = "baseline",
    *,
    train_s: Sequence[float] = (9.0, 4.0, 4.0),
    accuracy: float = 0.99,
    metric: Metric = ACCURACY,
    world_size: int = 1,
    threads: int = 2,
    seed: int = 0,
    comm: Any = None,
    minute: int = 0,
    late_s: Sequence[float] | None = None,
    **changes: Any,
) -> Record:
    """Make the record of a run over ten classes of 100 test samples each, or over what `metric` counts.

    `accuracy` is the value of the metric, in every part of the test set. `train_s` holds the seconds of each epoch.
    `late_s` holds, for each rank, the seconds that it waits in every epoch.
    """
    epochs = [
        Epoch(
            epoch=number + 1,
            train_s=seconds,
            eval_s=0.5,
            samples=59_904,
            train_loss=0.5 / (number + 1),
            loss_curve=[0.6 / (number + 1), 0.4 / (number + 1)],
            metric=accuracy,
            metric_sums=[accuracy * count for count in metric.counts],
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
        "metric": metric,
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
                data_s=None,
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


def ddp(**changes: Any) -> Record:
    """Make the record of a run of two ranks over gloo."""
    return make_record(**({"kind": "ddp", "world_size": 2, "threads": 1, "comm": "gloo"} | changes))


# Seconds of a step of each arm, in a world without noise: the way from ideal workers, in milliseconds, is 10, 11, 12.5,
# 13 and 15.
ONE, TWO = Arm("baseline", 1, 1, None), Arm("baseline", 1, 2, None)
GLOO, SHM, NONE, NOTHING = (Arm("ddp", 2, 1, comm) for comm in ("gloo", "shm", "none", "nothing"))
BATCH = SETTINGS.global_batch


def at(arm: Arm, global_batch: int = BATCH, *, replayed: bool = False) -> turns.TurnArm:
    """Return an arm at a batch."""
    return turns.TurnArm(arm=arm, global_batch=global_batch, replayed=replayed)


TRUTH = {
    at(ONE): 0.020,
    at(TWO): 0.012,
    at(SHM): 0.015,
    at(NONE): 0.0125,
    at(NOTHING): 0.013,
    at(ONE, BATCH // 2): 0.011,
}
# The same where data is read while training: what explains trains on batches in memory, and reading takes 3 ms.
READING = {
    at(ONE): 0.022,
    at(TWO): 0.014,
    at(SHM): 0.018,
    **{at(turn.arm, turn.global_batch, replayed=True): step_s for turn, step_s in TRUTH.items() if turn != at(TWO)},
}
Factor = Callable[[turns.TurnArm, int], float]  # an arm and a round -> what its time is multiplied by


def make_launch(
    number: int = 0,
    factor: Factor = lambda *_: 1.0,
    truth: Mapping[turns.TurnArm, float] = TRUTH,
    *,
    rounds: int = 9,
    **changes: Any,
) -> turns.Launch:
    """Make a launch in which a block takes the truth times a factor, in seconds of a step.

    All ranks are equally fast. Where gradients are exchanged, a tenth of the time is that, and half of it is waiting.
    """
    steps, reads = 10, any(turn.replayed for turn in truth)

    def visits(turn: turns.TurnArm) -> turns.Visits:
        block_s = [steps * truth[turn] * factor(turn, each) for each in range(rounds)]
        size, reduces = turn.arm.world_size, turn.arm.world_size > 1 and not turn.arm.is_control
        return turns.Visits(
            turn=turn,
            steps=steps,
            rank_batches=[turn.global_batch // size] * size,
            block_s=[[seconds] * size for seconds in block_s],
            reduce_s=[[0.1 * seconds] * size for seconds in block_s] if reduces else None,
            late_s=[[0.05 * seconds if rank == 0 else 0.0 for rank in range(size)] for seconds in block_s]
            if reduces
            else None,
            data_s=[[0.05 * seconds] * size for seconds in block_s] if reads and not turn.replayed else None,
        )

    values = {
        "schema": turns.SCHEMA,
        "study": "test",
        "number": number,
        "settings": SETTINGS,
        "parameters": 56_826,
        "environment": MACHINE,
        "started_at": f"2026-11-23T23:{number:02d}:00.000+00:00",
        "startup_s": 4.0,
        "order": [[*range(len(truth))]] * rounds,
        "round_s": [1.0] * rounds,
        "stolen_s": [0.01] * rounds,
        "visits": [visits(turn) for turn in truth],
        "check": None,
        "injected": None,
        "peak_rss_bytes": [10**9, 10**9],
    }
    return turns.Launch(**(values | changes))


def put(folder: Path, *measured: Record | turns.Launch, start: int = 0) -> list[Path]:
    """Write records into a folder, under names that sort by time like those of real runs. Returns their paths."""
    paths = []
    for number, each in enumerate(measured, start):
        if isinstance(each, Record):
            paths.append(folder / f"20261124-00{number:02d}00-run.json")
            write_record(paths[-1], each)
        else:
            paths.append(turns.path_of(folder, each.number))
            paths[-1].write_bytes(msgspec.json.encode(each))
    return paths
