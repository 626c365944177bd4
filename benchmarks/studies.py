"""Repeated studies of one machine: how long they take, how narrow their intervals are, and whether these hold.

python -m benchmarks.studies 10 FOLDER    ten times bash launch.sh, whose records go to FOLDER
python -m benchmarks.studies 0 FOLDER     the figures of the studies that are there

The long-run speed is the centre of all launches of all studies. An interval that holds it is right. A study's own
launches are a part of that centre, so this is checked again without them, and once more sitting by sitting.
"""

import math
import subprocess
import sys
import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from benchmarks.rounds import LAST, Report
from ddpbench.judge import judgement, stats, study, timing
from ddpbench.judge.stats import Estimate

PROJECT = LAST.parents[1]


def main() -> None:
    """Carry out studies, then report on all that are in the folder."""
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "seconds.txt").open("a") as seconds:
        for number in range(count):
            begin = time.monotonic()
            command = ["bash", "launch.sh", *sys.argv[3:], "--results", str(folder.resolve())]
            subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            print(f"study {number + 1} of {count}: {time.monotonic() - begin:.0f} s", flush=True)
            print(time.monotonic() - begin, file=seconds, flush=True)
    took_s = [float(line) for line in (folder / "seconds.txt").read_text().split()]
    report_on(sorted(path.parent for path in folder.glob("*/turns-000.json")), took_s)


def report_on(folders: list[Path], took_s: list[float]) -> None:
    """Report on studies: their lengths, their intervals, and how often these hold the long-run speed."""
    judged = [judgement.judge(study.load([folder])) for folder in folders]
    launches = [launch for each in judged for launch in each.study.launches]
    timed = timing.of_launches(launches)
    batch = launches[0].settings.global_batch
    reference, parallel = timed.reference(batch), timed.parallel(batch)
    assert reference is not None
    assert parallel is not None
    speeds = [timing.of_launches(each.study.launches).speed(parallel, reference) for each in judged]
    report = Report("studies")
    report.section(f"{parallel.arm.label} against {reference.arm.label}, {len(folders)} studies")
    report.figure("a study", took_s, "s")
    report.figure("launches of a study", [float(len(each.study.launches)) for each in judged], "launches")
    report.figure("half width of the interval", [100 * (speed.half_width or 0) for speed in speeds if speed], "%")
    report.figure("speed", [speed.value for speed in speeds if speed], "times as fast")
    everything, held, held_by_others = timed.logs(parallel, reference), list[float](), list[float]()
    logs = [timing.of_launches(each.study.launches).logs(parallel, reference) for each in judged]
    for own, speed in zip(logs, speeds, strict=True):
        assert speed is not None
        rest = (sum(everything) - sum(own)) / max(1, len(everything) - len(own))
        held.append(100.0 * ((speed.low or 0) <= math.exp(fmean(everything)) <= (speed.high or 0)))
        held_by_others.append(100.0 * ((speed.low or 0) <= math.exp(rest) <= (speed.high or 0)))
    report.figure("holds the speed of all launches", [fmean(held)], "% of studies")
    report.figure("holds the speed of its own sitting", [_held_in_sittings(folders, speeds, logs)], "% of studies")
    report.figure("holds the speed of the others' launches", [fmean(held_by_others)], "% of studies")
    apart = [
        found.apart.value
        for each in judged
        if each.comparison and (found := each.comparison.agreement) and found.apart is not None
    ]
    if apart:
        report.figure("speed in whole runs / speed in turns", apart, "times")
        together = stats.mean([math.log(value) for value in apart])
        bounds = [math.exp(value) for value in (together.low, together.high) if value is not None]
        report.figure("the same over all studies", [math.exp(together.value), *bounds], "times: mean and its interval")
    report.write()


def _held_in_sittings(folders: list[Path], speeds: list[Estimate | None], logs: list[list[float]]) -> float:
    """Return how many studies, in percent, hold the centre of all launches of their own sitting.

    A sitting ends where no study begins for half an hour. What a machine does beside may differ from one to the next.
    """
    began = [datetime.strptime(folder.name, "%Y%m%d-%H%M%S") for folder in folders]
    sittings = [0]
    for before, after in pairwise(began):
        sittings.append(sittings[-1] + (after - before > timedelta(minutes=30)))
    held = []
    for sitting, speed in zip(sittings, speeds, strict=True):
        assert speed is not None
        together = [log for other, some in zip(sittings, logs, strict=True) if other == sitting for log in some]
        held.append(100.0 * ((speed.low or 0) <= math.exp(fmean(together)) <= (speed.high or 0)))
    return fmean(held)


if __name__ == "__main__":
    main()
