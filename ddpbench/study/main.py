"""A study from its command line to its answer: draft it, carry it out, judge it."""

import os
import time
from collections.abc import Sequence

from ddpbench.files import require_writable
from ddpbench.study import options, preview, study
from ddpbench.study.desk import Desk, Stopped
from ddpbench.study.draft import Draft
from ddpbench.study.inquiry import Inquiry
from ddpbench.study.reporter import Reporter


def main(design: options.Design, argv: Sequence[str], ignored: Sequence[str], desk: Desk | None = None) -> int:
    """Carry out a study. Returns its exit code. Raises UserError for what it refuses.

    `ignored` are the names of the environment variables that were dropped.
    """
    begin_s, desk = time.monotonic(), desk or Desk()
    screen, stop = desk.screen, desk.stop
    chosen = options.read(design, argv, os.environ, desk.hosts)
    stop.listen()
    require_writable(chosen.train.results)
    try:
        with Inquiry(stop) as inquiry:
            draft = Draft.make(chosen, inquiry)
    except Stopped:
        screen.warn("stopped before any launch")
        return stop.exit_code(0)
    screen.warn_of_ignored(ignored)
    for line in (*chosen.notices, *filter(None, [draft.notice])):
        screen.warn(line)
    if chosen.is_plan:
        preview.print_plan(draft)
        return 0
    reporter = Reporter(study.folder_of(draft), screen, chosen.restarts)
    code = study.Study(draft, reporter, desk).carry_out(preview.describe(draft, reporter.folder))
    if stop.signal is not None:
        return stop.exit_code(code)
    if code == 0:
        took_s = time.monotonic() - begin_s
        print(f"took {took_s // 60:.0f} min {took_s % 60:.0f} s", flush=True)
    return code
