"""How often the interval of `launch.sh speed` holds the truth, though a study looks at it after every launch.

python -m benchmarks.looks

By simulation with the rule of the product: launches whose medians scatter by a known amount, up to ten of them, an end
as soon as the answer is known. Stalls are simulated too: one launch in ten is slower by three times the scatter.
"""

import math
import random

from benchmarks.rounds import Report
from ddpbench.judge import turns

STUDIES, MOST_LAUNCHES, WITHIN, MARGIN = 4_000, 10, 0.03, 0.03


def main() -> None:
    """Simulate studies of several scatters and true differences."""
    report = Report("looks")
    for scatter in (0.01, 0.02, 0.033, 0.06):
        for truth in (0.0, 0.02, 0.08):
            for stalls in (0.0, 0.1):
                report.section(f"launches scatter by {scatter:.1%}, truth {truth:+.0%}, {stalls:.0%} stalled launches")
                ends = [study(random.Random(seed), truth, scatter, stalls) for seed in range(STUDIES)]
                held = [100.0 * ((end.low or 0) <= math.exp(truth) <= (end.high or 0)) for end in ends]
                called = [100.0 * (end.outcome(MARGIN) in ("faster", "slower")) for end in ends]
                report.figure("the interval holds the truth", [sum(held) / len(held)], f"% of {STUDIES:,} studies")
                report.figure("called faster or slower", [sum(called) / len(called)], f"% of {STUDIES:,} studies")
                report.figure("launches", [float(end.launches) for end in ends], "launches")
    report.write()


def study(noise: random.Random, truth: float, scatter: float, stalls: float) -> turns.Ratio:
    """Return the interval with which one study ends."""
    logs: list[float] = []
    while True:
        stall = 3 * scatter * noise.choice((-1, 1)) if noise.random() < stalls else 0.0
        logs.append(truth + noise.gauss(0, scatter) + stall)
        ratio = turns.interval(logs)
        if ratio.is_known(WITHIN, MARGIN) or len(logs) == MOST_LAUNCHES:
            return ratio


if __name__ == "__main__":
    main()
