"""Two ranks and one process, step for step: shm and gloo against the ceiling, and against the best single process.

python -m benchmarks.scaling            every case
python -m benchmarks.scaling mlp 16     one of them, by model and global batch

Every case is `bash launch.sh speed` on MNIST, for two minutes. A figure is the median over the rounds of a launch.

"none" is the ceiling: the same ranks, but they never communicate, timed by the fastest. "nothing" is
DistributedDataParallel with a hook that exchanges nothing: "wrapper over the ceiling" is what DDP itself costs.
"""

import math
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rounds import LAST, Report
from ddpbench.judge import timing
from ddpbench.judge.timing import Timing
from ddpbench.turns import TurnArm, read_launches

CASES = (("mlp", "16"), ("mlp", "256"), ("mlp", "1024"), ("cnn", "256"))
# A precision that no study reaches: the minutes decide.
FLAGS = ("--world-sizes", "2", "--schedule", "constant", "--device", "cpu", "--within", "0.1%", "--minutes", "2")


def main() -> None:
    """Measure every case, and report."""
    report = Report("scaling")
    for model, batch in CASES if len(sys.argv) < 3 else ((sys.argv[1], sys.argv[2]),):
        report.section(f"{model}, global batch {batch}, 2 ranks")
        report_on(measure("--model", model, "--global-batch", batch), int(batch), report)
    report.write()


def measure(*flags: str) -> Timing:
    """Carry out a study of speed. Returns the times of its arms."""
    with TemporaryDirectory() as folder:
        command = ["bash", "launch.sh", "speed", *FLAGS, *flags, "--results", folder]
        subprocess.run(command, cwd=LAST.parents[1], check=True, capture_output=True)
        (first,) = Path(folder).glob("*/turns-000.json")
        return timing.of_launches(read_launches(first.parent))


def report_on(times: Timing, batch: int, report: Report) -> None:
    """Report the steps of every arm, and how the arms compare."""
    arms = times.at(batch)
    for turn in arms:
        report.figure(turn.arm.label, [1e3 * batch * sample_s for sample_s in times.of(turn)], "ms a step")
    ranks: dict[str | None, TurnArm] = {turn.arm.comm: turn for turn in arms if turn.arm.kind == "ddp"}
    best = times.reference(batch)
    assert best is not None
    for name, turn, reference in (
        ("shm over the ceiling", ranks["shm"], ranks["none"]),
        ("wrapper over the ceiling", ranks["nothing"], ranks["none"]),
        ("gloo over the ceiling", ranks["gloo"], ranks["none"]),
        ("shm over gloo", ranks["shm"], ranks["gloo"]),
        ("shm over the best single process", ranks["shm"], best),
        ("ceiling over the best single process", ranks["none"], best),
    ):
        report.figure(name, [math.exp(log) for log in times.logs(turn, reference)], "times")


if __name__ == "__main__":
    main()
