"""What surviving costs: checkpoints while nothing happens, and the seconds that a killed rank costs.

python -m benchmarks.recovery

Saving: the default run on MNIST in one process, which saves what rank 0 of a DDP run saves, with a clock around every
checkpoint and around every step's calls of the Saver. Recovery: rank 1 of two is killed after step 200; from
then until all ranks are about to take the next attempt's first step, over the same from the start of the supervisor.
Both are the moments at which this program reads the lines that say so.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rounds import Report, ratios
from ddpbench import config
from ddpbench.record import read_record
from ddpbench.tasks import task
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.saver import Saver

ROUNDS = 5
LAUNCH = ("-m", "ddpbench", "run", "--ranks", "2", "--threads", "1", "--device", "cpu", "--epochs", "1")
READY = "ddp 2 x 1"  # the line that is said when all is built


def main() -> None:
    """Run every round, then report."""
    saves_ms: list[float] = []
    shares, steps_share, start_s, recovery_s = [], [], [], []
    for _ in range(ROUNDS):
        saved_s, stepped_s, train_s = train_and_save()
        saves_ms += [1e3 * second for second in saved_s]
        shares.append(100 * sum(saved_s) / train_s)
        steps_share.append(100 * sum(stepped_s) / train_s)
        started_s, recovered_s = kill_and_wait()
        start_s.append(started_s)
        recovery_s.append(recovered_s)
    report = Report("recovery")
    report.section("the default run and its checkpoints")
    report.figure("one checkpoint", saves_ms, "ms")
    report.figure("all checkpoints over training", shares, "%")
    report.figure("calls in every step over training", steps_share, "%")
    report.section("rank 1 of two is killed")
    report.figure("the supervisor's start to the first step", start_s, "s")
    report.figure("death to the next attempt's first step", recovery_s, "s")
    report.figure("recovery over start", ratios(recovery_s, start_s), "times")
    report.write()


def train_and_save() -> tuple[list[float], list[float], float]:
    """Train with the defaults. Returns the seconds of each checkpoint, of each step's calls, and of training."""
    saved_s, stepped_s = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        cfg = config.parse(["--results", folder, "--device", "cpu"])
        here = world.solo(cfg)
        before = {name: getattr(Saver, name) for name in ("_save", "step_taken", "loss_computed")}
        Saver._save = timed(before["_save"], saved_s)  # type: ignore[method-assign]
        Saver.step_taken = timed(before["step_taken"], stepped_s)  # type: ignore[method-assign]
        Saver.loss_computed = timed(before["loss_computed"], stepped_s)  # type: ignore[method-assign]
        with here:
            engine.fit(task.of(cfg).step(cfg), Batches.load(cfg, here), cfg, here, kind="baseline")
        for name, method in before.items():
            setattr(Saver, name, method)
        (path,) = Path(folder).glob("*.json")
        return saved_s, stepped_s, sum(epoch.train_s for epoch in read_record(path).epochs)


def timed(method: Callable[..., None], into: list[float]) -> Any:
    """Return a method that also notes its seconds."""

    def and_note(*args: object) -> None:
        begin = time.perf_counter()
        method(*args)
        into.append(time.perf_counter() - begin)

    return and_note


def kill_and_wait() -> tuple[float, float]:
    """Run with a rank that is killed. Returns the seconds of the start, and from the death to the next first step."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *LAUNCH, "--results", folder, "--hook", "tests/hooks/faults.py:kill=1@200"]
        begin, moments = time.perf_counter(), dict[str, list[float]]()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"DDPBENCH_INJECT": "yes"},
        )
        assert process.stdout is not None
        for line in process.stdout:
            for what in (READY, "fault: "):
                if line.startswith(what):
                    moments.setdefault(what, []).append(time.perf_counter())
        assert process.wait() == 0
        first, again = moments[READY]
        return first - begin, again - moments["fault: "][0]


if __name__ == "__main__":
    main()
