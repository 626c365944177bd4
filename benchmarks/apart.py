"""A turn against a process of its own: is an arm as fast beside the others as alone?

python -m benchmarks.apart

Every round makes a launch in which all arms take turns, and for each arm a launch of its own: its ranks and nothing
else, without neighbours that sleep. The order changes from round to round.
"""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.rounds import Report, ratios
from ddpbench import environment
from ddpbench.arm import Arm
from ddpbench.judge import timing
from ddpbench.turns import Question, TurnArm, path_of, read_launch

ROUNDS, ROUNDS_S, ALONE_S, BATCH = 7, 6.0, 3.0, 256


def main() -> None:
    """Measure every arm in turns and alone, interleaved."""
    cores, report, order = environment.usable_cores(), Report("apart"), random.Random(0)
    single, *parallel = [
        TurnArm(arm=arm, global_batch=BATCH)
        for arm in (Arm("baseline", 1, cores, None), *(Arm("ddp", cores, 1, comm) for comm in ("shm", "gloo", "none")))
    ]
    arms = [single, *parallel]
    in_turns: dict[TurnArm, list[float]] = {arm: [] for arm in arms}
    alone: dict[TurnArm, list[float]] = {arm: [] for arm in arms}
    for number in range(ROUNDS):
        jobs: list[Sequence[TurnArm]] = [arms, *([arm] for arm in arms)]
        order.shuffle(jobs)
        for job in jobs:
            for arm, step_s in launch(job, number, ROUNDS_S if len(job) > 1 else ALONE_S).items():
                (in_turns if len(job) > 1 else alone)[arm].append(step_s)
    for arm in arms:
        report.section(f"{arm.arm.label}, global batch {BATCH}")
        report.figure("in turns", [1e3 * value for value in in_turns[arm]], "ms a step")
        report.figure("alone", [1e3 * value for value in alone[arm]], "ms a step")
        report.figure("in turns / alone", ratios(in_turns[arm], alone[arm]), "times")
        if arm != single:
            turns, apart = (ratios(times[single], times[arm]) for times in (in_turns, alone))
            report.figure("speed in turns", turns, "times as fast as the single process")
            report.figure("speed alone", apart, "times as fast as the single process")
            report.figure("speed in turns / speed alone", ratios(turns, apart), "times")
    report.write()


def launch(arms: Sequence[TurnArm], number: int, seconds: float) -> dict[TurnArm, float]:
    """Carry out a launch of these arms. Returns the seconds of a step of each."""
    ranks = max(arm.arm.world_size for arm in arms)
    with TemporaryDirectory() as folder:
        path = path_of(Path(folder), 0)
        question = Question(
            ["--device", "cpu", "--global-batch", str(BATCH)], list(arms), list(arms), number, seconds, str(path)
        )
        torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={ranks}"]
        words = [*torchrun, "-m", "ddpbench.train.turns", msgspec.json.encode(question).decode()]
        subprocess.run(words, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        timed = timing.of_launches([read_launch(path)])
    return {arm: arm.global_batch * median(timed.of(arm)) for arm in arms}


if __name__ == "__main__":
    main()
