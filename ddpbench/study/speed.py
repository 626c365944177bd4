"""How much faster, and nothing else: launches of turns until the interval is narrow enough.

bash launch.sh speed [--within 3%] [--minutes 5] [--margin-speed 3%] [--ranks N] FLAGS

A launch starts the ranks once and lets every arm take turns in short blocks of steps. After every launch from the third
on, the study looks at the interval, and ends where it is narrow enough, or settled, or the minutes are spent.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ddpbench import config, environment, files
from ddpbench.arm import plural
from ddpbench.notes import Launch
from ddpbench.questions import Machine
from ddpbench.record import Comm
from ddpbench.study import designs, folders
from ddpbench.study.attempts import End
from ddpbench.study.inquiry import Inquiry
from ddpbench.study.options import SpeedOptions, read_speed
from ddpbench.study.runner import Notebook, Observer, Program, Stop, Stopped, supervise, wait
from ddpbench.study.screen import Screen
from ddpbench.turns import FIRST_LOOK, Look, Question, TurnArm, path_of

ROUNDS_S = 12.0  # of a launch: more launches narrow the interval more than longer ones do
LAUNCHES_IN_BUDGET = 8  # at least: a small budget makes launches shorter, down to a few rounds


@dataclass(frozen=True)
class Plan:
    """The arms of every launch, and the flags of all."""

    arms: list[TurnArm]
    ranks: int
    flags: list[str]


def main(argv: Sequence[str], ignored: Sequence[str]) -> int:
    """Measure, and print the answer. Returns the exit code. Raises UserError for what it refuses.

    `ignored` are the names of the environment variables that were dropped.
    """
    begin_s = time.monotonic()
    screen, stop = Screen(), Stop()
    chosen = read_speed(argv)
    stop.listen()
    files.require_writable(chosen.train.results)
    screen.warn_of_ignored(ignored)
    try:
        with Inquiry(stop) as inquiry:
            plan, machine = _plan(chosen, inquiry)
    except Stopped:
        screen.warn("stopped before any launch")
        return stop.exit_code(0)
    folder = folders.make(chosen.train.results)
    with files.lock(folder, wait=False):
        for line in _introduction(chosen, plan, machine, folder):
            screen.say(line, indent="  ")
        code = _launch_until_known(chosen, plan, folder, screen, stop, begin_s)
    if code == 0:
        screen.say("")
        code = wait(_program("ddpbench.show.turns", folder, chosen.margin).start(Launch(parent=os.getpid())), stop)
    return code


def _plan(chosen: SpeedOptions, inquiry: Inquiry) -> tuple[Plan, Machine]:
    """Design the launches. Raises UserError for what cannot be measured on this machine."""
    cfg, cores = chosen.train, environment.usable_cores()
    machine = inquiry.describe(cfg)
    ranks = chosen.ranks or max(2, designs.default_world_size(cores, machine.gpus, cfg.global_batch))
    if not chosen.has_batch:
        cfg = replace(cfg, global_batch=designs.nearest_multiple(cfg.global_batch, ranks))
    inquiry.check(cfg, ranks)
    comms: list[Comm] = designs.comms(machine.comm, is_sweep=False)
    arms = designs.turns(ranks, cores, environment.physical_cores(), comms, cfg.global_batch)
    return Plan(arms, ranks, config.to_flags(cfg)), machine


def _introduction(chosen: SpeedOptions, plan: Plan, machine: Machine, folder: Path) -> list[str]:
    settings = machine.settings
    return [
        f"speed in turns: {settings.dataset}, {settings.model} ({machine.parameters:,} parameters), "
        f"{plural(plan.ranks, 'rank')}, {plural(len(plan.arms), 'arm')}, until the interval is within "
        f"+- {chosen.within:.1%} or {chosen.minutes:g} min are over; records go to {folder}",
    ]


def _launch_until_known(
    chosen: SpeedOptions, plan: Plan, folder: Path, screen: Screen, stop: Stop, begin_s: float
) -> int:
    """Carry out launches until the answer is known. Returns 0, or the exit code of what ended them."""
    longest_s = 0.0
    for number in count():
        began_s = time.monotonic()
        end = _launch(chosen, plan, folder, stop, number)
        if stop.signal is not None:
            screen.warn(f"stopped; {_launches(number)} in {folder}")
            return stop.exit_code(end.exit_code)
        if end.exit_code != 0:
            screen.warn(f"launch {number + 1}: {end.why}; its output is in {folder}")
            return end.exit_code
        now_s = time.monotonic()
        longest_s = max(longest_s, now_s - began_s)
        look = _look(folder, chosen, stop)
        if look is not None:
            screen.say_parts([_progress(number + 1, look)])
        is_over = now_s - begin_s + longest_s > 60 * chosen.minutes
        if look is not None and (look.is_known or (is_over and number + 1 >= FIRST_LOOK)):
            return 0
    raise AssertionError


def _launch(chosen: SpeedOptions, plan: Plan, folder: Path, stop: Stop, number: int) -> End:
    rounds_s = min(ROUNDS_S, 60 * chosen.minutes / LAUNCHES_IN_BUDGET)
    question = Question(plan.flags, plan.arms, number, rounds_s, str(path_of(folder, number)))
    words = ["-m", "ddpbench.train.turns", msgspec.json.encode(question).decode()]
    program = Program(
        [sys.executable, "-m", "ddpbench.train.agent", str(plan.ranks), *words],
        folder / "logs" / f"turns-{number:03}.log",
    )
    with Notebook() as notebook:
        return supervise(program.start, notebook, stop, Observer(), restarts=chosen.restarts, has_ranks=True)


def _look(folder: Path, chosen: SpeedOptions, stop: Stop) -> Look | None:
    """Ask what the launches so far say. None where the process that answers has failed."""
    answers, theirs = os.pipe()
    program = _program("ddpbench.judge.look", folder, chosen.within, chosen.margin, theirs)
    child = program.start(Launch(parent=os.getpid()), keep=[theirs])
    os.close(theirs)
    with os.fdopen(answers, "rb") as file:
        content = file.read()
    return msgspec.json.decode(content, type=Look) if wait(child, stop) == 0 and content else None


def _program(module: str, *words: object) -> Program:
    return Program([sys.executable, "-m", module, *map(str, words)])


def _progress(number: int, look: Look) -> str:
    """Return the line after a launch: how fast, and how narrow the interval is by now."""
    bounds = "" if look.low is None or look.high is None else f" ({look.low:.2f} to {look.high:.2f})"
    return f"{_launches(number)}: {look.speedup:.2f} times as fast{bounds}"


def _launches(number: int) -> str:
    return "1 launch" if number == 1 else f"{number} launches"
