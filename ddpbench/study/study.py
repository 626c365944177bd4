"""A study in its folder: launches until it is known which arms are the fastest, their whole runs, and the answer."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from ddpbench.errors import Preempted
from ddpbench.study import designs, folders, judging
from ddpbench.study.desk import Desk, Stopped
from ddpbench.study.draft import Draft
from ddpbench.study.launches import Launches
from ddpbench.study.reporter import Reporter
from ddpbench.study.runs import Runs


def folder_of(draft: Draft) -> Path:
    """Return the folder of the study to go on with. For a new study, make a folder and write its plan."""
    if draft.folder is not None:
        return draft.folder
    folder = folders.make(draft.options.train.results)
    folders.write_plan(folder, draft.plan)
    return folder


class Study:
    """A study that is carried out."""

    def __init__(self, draft: Draft, reporter: Reporter, desk: Desk) -> None:
        self._draft, self._reporter, self._stop, self._start = draft, reporter, desk.stop, desk.start
        self._folder, self._options = reporter.folder, draft.options
        self._plan = draft.plan  # the launches choose its runs
        look = partial(judging.look, self._folder, self._options, desk.stop)
        self._launches = Launches(draft, reporter, desk.stop, look, desk.fork)

    def carry_out(self, introduction: Iterable[str]) -> int:
        """Print the introduction, measure what is left, and judge all. Returns 0, or the exit code of what ended it.

        Raises UserError where another process is carrying this study out, LookError where launches cannot be judged.
        """
        self._reporter.goes_on = self._draft.goes_on(is_measured=False)
        with self._reporter.events as events:
            self._reporter.study_began(self._plan.request, introduction)
            try:
                code = self._measure() or self._run()
            except Stopped:
                self._reporter.stopped()
                code = Preempted.exit_code
            if code == 0:
                self._reporter.all_ended()
                code = judging.judge(self._folder, self._options, self._stop)
            events.end(code)
        return code

    def _measure(self) -> int:
        """Carry out launches, and choose the whole runs by them. Returns what `Launches.carry_out` does."""
        is_more = self._options.is_more
        if self._plan.is_measured and self._draft.launches and not is_more:
            return 0
        code = self._launches.carry_out()
        if code == 0:
            jobs = designs.runs(self._plan, self._launches.pairs(), is_more=is_more)
            self._plan = replace(self._plan, jobs=jobs, is_measured=True)
            folders.write_plan(self._folder, self._plan)
            self._reporter.goes_on = self._draft.goes_on(is_measured=True)
        return code

    def _run(self) -> int:
        """Carry out the whole runs that are left. Returns the exit code, as `Runs.carry_out` does."""
        pending = self._plan.pending(folders.records_in(self._folder))
        if not pending:
            return 0
        self._launches.latest = self._launches.latest or self._launches.look()
        runs = Runs(self._draft, self._plan, self._reporter, self._stop, self._start)
        return runs.carry_out(pending, self._launches.pairs()[0])
