"""Random faults over two and three hosts, and then the bits of a job without one: nothing lost, nothing left.

python -m tests.hosts.soak 100            --seed 1 replays another schedule; only root, with ip of iproute2, can run it

A job trains on two or three hosts, with one rank on each. At random moments: a rank is killed or stopped, torchrun's
agent is killed, a signal comes to a host, its command is killed, its power is lost, the link to it is cut for two
seconds or for good, or all its connections are reset. A job that ends is started again by the same line with --resume,
on hosts that are new where they were lost, until it is complete. Its weights, losses and accuracies must then be to the
bit those of a job on as many hosts without a fault. After every ending: the exit code is the same on all hosts that are
left, all end within 20 s where the fault ends the job, and there is no process, no shared memory and no half-written
file.
"""

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.faults.launching import Ended, answers, partial_files
from tests.hosts.jobs import ENDS_WITHIN_S, STEPS, TRAIN, Job, job, reached, text
from tests.hosts.network import Network

Fault = Callable[[Network, Job, int], object]  # it returns False where there was nothing to break yet
SLOW_S = 0.03  # that a step takes longer: time for a fault
BATCH = {2: 64, 3: 66}  # by the number of hosts, so that it divides
LEARNS_IN_S = 300.0
BROKEN = {4, 6, 75, -signal.SIGKILL}  # exit codes before it is complete: a host is lost, told to stop, killed itself
ENDING = {
    "told by TERM",
    "told by USR1",
    "command killed",
    "power lost",
    "cut off",
}  # after these a person must start it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", type=int)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    begin, happened, clean = time.monotonic(), Counter[str](), dict[int, Ended]()
    number = 0
    while sum(happened.values()) < told.faults:
        hosts = sorted(BATCH)[number % len(BATCH)]
        if hosts not in clean:
            clean[hosts] = one_job(hosts, None)[0]
        ended, faults = one_job(hosts, random.Random(f"{told.seed} {number}"))
        if (ended.weights, ended.learnt) != (clean[hosts].weights, clean[hosts].learnt):
            sys.exit(f"LOST: job {number} learnt something else:\n{ended.err}")
        happened, number = happened + faults, number + 1
        print(
            f"{sum(happened.values())} faults in {number} jobs, {time.monotonic() - begin:.0f} s: nothing lost "
            f"({hosts} hosts, {ended.record.attempts} attempts: {dict(faults)})",
            flush=True,
        )
    print(f"seed {told.seed}: {dict(sorted(happened.items()))}")


def one_job(count: int, plan: random.Random | None) -> tuple[Ended, Counter[str]]:
    """Train on so many hosts until it is complete, with faults as planned. Returns what host 0 has, and the faults."""
    happened: Counter[str] = Counter()
    with Network(count) as net, tempfile.TemporaryDirectory(prefix="soak-") as place:
        folder = Path(place)
        for start in range(30):
            for host in [each for each in net.hosts if each.init.poll() is not None]:
                net.add(host.index)
            for host in net.hosts:
                net.join(host)
            codes, first, fault = one_start(net, folder / "results", start, plan)
            happened += Counter(filter(None, [fault]))
            if codes[0] == 0:
                return first, happened
            require(set(codes) <= BROKEN, f"exit codes {codes} after {fault}", first)
    sys.exit(f"LOST: not complete after 30 starts: {dict(happened)}")


def one_start(net: Network, results: Path, number: int, plan: random.Random | None) -> tuple[list[int], Ended, str]:
    """Start a job on all hosts and follow it to its end. Returns exit codes, what host 0 has, and the fault it had."""
    with job(net.hosts[:], results) as made:
        resume = ("--resume",) if number else ()
        batch = ("--global-batch", str(BATCH[len(net.hosts)]), "--precision", "fp64")
        hook = ("--hook", f"tests/hooks/slow.py:{SLOW_S if plan else 0}")
        for index in range(len(net.hosts)):
            made.start(index, *TRAIN, *batch, "--ranks", "1", "--restarts", "3", *hook, *resume)
        fault = "" if plan is None else break_it(net, made, plan)
        began = time.monotonic()
        ended = made.end(LEARNS_IN_S)
        took_s = time.monotonic() - began
    first = ended.first
    left = {each.code for each in ended.hosts if each.code != -signal.SIGKILL}
    require(len(left) < 2, f"exit codes {ended.codes} after {fault}", first)
    require(fault not in ENDING or took_s < ENDS_WITHIN_S, f"{took_s:.0f} s until all had ended after {fault}", first)
    require(not partial_files(made.results(0)) or ended.codes[0] == -signal.SIGKILL, "a half-written file", first)
    require(not any("Traceback" in text(each) for each in ended.hosts), f"a traceback after {fault}", first)
    return ended.codes, first, fault


def break_it(net: Network, made: Job, plan: random.Random) -> str:
    """Let a fault happen at a random moment. Returns which; "" where the job had ended by then."""
    made.hear(0, "hosts are here")  # one that a fault keeps away is waited for (tests/hosts/test_lines.py)
    first = reached(made.results(0))
    until, target = time.monotonic() + 120, first + plan.randint(5, 60)
    early_s = plan.uniform(0.3, 15) if plan.random() < 0.25 else None  # before it trains
    began = time.monotonic()
    while time.monotonic() < until and any(each.poll() is None for each in made.processes):
        if reached(made.results(0)) >= min(target, STEPS - 20) or (early_s and time.monotonic() - began > early_s):
            break
        time.sleep(0.02)
    if all(each.poll() is not None for each in made.processes):
        return ""
    index = plan.randrange(len(made.hosts))
    name = plan.choice(sorted(FAULTS))
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):  # it has just ended
        return name if FAULTS[name](net, made, index) is not False else ""
    return ""


def power(net: Network, made: Job, index: int) -> None:
    net.hosts[index].kill()
    made.processes[index].kill()


def blink(net: Network, _: Job, index: int) -> None:
    net.part(net.hosts[index])
    time.sleep(2)
    net.join(net.hosts[index])


def reset(net: Network, _: Job, index: int) -> None:
    net.hosts[index].run("ss", "--kill", "state", "established", check=False)


def signalled(number: int) -> Fault:
    return lambda _, made, index: made.tell(index, number)


def to_ranks(what: Callable[[psutil.Process], object]) -> Fault:
    def tell(_: Network, made: Job, index: int) -> bool:
        return bool(answers(made.ranks(index), what))  # False: no rank has been started yet

    return tell


def to_agent(_: Network, made: Job, index: int) -> bool:
    return bool(answers(made.agent(index), psutil.Process.kill))


FAULTS: dict[str, Fault] = {
    "rank killed": to_ranks(psutil.Process.kill),
    "rank stopped": to_ranks(psutil.Process.suspend),
    "agent killed": to_agent,
    "told by TERM": signalled(signal.SIGTERM),
    "told by USR1": signalled(signal.SIGUSR1),
    "command killed": signalled(signal.SIGKILL),
    "power lost": power,
    "link blinks": blink,
    "cut off": lambda net, _, index: net.part(net.hosts[index]),
    "reset": reset,
}


def require(right: object, what: str, ended: Ended) -> None:
    if not right:
        sys.exit(f"LOST: {what}; exit code {ended.code}:\n{ended.err}")


if __name__ == "__main__":
    main()
