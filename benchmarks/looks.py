"""How often the interval of a study holds the truth, though the study looks at it after every launch.

python -m benchmarks.looks FOLDER    launches recorded by the studies in a folder, resampled; then made-up ones
python -m benchmarks.looks           made-up launches alone: they scatter by a known amount, some of them stalled

By simulation with the rule of the product: up to 22 launches, which are five minutes, and an end as soon as the answer
is known. A recorded launch is resampled in blocks of rounds, because neighbouring rounds share their stalls and their
drift; then a launch effect is added that stretches the scatter between launches to what the recorded ones have. The
truth is the centre of all recorded launches. Two equal arms are the same launches with that centre taken away.
"""

import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, quantiles, stdev

from benchmarks.rounds import Report
from ddpbench.judge import stats, timing
from ddpbench.judge.outcome import ERROR_OF_A_LOOK, is_known, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.turns import read_launches

STUDIES, MOST_LAUNCHES, WITHIN, MARGIN = 4_000, 22, 0.03, 0.03
BLOCK_ROUNDS = 3  # neighbouring rounds that are drawn together
Draw = Callable[[random.Random], float]  # the logarithm of the speed that one launch finds


def main() -> None:
    """Simulate studies of the recorded launches in the folder that is named, and of made-up ones."""
    report = Report("looks")
    for word in sys.argv[1:]:
        recorded(report, sorted(path.parent for path in Path(word).glob("*/turns-000.json")))
    made_up(report)
    report.write()


def made_up(report: Report) -> None:
    """Simulate launches of several scatters and true speeds."""
    for scatter in (0.01, 0.02, 0.033, 0.06):
        for truth in (0.0, 0.02, 0.08):
            for stalls in (0.0, 0.1):

                def draw(noise: random.Random, truth: float = truth, s: float = scatter, p: float = stalls) -> float:
                    stall = 3 * s * noise.choice((-1, 1)) if noise.random() < p else 0.0
                    return truth + noise.gauss(0, s) + stall

                report.section(f"launches scatter by {scatter:.1%}, truth {truth:+.0%}, {stalls:.0%} stalled launches")
                simulate(report, draw, truth)


def recorded(report: Report, folders: Sequence[Path]) -> None:
    """Resample the launches of studies of equal settings."""
    launches = [launch for folder in folders for launch in read_launches(folder)]
    timed = timing.of_launches(launches)
    batch = launches[0].settings.global_batch
    parallel, reference = timed.parallel(batch), timed.reference(batch)
    assert parallel is not None
    assert reference is not None
    rounds = [unit.logs(parallel, reference) for unit in timed.units]
    centres = [stats.centre(logs) for logs in rounds]
    truth = fmean(centres)

    def resampled(noise: random.Random) -> float:
        logs = noise.choice(rounds)
        starts = [noise.randrange(max(1, len(logs) - BLOCK_ROUNDS + 1)) for _ in range(-(-len(logs) // BLOCK_ROUNDS))]
        return stats.centre([log for start in starts for log in logs[start : start + BLOCK_ROUNDS]][: len(logs)])

    report.section(
        f"{parallel.arm.label} against {reference.arm.label}: {len(launches)} recorded launches that scatter by "
        f"{stdev(centres):.1%}, truth {truth:+.1%}"
    )
    truth_of_resampled = fmean(resampled(random.Random(seed)) for seed in range(20_000))
    simulate(report, resampled, truth_of_resampled)
    report.section("the same launches, as those of two equal arms")
    simulate(report, lambda noise: resampled(noise) - truth_of_resampled, 0.0)


def simulate(report: Report, draw: Draw, truth: float) -> None:
    """Carry out studies, and report how often their interval holds the truth."""
    ends = [study(random.Random(seed), draw) for seed in range(STUDIES)]
    held = [100.0 * ((end.low or 0) <= math.exp(truth) <= (end.high or 0)) for end in ends]
    called = [100.0 * (outcome_of(end, MARGIN) in ("faster", "slower")) for end in ends]
    report.figure("the interval holds the truth", [sum(held) / len(held)], f"% of {STUDIES:,} studies")
    report.figure("called faster or slower", [sum(called) / len(called)], f"% of {STUDIES:,} studies")
    report.figure("launches, percentiles 5, 50 and 95", percentiles([float(end.n) for end in ends]), "launches")
    report.figure("half width, the same", percentiles([100.0 * (end.half_width or 0) for end in ends]), "%")


def percentiles(values: Sequence[float]) -> list[float]:
    """Return the values below which 5, 50 and 95 of 100 lie."""
    cuts = quantiles(values, n=20, method="inclusive")
    return [cuts[0], cuts[9], cuts[18]]


def study(noise: random.Random, draw: Draw) -> Estimate:
    """Return the interval with which one study ends."""
    logs: list[float] = []
    while True:
        logs.append(draw(noise))
        speed = stats.ratio(logs, ERROR_OF_A_LOOK)
        if is_known(logs, WITHIN, MARGIN) or len(logs) == MOST_LAUNCHES:
            return speed


if __name__ == "__main__":
    main()
