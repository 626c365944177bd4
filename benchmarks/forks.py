"""Launches whose ranks are forked, against launches that torchrun's agent starts: do they find the same speed?

python -m benchmarks.forks 4 6 FOLDER    four servers, each with six launches of either kind, in turn
python -m benchmarks.forks 0 0 FOLDER    the figures of the launches that are there

Launches that are forked from one server share what that server was given: where libraries lie in memory. If that
decided about speed, the launches of one server would be alike, and their interval too narrow.
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev, variance

import msgspec

from benchmarks.rounds import Report
from ddpbench import environment
from ddpbench.judge import timing
from ddpbench.notes import Launch
from ddpbench.record import Comm
from ddpbench.study import designs
from ddpbench.study.designs import Resources
from ddpbench.study.runner import Program
from ddpbench.study.warm import Server
from ddpbench.turns import Question, path_of, read_launches

BATCH, ROUNDS_S = 256, 10.0
FASTEST: Comm = "shm"


def main() -> None:
    """Carry out launches of both kinds, then report on all that are in the folder."""
    servers, launches, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    for number in range(servers):
        server = Server()
        for launch in range(launches):
            for kind in ("fresh", "forked"):
                carry_out(server, kind, folder / f"{kind}-{number}", number * launches + launch)
    report_on(folder)


def carry_out(server: Server, kind: str, folder: Path, number: int) -> None:
    """Carry out one launch of the arms of a study."""
    folder.mkdir(parents=True, exist_ok=True)
    cores = environment.usable_cores()
    arms = designs.turns([cores], Resources(cores, cores, 0), designs.comms(FASTEST), BATCH, 60_000)
    focus = designs.at(designs.expected_arms(arms), BATCH)
    question = Question(["--device", "cpu"], arms, focus, number, ROUNDS_S, str(path_of(folder, number)))
    words = ["-m", "ddpbench.train.turns", msgspec.json.encode(question).decode()]
    program = Program([sys.executable, "-m", "ddpbench.train.agent", str(cores), *words], folder / "log")
    start = server.spawn(program) if kind == "forked" else program.start
    assert start(Launch(parent=os.getpid())).wait() == 0
    print(f"{kind} launch {number + 1}", flush=True)


def report_on(folder: Path) -> None:
    """Report on both kinds: their speeds, how these scatter, and whether the launches of a server are alike."""
    report = Report("forks")
    for kind in ("fresh", "forked"):
        groups = [speeds(group) for group in sorted(folder.glob(f"{kind}-*"))]
        every = [speed for group in groups for speed in group]
        report.section(f"{kind}: {len(groups)} servers, {len(every)} launches")
        report.figure("speed", [math.exp(speed) for speed in every], "times as fast")
        report.figure("launches scatter by", [100 * stdev(every)], "%")
        report.figure("launches of a server scatter by", [100 * math.sqrt(fmean(map(variance, groups)))], "%")
        chance = 100 * math.sqrt(fmean(map(variance, groups)) / len(groups[0]))
        report.figure("means of servers scatter by", [100 * stdev(map(fmean, groups))], "%")
        report.figure("by chance they would by", [chance], "%")
    report.write()


def speeds(folder: Path) -> Sequence[float]:
    """Return the logarithms of the speed of the fastest comm, launch by launch."""
    timed = timing.of_launches(read_launches(folder))
    reference = max(
        (turn for turn in timed.at(BATCH) if turn.arm.kind == "baseline"), key=lambda turn: turn.arm.threads_per_rank
    )
    (parallel,) = (turn for turn in timed.at(BATCH) if turn.arm.comm == FASTEST)
    return timed.logs(parallel, reference)


if __name__ == "__main__":
    main()
