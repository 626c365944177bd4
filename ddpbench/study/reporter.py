"""What a study tells about itself: to a person on the screen, and to programs in its log of events."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ddpbench.study import preview
from ddpbench.study.attempts import RESUMES, End
from ddpbench.study.draft import Draft
from ddpbench.study.events import EventLog
from ddpbench.study.forecast import CHECK_S, Forecast
from ddpbench.study.plan import Job, Pending
from ddpbench.study.run_line import RunLine, head_of
from ddpbench.study.screen import Screen

LOGS = "logs"  # the folder, in that of a study, for what its runs print
RESULTS_WIDTH = 32  # columns of a run's line beside its label


class Reporter:
    """Reports on the study of one folder."""

    def __init__(self, folder: Path, screen: Screen, estimates_s: Mapping[Job, float], restarts: int) -> None:
        self._folder, self._screen, self._restarts = folder, screen, restarts
        self._forecast = Forecast(estimates_s)
        self.events = EventLog(folder)

    def study_began(self, draft: Draft, pending: Sequence[Pending]) -> None:
        """Describe the study, and say what is left of it."""
        self.events.begin(draft.plan.request)
        for line in (*preview.introduction(draft), *preview.outlook(draft, pending, self._folder, self.logs)):
            self._screen.say(line, indent="  ")

    @property
    def logs(self) -> Path:
        """The folder for what the runs print."""
        return self._folder / LOGS

    def checks_planned(self, jobs: Sequence[Job]) -> None:
        """Say that a sweep goes on with runs which check its prediction: always several, one for each arm."""
        for job in jobs:
            self._forecast.add(job, CHECK_S)
        self._screen.say(f"checking the prediction at global batch {jobs[0].global_batch}: {len(jobs)} runs")

    def run_began(self, todo: Sequence[Job], jobs: Sequence[Job], command: Sequence[str]) -> RunLine:
        """Report that the first job of `todo` begins. Returns the observer of its run. `jobs` are all of the plan."""
        job = todo[0]
        self.events.write("run_began", run=job.label, command=shlex.join(command))
        width = min(max(len(each.label) for each in jobs), self._screen.width - RESULTS_WIDTH)
        head = head_of(job, jobs.index(job) + 1, len(jobs), width)
        return RunLine(job, head, todo, self._restarts, self._screen, self.events, self._forecast)

    def stopped(self) -> None:
        """Say that a signal has ended the study, and how to go on."""
        self._screen.warn(f"stopped; finished runs are in {self._folder}; {RESUMES}")

    def failed(self, job: Job, end: End) -> None:
        """Say where everything is, how to go on, and last why the study ends."""
        self._screen.warn(f"finished runs are in {self._folder}, all output is in {self.logs}; {RESUMES}")
        self._screen.warn(f"{job.label}: {end.why}")

    def all_runs_ended(self) -> None:
        """Print an empty line, which sets the answer apart from the runs."""
        self._screen.say("")
