"""The interval of a speed on a line from slower, on the left, to faster: of characters, and for the page."""

import math
from dataclasses import dataclass

from ddpbench.judge.stats import Estimate

CELLS = 33  # the middle one means equally fast
REACHES = (1.1, 1.25, 1.5, 2.0, 4.0, 10.0, 100.0)  # the right end of the scale; the left end is 1 / reach


@dataclass(frozen=True, slots=True)
class Strip:
    """An interval on the smallest scale that holds it. Places are shares of the line: 0.5 is equally fast."""

    reach: float
    low: float
    value: float
    high: float

    @property
    def ends(self) -> tuple[str, str]:
        """What the two ends of the line mean, as times as fast."""
        return f"{1 / self.reach:.2g}x", f"{self.reach:.3g}x"

    def place(self, ratio: float) -> float:
        """Return the place of a speed on the line. What lies beyond an end is at the end."""
        return min(1.0, max(0.0, 0.5 + math.log(ratio) / math.log(self.reach) / 2))


def place(speed: Estimate) -> Strip | None:
    """Place an interval on its line. None where there is no interval."""
    if speed.low is None or speed.high is None:
        return None
    farthest = max(abs(math.log(bound)) for bound in (speed.low, speed.high))
    reach = next((each for each in REACHES if math.log(each) >= farthest), REACHES[-1])
    line = Strip(reach, 0.0, 0.5, 1.0)
    return Strip(reach, line.place(speed.low), line.place(speed.value), line.place(speed.high))


def strip(speed: Estimate) -> str | None:
    """Draw the interval in characters: `-` is the interval, `o` its value, `|` equally fast. None without one."""
    placed = place(speed)
    if placed is None:
        return None
    low, value, high = (round(share * (CELLS - 1)) for share in (placed.low, placed.value, placed.high))
    cells = ["·"] * CELLS
    cells[low : high + 1] = "-" * (high - low + 1)
    cells[CELLS // 2] = "|"
    cells[value] = "o"
    left, right = placed.ends
    return f"slower {left} {''.join(cells)} {right} faster"
