"""What a study tells about itself: to a person on the screen, and to programs in its log of events."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from ddpbench.study.attempts import RESUMES, End
from ddpbench.study.events import EventLog
from ddpbench.study.forecast import Forecast, Left
from ddpbench.study.launch_line import LaunchLine
from ddpbench.study.plan import Job, Plan, Request
from ddpbench.study.run_line import RunLine, head_of, padded
from ddpbench.study.screen import Screen

LOGS = "logs"  # the folder, in that of a study, for what its launches and runs print


class Reporter:
    """Reports on the study of one folder."""

    def __init__(self, folder: Path, screen: Screen, restarts: int) -> None:
        self.folder, self._screen, self._restarts = folder, screen, restarts
        self.goes_on = RESUMES  # in words, how the user goes on after a stop
        self.forecast = Forecast()
        self.events = EventLog(folder)

    @property
    def logs(self) -> Path:
        """The folder for what launches and runs print."""
        return self.folder / LOGS

    def study_began(self, request: Request, introduction: Iterable[str]) -> None:
        """Print the lines that describe the study, and say how to go on with it."""
        self.events.begin(request)
        for line in introduction:
            self._screen.say(line, indent="  ")
        how = "--resume goes on" if self.goes_on == RESUMES else self.goes_on
        self._screen.say(f"Ctrl-C is safe, and {how}; all output is in {self.logs}", indent="  ")

    def launch_began(self, number: int, command: Sequence[str], known: str, left: Left) -> LaunchLine:
        """Report that a launch begins. Returns its observer. `known` is what the launches before say."""
        self.events.write("launch_began", launch=number, command=shlex.join(command))
        return LaunchLine(number, known, left, self._restarts, self._screen, self.events)

    def launch_judged(self, count: int, known: str, left: Left) -> None:
        """Print the line of a launch, which stays: what all `count` launches say, and the time that is left."""
        head = head_of("speed", f"launch {count}")
        self._screen.say_parts([head, padded(known, self._screen), left.words()])

    def checked(self, findings: Sequence[str]) -> None:
        """Print what the check of the task has found."""
        for finding in findings:
            self._screen.say(f"{head_of('check', '').rstrip()}     {finding}", indent="          ")

    def run_began(self, todo: Sequence[Job], plan: Plan, command: Sequence[str]) -> RunLine:
        """Report that the first job of `todo` begins. Returns the observer of its run."""
        job = todo[0]
        self.events.write("run_began", run=job.label, command=shlex.join(command))
        head = head_of("learning", f"run {plan.jobs.index(job) + 1}/{len(plan.jobs)}")
        width, epochs = max(len(each.label) for each in plan.jobs), plan.request.settings.epochs
        return RunLine(head, width, epochs, todo, self._restarts, self._screen, self.events, self.forecast)

    def stopped(self) -> None:
        """Say that a signal has ended the study, and how to go on."""
        self._screen.warn(f"stopped; finished launches and runs are in {self.folder}; {self.goes_on}")

    def ended(self, what: str, end: End) -> None:
        """Say why the study ends, where a launch or a run was stopped or has failed."""
        if end.outcome == "stopped":
            self.stopped()
        elif end.outcome == "failed":
            self.failed(what, end)

    def failed(self, what: str, end: End) -> None:
        """Say where everything is, how to go on, and last why the study ends."""
        places = f"finished launches and runs are in {self.folder}, all output is in {self.logs}"
        self._screen.warn(f"{places}; {self.goes_on}")
        self._screen.warn(f"{what}: {end.why}")

    def all_ended(self) -> None:
        """Print an empty line, which sets the answer apart from the progress."""
        self._screen.say("")
