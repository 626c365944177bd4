"""The whole runs of a study, one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ddpbench.errors import Preempted
from ddpbench.study import commands, forecast
from ddpbench.study.draft import Draft
from ddpbench.study.plan import Job, Pending, Plan
from ddpbench.study.reporter import Reporter
from ddpbench.study.runner import Notebook, Program, Spawn, Stop, supervise
from ddpbench.turns import Pair


@dataclass(frozen=True)
class Runs:
    """The whole runs of one study."""

    draft: Draft
    plan: Plan
    reporter: Reporter
    stop: Stop
    spawn: Callable[[Program], Spawn]  # starts the processes of a run

    def carry_out(self, pending: Sequence[Pending], pair: Pair) -> int:
        """Run jobs one after the other. Returns 0, or the exit code of the run that ends the study.

        `pair` are the two arms that were timed: their steps tell how long the runs will take.
        """
        jobs = [job for job, _ in pending]
        settings, machine = self.plan.request.settings, self.draft.machine
        self.reporter.forecast.expect(forecast.job_estimates_s(jobs, pair, settings, machine))
        for index, (_, has_begun) in enumerate(pending):
            if self.stop.signal is not None:
                self.reporter.stopped()
                return Preempted.exit_code  # all runs so far are complete, and --resume goes on
            code = self._run(jobs[index:], has_begun=has_begun)
            if code != 0:
                return code
        return 0

    def _run(self, todo: Sequence[Job], *, has_begun: bool) -> int:
        """Run the first job of `todo`. Returns 0 where it is complete; its exit code ends the study otherwise."""
        job = todo[0]
        number = self.plan.jobs.index(job) + 1
        program = Program(
            commands.command_of(job, self.draft.options, self.reporter.folder, resume=has_begun),
            self.reporter.logs / f"{number:03}-{job.arm.slug}-seed{job.seed}.log",
            {"OMP_NUM_THREADS": str(job.arm.threads_per_rank)},
            job.arm.hosts,
        )
        line = self.reporter.run_began(todo, self.plan, program.command)
        has_ranks, restarts = job.ranks is not None, self.draft.options.restarts
        with Notebook() as notebook:
            end = supervise(
                self.spawn(program),
                notebook,
                self.stop,
                line,
                restarts=restarts,
                has_ranks=has_ranks,
                goes_on=self.reporter.goes_on,
            )
        line.run_ended(end)
        self.reporter.ended(job.label, end)
        return end.exit_code
