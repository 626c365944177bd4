"""Hundreds of random faults in real runs, and then the bits of a clean run: nothing lost, nothing left.

python -m tests.faults.soak --faults 500 --seed 1        or --minutes 30; the seed replays the schedule

Runs of two ranks with gloo, of two with shm, and of one process, in turn, supervised as in a study, with a plan of
faults that they carry out themselves (see faults.py): killed, stopped, hung, raising, leaving early, told to stop, a
flipped bit, a damaged checkpoint. And from outside, at random moments: SIGKILL and SIGTERM to the orchestrator, SIGKILL
to what it has started (torchrun's agent, or the process that trains), everything stopped for a while, and a disk that
is full for a while. A run that ends is started again by the same command with --resume until it is complete; its
weights, losses and accuracies must then be those of a run without a fault. After every ending: no process, no segment,
no half-written file, and every checkpoint whole.
"""

import argparse
import contextlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.faults.launching import Ended, answers, ddp, marked, nothing_left, partial_files, start, supervised

STEPS = 279  # of a run
RANKS = 2
INSIDE = ("kill", "stop", "raise", "abort", "exit", "hang", "hold", "flip", "corrupt", "kill", "raise", "term")
AMONG_RANKS = {"stop", "flip"}  # which only another rank can find
OUTSIDE = ("orchestrator killed", "orchestrator told to stop", "child killed", "all stopped for a while", "disk full")
ARMS = ("gloo", "shm", "single")
PLANNED = 12  # faults a launch: its record keeps their names, and has room for so many
FULL_BYTES = 12 * 2**20  # of a results folder whose disk can be filled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--faults", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    until, happened, number = time.monotonic() + 60 * told.minutes, Counter[str](), 0
    clean = {arm: clean_run(arm) for arm in ARMS}
    begin = time.monotonic()
    while sum(happened.values()) < told.faults and time.monotonic() < until:
        arm, plan = ARMS[number % len(ARMS)], random.Random(f"{told.seed} {number}")
        happened += one_run(arm, plan, clean[arm], f"run {number}")
        number += 1
        took_s = time.monotonic() - begin
        print(f"{sum(happened.values())} faults in {number} runs, {took_s:.0f} s: nothing lost", flush=True)
    print(f"seed {told.seed}: {dict(sorted(happened.items()))}")


def command(arm: str, results: Path, *flags: str, restarts: int = 3) -> list[str]:
    """Return the command of a run of an arm."""
    if arm == "single":
        return supervised(results, *flags, restarts=restarts)
    return ddp(results, "--comm", arm, *flags, restarts=restarts)


def clean_run(arm: str) -> Ended:
    """Run without a fault."""
    with folder(None) as results:
        ended = Running(command(arm, results), results).end()
        require(ended.code == 0, ended)
        return ended


def one_run(arm: str, plan: random.Random, clean: Ended, name: str) -> Counter[str]:
    """Run, breaking it, until it is complete. Returns how often each fault happened."""
    happened: Counter[str] = Counter()
    with folder(FULL_BYTES) as results:
        position, resume = 0, False
        while True:
            faults, told = plan_faults(plan, position, 1 if arm == "single" else RANKS)
            flags = [
                "--timeout-s",
                "2",
                *(["--hook", f"tests/hooks/faults.py:{told}"] if told else []),
                *["--resume"] * resume,
            ]
            running = Running(command(arm, results, *flags, restarts=len(faults) + 2), results)
            outside = plan.choice((*OUTSIDE, "none")) if position else "none"
            if outside != "none":
                happened += running.break_from_outside(outside, plan)
            ended = running.end()
            require(ended.code in {0, 75, -signal.SIGKILL}, ended)
            happened += Counter(re.findall(r"^fault: (\w+)", ended.err, re.M))
            require(not partial_files(results) or ended.code == -signal.SIGKILL, ended)
            if ended.code == 0:
                break
            position, resume = reached(results), True
        require(ended.weights == clean.weights, ended)
        require(ended.learnt == clean.learnt, ended)
        print(f"{name}, {arm}: {ended.record.attempts} attempts, {dict(happened)}", flush=True)
    return happened


def plan_faults(plan: random.Random, position: int, ranks: int) -> tuple[list[str], str]:
    """Plan faults at rising steps, one for each attempt: each finds the run before its step."""
    faults, step = [], position + 1
    for attempt in range(PLANNED):
        step += plan.randint(1, 30)
        if step >= STEPS:
            break
        kind = plan.choice([kind for kind in INSIDE if ranks > 1 or kind not in AMONG_RANKS])
        rank = 0 if kind == "corrupt" else plan.randrange(ranks)
        if kind == "flip":  # on a rank that does not write: one that writes may save the bit before anyone can see it
            rank = 1
        faults.append(f"{kind}={rank}@{step}#{attempt}")
        if kind == "term":  # ends the launch
            break
    return faults, ",".join(faults)


class Running:
    """A launch on its way to its end."""

    def __init__(self, command: list[str], results: Path) -> None:
        self._results, self._watched = results, contextlib.ExitStack()
        mark = self._watched.enter_context(nothing_left(results, may_be_damaged=True))
        self._mark, self._process = mark, start(command, mark)

    def break_from_outside(self, how: str, plan: random.Random) -> Counter[str]:
        """Do something to the whole launch at a random moment, if it is still there by then."""
        time.sleep(plan.uniform(1, 12))
        if self._process.poll() is not None:
            return Counter()
        if how == "orchestrator killed":
            self._process.kill()
        elif how == "orchestrator told to stop":
            self._process.terminate()
        elif how == "child killed":
            answers(psutil.Process(self._process.pid).children(), psutil.Process.kill)
        elif how == "all stopped for a while":
            everything = marked(self._mark)
            answers(everything, psutil.Process.suspend)
            time.sleep(plan.uniform(0.1, 9))
            answers(everything, psutil.Process.resume)
        else:
            filler = self._results / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(2**16)):
                    pass
            time.sleep(plan.uniform(0.2, 2))
            filler.unlink()
        return Counter([how])

    def end(self) -> Ended:
        """Wait for the end, and require that nothing is left."""
        with self._watched:
            try:
                out, err = self._process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                answers(marked(self._mark), psutil.Process.kill)
                out, err = self._process.communicate()
                raise SystemExit(f"it hung:\n{err}") from None
        return Ended.of(self._process.returncode, out, err, self._results)


@contextlib.contextmanager
def folder(full_bytes: int | None):  # type: ignore[no-untyped-def]
    """Make a folder for results; with `full_bytes`, on a file system of its own that size."""
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        results = Path(place) / "results"
        results.mkdir()
        if full_bytes is None:
            yield results
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={full_bytes}", "soak", results], check=True)
        try:
            yield results
        finally:
            subprocess.run(["umount", "--lazy", results], check=True)


def reached(results: Path) -> int:
    """Return the steps that the newest checkpoint has."""
    names = sorted(path.name for path in results.glob("*.checkpoint/[0-9]*"))
    if not names:
        return 0
    epoch, step = map(int, names[-1].split("-"))
    return (epoch - 1) * (STEPS // 3) + step


def require(right: object, ended: Ended) -> None:
    if not right:
        sys.exit(f"LOST with exit code {ended.code}:\n{ended.err}")


if __name__ == "__main__":
    main()
