"""A study in its folder: run what is left of its plan, one run after the other, and judge it."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from ddpbench import __version__
from ddpbench.arm import runs
from ddpbench.notes import AnyNote, EpochDone, Launch
from ddpbench.questions import Machine
from ddpbench.study import commands, designs, forecast, plan, runner, screen
from ddpbench.study.decide import RESUMES, End
from ddpbench.study.draft import Draft, estimate_of, introduction
from ddpbench.study.events import EventLog
from ddpbench.study.forecast import Forecast
from ddpbench.study.options import Asked
from ddpbench.study.plan import Job, Plan, Request
from ddpbench.study.runner import Notebook, Program, Stop, supervise
from ddpbench.study.screen import Screen

LOGS = "logs"
MOST_NAMED = 3  # of the studies that could be gone on with, the newest


@dataclass
class Study:
    """A study in its folder, on its way to its answer."""

    folder: Path
    plan: Plan
    machine: Machine
    forecast: Forecast
    asked: Asked
    show: Screen
    events: EventLog

    @classmethod
    def open(cls, draft: Draft, asked: Asked, show: Screen) -> "Study":
        """Take up the study to go on with, or make a folder for a new one."""
        found = unfinished(draft.plan.request, asked.train.results, show) if asked.train.resume else None
        folder, known = found or (new_folder(asked.train.results), draft.plan)
        if found is None:
            plan.write(folder, known)
        estimates_s = {job: estimate_of(job, draft) for job in known.jobs}
        return cls(folder, known, draft.machine, Forecast(estimates_s), asked, show, EventLog(folder))

    def carry_out(self, stop: Stop) -> int:
        """Run what is left. Returns 0, or the exit code of the run that ended the study."""
        self.events.write("began", version=__version__, request=msgspec.to_builtins(self.plan.request))
        todo = self.plan.left(plan.records_in(self.folder))
        self._say_plan(todo)
        code = self._run_all(todo, stop)
        if code == 0 and self.plan.request.design == "sweep" and not any(job.checks for job in self.plan.jobs):
            more = self._checks(stop)
            if more:
                self.plan = msgspec.structs.replace(self.plan, jobs=[*self.plan.jobs, *more])
                plan.write(self.folder, self.plan)
                self.show.say(f"checking the prediction at global batch {more[0].global_batch}: {runs(len(more))}")
                code = self._run_all([(job, False) for job in more], stop)
        return code

    def _run_all(self, todo: Sequence[tuple[Job, bool]], stop: Stop) -> int:
        jobs = [job for job, _ in todo]
        for index, (job, has_begun) in enumerate(todo):
            if stop.asked is not None:
                return self._stopped(128 + stop.asked)
            end = self._run(job, jobs[index:], stop, has_begun=has_begun)
            if end.outcome == "stopped":
                return self._stopped(end.exit_code)
            if end.outcome == "failed":
                self.show.warn(f"finished runs are in {self.folder}, all output in its {LOGS}/; {RESUMES}")
                self.show.warn(f"{job.label}: {end.why}")
                return end.exit_code
        return 0

    def _run(self, job: Job, todo: Sequence[Job], stop: Stop, *, has_begun: bool) -> End:
        number = self.plan.jobs.index(job) + 1
        program = Program(
            commands.command_of(job, self.asked, self.folder, resume=has_begun),
            self.folder / LOGS / f"{number:03}-{job.arm.slug}-seed{job.seed}.log",
            {"OMP_NUM_THREADS": str(job.arm.threads_per_rank)},
        )
        notebook = Notebook()
        line = RunLine(self, job, number, todo)
        self.events.write("run_began", run=job.label, command=shlex.join(program.command))
        begin = time.monotonic()
        try:
            has_ranks = job.arm.kind == "ddp"
            end = supervise(program.start, notebook, stop, line, restarts=self.asked.restarts, has_ranks=has_ranks)
        finally:
            notebook.close()
        took_s = time.monotonic() - begin
        self.events.write("run_ended", run=job.label, outcome=end.outcome, exit_code=end.exit_code, took_s=took_s)
        if end.outcome == "complete":
            self.forecast.took(job, took_s)
            line.done()
        return end

    def _stopped(self, code: int) -> int:
        self.show.warn(f"stopped; finished runs are in {self.folder}; {RESUMES}")
        return code

    def _checks(self, stop: Stop) -> list[Job]:
        """Return the runs that check where a sweep predicts that it begins to pay."""
        answers, theirs = os.pipe()
        program = Program(
            [sys.executable, str(commands.PROJECT / "compare.py"), "--next-batches-to", str(theirs), str(self.folder)]
        )
        child = program.start(Launch(parent=os.getpid()), keep=[theirs])
        os.close(theirs)
        with os.fdopen(answers, "rb") as file:
            content = file.read()
        if runner.wait(child, stop) != 0 or not content:
            return []
        batches = msgspec.json.decode(content, type=list[int])
        alike = {job.arm: job for job in self.plan.jobs}  # steps and epochs as at the nearest batch
        found = []
        for batch in batches:
            for arm in alike:
                near = min((j for j in self.plan.jobs if j.arm == arm), key=lambda j: abs(j.global_batch - batch))
                steps = max(1, round((near.steps or 1) * near.global_batch / batch))
                whole_pass = self.machine.num_train // batch
                found.append(
                    Job(arm=arm, global_batch=batch, steps=min(steps, whole_pass), epochs=near.epochs, checks=True)
                )
        jobs = designs.interleave(found, self.plan.request.seeds) if found else []
        self.forecast.expect(dict.fromkeys(jobs, 5.0))
        return jobs

    def judge(self, stop: Stop) -> int:
        """Judge the study and print its answer. Returns the exit code."""
        self.show.say("")
        program = Program([sys.executable, str(commands.PROJECT / "compare.py"), str(self.folder)])
        code = runner.wait(program.start(Launch(parent=os.getpid())), stop)
        return code if code >= 0 else 128 - code  # as a shell says that a signal has ended it

    def _say_plan(self, todo: Sequence[tuple[Job, bool]]) -> None:
        for line in introduction(self.plan, self.machine):
            self.show.say(line, indent="  ")
        done = len(self.plan.jobs) - len(todo)
        if done or any(begun for _, begun in todo):
            self.show.say(f"going on with {self.folder}: {runs(done)} of {len(self.plan.jobs)} complete")
        if todo:
            left_s = self.forecast.left_s([job for job, _ in todo])
            where = f"Ctrl-C is safe, and --resume goes on; all output is in {self.folder / LOGS}"
            self.show.say(f"{runs(len(todo))}, about {forecast.minutes(left_s)}; {where}", indent="  ")


@dataclass
class RunLine:
    """The line of one run on the screen, and its events."""

    study: Study
    job: Job
    number: int
    todo: Sequence[Job]
    has_begun: bool = False  # whether it trains, or still starts
    epochs: list[EpochDone] = field(default_factory=list)
    begin: float = field(default_factory=time.monotonic)

    def began(self, attempt: int) -> None:
        """Show that it runs."""
        self.has_begun = False
        self.study.events.write("attempt_began", run=self.job.label, attempt=attempt + 1)
        self.passed()

    def noted(self, note: AnyNote) -> None:
        """Keep what is noted in the event log, and the epochs for the line."""
        self.study.events.write("note", run=self.job.label, note=note)
        self.has_begun = True
        if isinstance(note, EpochDone):
            self.epochs = [each for each in self.epochs if each.epoch < note.epoch] + [note]

    def passed(self) -> None:
        """Rewrite the line."""
        left = self.study.forecast.left_s(self.todo, time.monotonic() - self.begin)
        speed = screen.speed(self.job, self.epochs)
        at = screen.at_epoch(self.epochs, self.job.epochs) if self.has_begun else "starting"
        self.study.show.show([self._head, at, screen.time_left(left), speed])

    def ended(self, attempt: int, end: End) -> None:
        """Say why another attempt follows."""
        facts = {"outcome": end.outcome, "why": end.why, "exit_code": end.exit_code}
        self.study.events.write("attempt_ended", run=self.job.label, attempt=attempt + 1, **facts)
        if end.outcome == "again":
            starts = self.study.asked.restarts + 1
            said = f"{end.why}; start {attempt + 2} of {starts} goes on from its newest checkpoint"
            self.study.show.say(f"{self._head.rstrip()}: {said}", indent="  ")

    def done(self) -> None:
        """Leave the line as it stays."""
        rest = self.todo[1:]
        left = screen.time_left(self.study.forecast.left_s(rest)) if rest else ""
        result = [screen.speed(self.job, self.epochs).rjust(15), screen.accuracy(self.job, self.epochs).rjust(7)]
        self.study.show.keep([self._head, *result, left])

    @property
    def _head(self) -> str:
        jobs = self.study.plan.jobs
        width = min(max(len(job.label) for job in jobs), self.study.show.width - 32)
        return screen.head(self.number, len(jobs), self.job, width)


def unfinished(request: Request, results: Path, show: Screen) -> tuple[Path, Plan] | None:
    """Return the newest study of this request. Where there is none, say which others could be gone on with."""
    others: list[str] = []
    for folder, known in plan.studies(results):
        if known.request == request:
            return folder, known
        if len(others) < MOST_NAMED and known.left(plan.records_in(folder)):
            others.append(f"{folder} ({'; '.join(request.differences(known.request))})")
    if others:
        show.warn(f"no unfinished study of these settings: starting anew. Unfinished is: {', '.join(others)}")
    else:
        show.warn(f"no unfinished study in {results}: starting anew")
    return None


def new_folder(results: Path) -> Path:
    """Make the folder of this study, one that no earlier study has."""
    name, again = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}", 1
    folder = results / name
    while True:
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            again += 1
            folder = results / f"{name}-{again}"
