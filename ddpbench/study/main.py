"""A study from its command line to its answer: check, plan, run every job in turn, judge."""

import os
import signal
import time
from collections.abc import Sequence

from ddpbench import environment, variables
from ddpbench.errors import Preempted
from ddpbench.files import require_writable
from ddpbench.study.draft import Draft, print_plan
from ddpbench.study.inquiry import Inquiry
from ddpbench.study.options import Design, read
from ddpbench.study.runner import Stop, Stopped
from ddpbench.study.screen import Screen
from ddpbench.study.study import Study, unfinished


def main(design: Design, argv: Sequence[str]) -> int:
    """Carry out a study. Returns its exit code. Raises UserError for what it refuses."""
    begin = time.monotonic()
    show, stop = Screen(), Stop()
    dropped = variables.drop(os.environ)
    asked = read(design, argv, os.environ)
    stop.hear()
    require_writable(asked.train.results)
    try:
        with Inquiry(stop) as inquiry:
            draft = Draft.of(asked, inquiry)
    except Stopped:
        show.warn("stopped before any run")
        return 128 + (stop.asked or 0)
    if dropped:
        show.warn(f"ignoring from the environment: {' '.join(dropped)}")
    for line in asked.from_environment:
        show.warn(line)
    if asked.is_plan:
        found = unfinished(draft.plan.request, asked.train.results, show) if asked.train.resume else None
        print_plan(draft, asked, found)
        return 0
    study = Study.open(draft, asked, show)
    with study.events:
        code = study.carry_out(stop)
        if code == 0:
            code = study.judge(stop)
        own = {"peak_rss_bytes": environment.peak_rss_bytes(), "cpu_s": environment.cpu_s()}
        study.events.write("ended", exit_code=code, **own)
    if stop.asked is not None:
        return code_of_stop(stop.asked, code)
    took_s = time.monotonic() - begin
    if code == 0:
        print(f"took {took_s // 60:.0f} min {took_s % 60:.0f} s", flush=True)
    return code


def code_of_stop(asked: int, code: int) -> int:
    """Return the exit code of a study that was stopped: 75 where a scheduler stops it and the run has saved."""
    by_person = asked in {signal.SIGINT, signal.SIGHUP}
    return code if code == Preempted.exit_code and not by_person else 128 + asked
