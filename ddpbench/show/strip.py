"""The interval of a speed as a line of characters: its scale is slower on the left and faster on the right."""

import math

from ddpbench.judge.stats import Estimate

CELLS = 33  # the middle one means equally fast
REACHES = (1.1, 1.25, 1.5, 2.0, 4.0, 10.0, 100.0)  # the right end of the scale; the left end is 1 / reach


def strip(speed: Estimate) -> str | None:
    """Draw the interval on the smallest scale that holds it: `-` is the interval, `o` its value, `|` equally fast.

    None where there is no interval.
    """
    if speed.low is None or speed.high is None:
        return None
    farthest = max(abs(math.log(bound)) for bound in (speed.low, speed.high))
    reach = next((each for each in REACHES if math.log(each) >= farthest), REACHES[-1])

    def cell(value: float) -> int:
        share = 0.5 + math.log(value) / math.log(reach) / 2
        return round(min(1.0, max(0.0, share)) * (CELLS - 1))

    cells = ["·"] * CELLS
    cells[cell(speed.low) : cell(speed.high) + 1] = "-" * (cell(speed.high) - cell(speed.low) + 1)
    cells[CELLS // 2] = "|"
    cells[cell(speed.value)] = "o"
    return f"slower {1 / reach:.2g}x {''.join(cells)} {reach:.3g}x faster"
