"""The line of one launch of turns on the screen, and its events in the log."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ddpbench.notes import AnyNote
from ddpbench.study.attempts import End
from ddpbench.study.events import EventLog
from ddpbench.study.forecast import Left
from ddpbench.study.run_line import head_of, padded
from ddpbench.study.runner import Observer
from ddpbench.study.screen import Screen
from ddpbench.turns import Pair

WIDEST = 10.0  # times as fast: the end of the widest interval that is shown


@dataclass
class LaunchLine(Observer):
    """Observes one launch: it shows what the launches before say, and writes its events."""

    number: int  # from 0
    known: str  # what the launches before say; "" before the first
    left: Left
    restarts: int  # how often the launch may be started again
    screen: Screen
    events: EventLog
    begin_s: float = field(default_factory=time.monotonic)

    @property
    def head(self) -> str:
        """The beginning of the line."""
        return head_of("speed", f"launch {self.number + 1}")

    def attempt_began(self, attempt: int) -> None:
        """Show that the launch is starting."""
        self.events.write("attempt_began", launch=self.number, attempt=attempt + 1)
        self.waited()

    def noted(self, note: AnyNote) -> None:
        """Write a note to the log."""
        self.events.write("note", launch=self.number, note=note)

    def waited(self) -> None:
        """Rewrite the line."""
        words = self.left.words(time.monotonic() - self.begin_s)
        self.screen.rewrite([self.head, padded(self.known, self.screen), words])

    def attempt_ended(self, attempt: int, end: End) -> None:
        """Write how an attempt ended, and say why another one follows."""
        values = {"outcome": end.outcome, "why": end.why, "exit_code": end.exit_code}
        self.events.write("attempt_ended", launch=self.number, attempt=attempt + 1, **values)
        if end.outcome == "again":
            line = end.restart_line(attempt, self.restarts, "begins again")
            self.screen.say(f"{self.head.rstrip()}: {line}", indent="  ")

    def launch_ended(self, end: End) -> None:
        """Write how the launch ended."""
        took_s = time.monotonic() - self.begin_s
        values = {"outcome": end.outcome, "exit_code": end.exit_code, "took_s": took_s}
        self.events.write("launch_ended", launch=self.number, **values)


def result(pairs: Sequence[Pair]) -> str:
    """Return what launches say in a few words: how fast the parallel arm is, or how many batches of a sweep are known.

    `2 x 1, shm  1.02x (0.98 - 1.06)` is the ratio of speeds and its 95 % interval. That of two launches is endless.
    """
    if len(pairs) != 1:
        return f"{sum(pair.is_known for pair in pairs)} of {len(pairs)} batches known"
    (pair,) = pairs
    is_narrow = pair.low is not None and pair.high is not None and pair.high < WIDEST
    bounds = f" ({pair.low:.2f} - {pair.high:.2f})" if is_narrow else ""
    return f"{pair.parallel.arm.label}  {pair.speed:.2f}x{bounds}"
