"""The line of one run on the screen, and its events in the log."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ddpbench.notes import AnyNote, EpochDone
from ddpbench.study.attempts import End
from ddpbench.study.events import EventLog
from ddpbench.study.forecast import Forecast, minutes
from ddpbench.study.plan import Job
from ddpbench.study.runner import Observer
from ddpbench.study.screen import Screen


@dataclass
class RunLine(Observer):
    """Observes one run: it shows how far it is, and writes its events."""

    job: Job
    head: str  # the beginning of the line
    todo: Sequence[Job]  # this job, and those that follow
    restarts: int  # how often the run may be started again
    screen: Screen
    events: EventLog
    forecast: Forecast
    is_starting: bool = True  # until the first note of an attempt
    epochs: list[EpochDone] = field(default_factory=list)
    begin_s: float = field(default_factory=time.monotonic)

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
        left_s = self.forecast.left_s(self.todo, time.monotonic() - self.begin_s)
        place = "starting" if self.is_starting else at_epoch(self.epochs, self.job.epochs)
        self.screen.rewrite([self.head, place, time_left(left_s), speed(self.job, self.epochs)])

    def attempt_ended(self, attempt: int, end: End) -> None:
        """Write how an attempt ended, and say why another one follows."""
        values = {"outcome": end.outcome, "why": end.why, "exit_code": end.exit_code}
        self.events.write("attempt_ended", run=self.job.label, attempt=attempt + 1, **values)
        if end.outcome == "again":
            line = end.restart_line(attempt, self.restarts)
            self.screen.say(f"{self.head.rstrip()}: {line}", indent="  ")

    def run_ended(self, end: End) -> None:
        """Write how the run ended. Where it is complete, its line stays on the screen with the results."""
        took_s = time.monotonic() - self.begin_s
        values = {"outcome": end.outcome, "exit_code": end.exit_code, "took_s": took_s}
        self.events.write("run_ended", run=self.job.label, **values)
        if end.outcome == "complete":
            self.forecast.took(self.job, took_s)
            rest = self.todo[1:]
            left = time_left(self.forecast.left_s(rest)) if rest else ""
            results = [speed(self.job, self.epochs).rjust(15), accuracy(self.job, self.epochs).rjust(7)]
            self.screen.say_parts([self.head, *results, left])


def head_of(job: Job, number: int, count: int, label_width: int) -> str:
    """Return the beginning of a run's line: `[ 3/24] ddp 2 x 1, shm, seed 0`."""
    return f"[{number:>{len(str(count))}}/{count}] {job.label.ljust(label_width)}"


def speed(job: Job, epochs: Sequence[EpochDone]) -> str:
    """Return the mean speed so far; "" before the first epoch. The first epoch of several is warm-up."""
    if not epochs:
        return ""
    train_s = fmean(epoch.train_s for epoch in (epochs[1:] or epochs))
    if job.steps is not None:
        return f"{1e3 * train_s / job.steps:.2f} ms a step"
    return f"{train_s:.2f} s an epoch"


def accuracy(job: Job, epochs: Sequence[EpochDone]) -> str:
    """Return the newest accuracy; "" where it is no result."""
    return f"{epochs[-1].accuracy:.2%}" if epochs and job.has_accuracy else ""


def at_epoch(epochs: Sequence[EpochDone], count: int) -> str:
    """Return at which of `count` epochs a run is."""
    return f"epoch {min(len(epochs) + 1, count)}/{count}"


def time_left(seconds: float) -> str:
    """Return the time that is left of a study in words."""
    return f"about {minutes(seconds)} left"
