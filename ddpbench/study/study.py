"""A study in its folder: run what is left of its plan, one run after the other, and judge it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from ddpbench.study import commands, folders, judging
from ddpbench.study.draft import Draft
from ddpbench.study.plan import Job, Pending, Plan
from ddpbench.study.reporter import Reporter
from ddpbench.study.runner import Notebook, Program, Stop, supervise
from ddpbench.study.screen import Screen


@dataclass
class Study:
    """A study that is carried out."""

    draft: Draft
    folder: Path
    plan: Plan  # that of the draft; a sweep adds jobs
    reporter: Reporter

    @classmethod
    def prepare(cls, draft: Draft, screen: Screen) -> "Study":
        """Take the folder of the study that --resume goes on with, or make a folder for a new study and its plan."""
        folder = draft.folder
        if folder is None:
            folder = folders.make(draft.options.train.results)
            folders.write_plan(folder, draft.plan)
        return cls(draft, folder, draft.plan, Reporter(folder, screen, draft.estimates_s, draft.options.restarts))

    def carry_out(self, stop: Stop) -> int:
        """Run what is left, and judge all. Returns 0, or the exit code of what ended the study.

        Raises UserError where another process is carrying this study out.
        """
        with self.reporter.events as events:
            pending = self.draft.pending()
            self.reporter.study_began(self.draft, pending)
            code = self._run_all(pending, stop)
            if code == 0 and self.plan.request.design == "sweep":
                code = self._check_prediction(stop)
            if code == 0:
                self.reporter.all_runs_ended()
                code = judging.judge(self.folder, stop)
            events.end(code)
        return code

    def _check_prediction(self, stop: Stop) -> int:
        """Run the checks of a sweep, unless its plan has them already. Returns the exit code, as `_run_all` does."""
        if any(job.is_check for job in self.plan.jobs):
            return 0
        jobs = judging.checks(self.folder, self.plan, self.draft.machine.num_train, stop)
        if not jobs:
            return 0
        self.plan = replace(self.plan, jobs=[*self.plan.jobs, *jobs])
        folders.write_plan(self.folder, self.plan)
        self.reporter.checks_planned(jobs)
        return self._run_all([Pending(job, has_begun=False) for job in jobs], stop)

    def _run_all(self, pending: Sequence[Pending], stop: Stop) -> int:
        """Run jobs one after the other. Returns 0, or the exit code of the run that ends the study."""
        jobs = [job for job, _ in pending]
        for index, (_, has_begun) in enumerate(pending):
            if stop.signal is not None:
                self.reporter.stopped()
                return 128 + stop.signal
            code = self._run(jobs[index:], stop, has_begun=has_begun)
            if code != 0:
                return code
        return 0

    def _run(self, todo: Sequence[Job], stop: Stop, *, has_begun: bool) -> int:
        """Run the first job of `todo`. Returns 0 where it is complete; its exit code ends the study otherwise."""
        job = todo[0]
        number = self.plan.jobs.index(job) + 1
        program = Program(
            commands.command_of(job, self.draft.options, self.folder, resume=has_begun),
            self.reporter.logs / f"{number:03}-{job.arm.slug}-seed{job.seed}.log",
            {"OMP_NUM_THREADS": str(job.arm.threads_per_rank)},
        )
        line = self.reporter.run_began(todo, self.plan.jobs, program.command)
        has_ranks, restarts = job.ranks is not None, self.draft.options.restarts
        with Notebook() as notebook:
            end = supervise(program.start, notebook, stop, line, restarts=restarts, has_ranks=has_ranks)
        line.run_ended(end)
        if end.outcome == "stopped":
            self.reporter.stopped()
        elif end.outcome == "failed":
            self.reporter.failed(job, end)
        return end.exit_code
