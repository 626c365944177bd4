"""The line of one whole run on the screen, and its events in the log."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ddpbench.notes import AnyNote, EpochDone
from ddpbench.study.attempts import End
from ddpbench.study.events import EventLog
from ddpbench.study.forecast import Forecast, Left
from ddpbench.study.plan import Job
from ddpbench.study.runner import Observer
from ddpbench.study.screen import Screen

PHASE_WIDTH, NUMBER_WIDTH = 8, 10  # columns of the beginning of a line
RESULT_WIDTH = 53  # columns of what follows, before the time that is left
TIME_WIDTH = 18


@dataclass
class RunLine(Observer):
    """Observes one run: it shows how far it is, and writes its events."""

    head: str  # the beginning of the line
    label_width: int  # columns of the longest label of the study's runs
    epochs_planned: int
    todo: Sequence[Job]  # the job of this run, and those that follow
    restarts: int  # how often the run may be started again
    screen: Screen
    events: EventLog
    forecast: Forecast
    is_starting: bool = True  # until the first note of an attempt
    epochs: list[EpochDone] = field(default_factory=list)
    begin_s: float = field(default_factory=time.monotonic)

    @property
    def job(self) -> Job:
        """The job of this run."""
        return self.todo[0]

    def attempt_began(self, attempt: int) -> None:
        """Show that the run is starting."""
        self.is_starting = True
        self.events.write("attempt_began", run=self.job.label, attempt=attempt + 1)
        self.waited()

    def noted(self, note: AnyNote) -> None:
        """Write a note to the log, and keep an epoch for the line. A run that is resumed may repeat epochs."""
        self.events.write("note", run=self.job.label, note=note)
        self.is_starting = False
        if isinstance(note, EpochDone):
            self.epochs = [each for each in self.epochs if each.epoch < note.epoch] + [note]

    def waited(self) -> None:
        """Rewrite the line."""
        left = Left(self.forecast.left_s(self.todo, time.monotonic() - self.begin_s), is_most=False)
        place = "starting" if self.is_starting else at_epoch(self.epochs, self.epochs_planned)
        self.screen.rewrite([self.head, self.job.label, place, left.words(), speed(self.epochs)])

    def attempt_ended(self, attempt: int, end: End) -> None:
        """Write how an attempt ended, and say why another one follows."""
        values = {"outcome": end.outcome, "why": end.why, "exit_code": end.exit_code}
        self.events.write("attempt_ended", run=self.job.label, attempt=attempt + 1, **values)
        if end.outcome == "again":
            line = end.restart_line(attempt, self.restarts)
            self.screen.say(f"{self.head.rstrip()}  {self.job.label}: {line}", indent="  ")

    def run_ended(self, end: End) -> None:
        """Write how the run ended. Where it is complete, its line stays on the screen with the results."""
        took_s = time.monotonic() - self.begin_s
        values = {"outcome": end.outcome, "exit_code": end.exit_code, "took_s": took_s}
        self.events.write("run_ended", run=self.job.label, **values)
        if end.outcome == "complete":
            self.forecast.took(self.job, took_s)
            rest = self.todo[1:]
            left = Left(self.forecast.left_s(rest), is_most=False).words() if rest else ""
            label = self.job.label.ljust(self.label_width)
            results = f"{label}  {speed(self.epochs):>15}  {figure(self.epochs):>7}"
            self.screen.say_parts([self.head, padded(results, self.screen), left])


def head_of(phase: str, number: str) -> str:
    """Return the beginning of a line: `speed     launch 3`, `learning  run 4/6`."""
    return f"{phase:<{PHASE_WIDTH}}  {number:<{NUMBER_WIDTH}}"


def padded(results: str, screen: Screen) -> str:
    """Return results with spaces behind them, so that the times that are left stand below each other."""
    return results.ljust(min(RESULT_WIDTH, screen.width - PHASE_WIDTH - NUMBER_WIDTH - TIME_WIDTH - 6))


def speed(epochs: Sequence[EpochDone]) -> str:
    """Return the mean speed so far; "" before the first epoch. The first epoch of several is warm-up."""
    return f"{fmean(epoch.train_s for epoch in (epochs[1:] or epochs)):.2f} s an epoch" if epochs else ""


def figure(epochs: Sequence[EpochDone]) -> str:
    """Return the newest figure of the test set; "" where there is none."""
    return epochs[-1].figure if epochs else ""


def at_epoch(epochs: Sequence[EpochDone], count: int) -> str:
    """Return at which of `count` epochs a run is."""
    return f"epoch {min(len(epochs) + 1, count)}/{count}"
