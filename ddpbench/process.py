"""This process among others: it ends with its launcher, stops when told, shows where it hangs, and says how it ended.

Only `world`, `launcher` and this module read the environment.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ddpbench import startup as _startup  # noqa: F401 - notes, by its import, that Python is up
from ddpbench.errors import Failure, Preempted, UserError, one_line

TOLD_TO_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HANGS = signal.SIGALRM  # ends a process whose watchdog has run out; its exit status says so to the launcher
PR_SET_PDEATHSIG = 1
FIRST_SPEAKS_S = 3.0

_position: tuple[int, int] | None = None  # epoch, and steps done in it
_stop: signal.Signals | None = None
_finishes_its_step = False
_has_begun = False


def begin() -> None:
    """Prepare this process to be launched: call it before anything slow.

    A rank dies with torchrun, which else leaves it training on (SIGKILL); what launch.sh starts itself stops with it.
    """
    global _has_begun
    _has_begun = True
    faulthandler.enable()
    # In C, so that it works while Python waits or another thread holds the interpreter; then the signal ends us.
    signal.signal(HANGS, signal.SIG_DFL)
    faulthandler.register(HANGS, all_threads=True, chain=True)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run`: an import that is interrupted has nothing to tell
    if is_rank():
        end_with_parent(signal.SIGKILL)
        _end_where_another_attempt_is_pointless()
    else:
        end_with_launch_sh()


def end_with_launch_sh() -> None:
    """Be told to stop when launch.sh ends, if it has started us: it says so, and who it is, in DDPBENCH_PARENT."""
    parent = os.environ.get("DDPBENCH_PARENT")
    if parent is not None:
        end_with_parent(signal.SIGTERM)
        if parent != str(os.getppid()):  # it has ended already
            os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent(how: signal.Signals) -> None:
    """Get a signal when the parent ends, however it ends. Linux only; elsewhere nothing."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(how))
    if os.getppid() != parent:  # it ended before we had asked
        os.kill(os.getpid(), how)


def is_rank() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def attempt() -> int:
    """Return which start of this run this is, from 0: torchrun starts all ranks again when one has failed."""
    text = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(text) if text.isdecimal() else 0


def _told_to_stop(number: int, _: FrameType | None) -> None:
    global _stop
    again = _stop is not None and number == signal.SIGINT  # a person who does not want to wait
    _stop = signal.Signals(number)
    if again or not _finishes_its_step:
        raise Preempted(f"stopped by {_stop.name}")


def stop_asked() -> signal.Signals | None:
    """Return the signal that told this process to stop; None while it may go on."""
    return _stop


def finish_steps(yes: bool) -> None:
    """From now on, whether a signal to stop waits for the end of a step, when all ranks stop together."""
    global _finishes_its_step
    _finishes_its_step = yes


def at(epoch: int, step: int) -> None:
    """Note how far training is, for those who ask after a failure."""
    global _position
    _position = epoch, step


def where(epoch: int, step: int) -> str:
    """Return a position in words."""
    return f"epoch {epoch}, step {step}"


def watch(seconds: float) -> None:
    """Within so many seconds, call this again; else this process shows its stacks and ends. 0: no more.

    One system call: cheap enough for every step (1 us). The timer runs in the kernel and needs no interpreter.
    """
    if _has_begun:  # else this process is not ours: the signal belongs to whoever runs us
        signal.setitimer(signal.ITIMER_REAL, seconds)


def run(main: Callable[[], object]) -> NoReturn:
    """Run a script's `main`, and leave with its exit code."""
    sys.exit(exit_code(main))


def exit_code(main: Callable[[], object]) -> int:
    """Run a script's `main` and return its exit code; what goes wrong is one line, and known to the launcher.

    An unforeseen exception leaves its traceback as well.
    """
    name = Path(sys.argv[0]).name
    for number in TOLD_TO_STOP:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, and the background of a shell, stay as they are
            signal.signal(number, _told_to_stop)
    try:
        main()
        return 0
    except UserError as problem:
        return _report(name, problem)
    except BaseException as problem:
        traceback.print_exc()
        place = traceback.extract_tb(problem.__traceback__)[-1]
        said = f"{type(problem).__name__}: {problem or 'no message'} ({Path(place.filename).name}:{place.lineno})"
        return _report(name, Failure(said))
    finally:
        watch(0)


def _report(name: str, problem: UserError) -> int:
    """Say how this process ended: to the launcher where there is one, which says it last, else on stderr."""
    for number in TOLD_TO_STOP:
        if signal.getsignal(number) == _told_to_stop:
            signal.signal(number, signal.SIG_DFL)  # nothing is left to save: whoever ends us now just does
    said = one_line(str(problem))
    told = note("failed", said=said, code=problem.exit_code, peer=problem.peer, final=problem.is_final)
    if not told and (problem.any_rank or os.environ.get("LOCAL_RANK", "0") == "0"):
        print(f"{name}: {said}", file=sys.stderr, flush=True)
    elif not told:
        time.sleep(FIRST_SPEAKS_S)  # else torchrun ends the rank that speaks for all, before it has
    return problem.exit_code


def note(what: str, **facts: object) -> bool:
    """Add a line to what the launcher knows of this run. Returns whether there is one to tell.

    The file is memory of the launcher's: it needs no disk, and it is gone with the launcher.
    """
    path = os.environ.get("DDPBENCH_NOTES")
    if not path:
        return False
    rank = int(os.environ.get("RANK", "0"))
    line = {"what": what, "attempt": attempt(), "rank": rank, "at": _position, "time_ns": time.monotonic_ns(), **facts}
    try:
        with Path(path).open("ab", buffering=0) as file:  # one write, appended: lines of ranks do not mix
            file.write(json.dumps(line).encode() + b"\n")
    except OSError:  # the launcher has gone
        return False
    return True


def notes() -> list[dict[str, Any]]:
    """Return what ranks of this run have noted so far; empty without a launcher."""
    try:
        return [json.loads(line) for line in Path(os.environ["DDPBENCH_NOTES"]).read_bytes().splitlines()]
    except (KeyError, OSError):
        return []


def runs_begun() -> set[str] | None:
    """Return the names of the runs that this launch has begun; None without a launcher that would know."""
    if "DDPBENCH_NOTES" not in os.environ:
        return None
    return {line["run"] for line in notes() if line["what"] == "begun"}


def root_cause(noted: list[dict[str, Any]], attempt: int) -> dict[str, Any] | None:
    """Return the failure that the others of an attempt followed from: the first that does not blame another rank."""
    failed = [line for line in noted if line["what"] == "failed" and line["attempt"] == attempt]
    return min(failed, key=lambda line: (line["peer"] is not None, line["time_ns"]), default=None)


def is_repeated(noted: list[dict[str, Any]], attempt: int) -> bool:
    """Whether an attempt failed as the one before it had, and nothing was saved between."""
    now, before = root_cause(noted, attempt), root_cause(noted, attempt - 1)
    saved = any(line["what"] == "saved" and line["attempt"] == attempt for line in noted)
    return bool(now and before and not saved and all(now[name] == before[name] for name in ("rank", "at", "said")))


def last_failure() -> str | None:
    """Return what ended the attempt before this one, where the launcher knows."""
    cause = root_cause(notes(), attempt() - 1)
    return None if cause is None else f"rank {cause['rank']}: {cause['said']}"


def _end_where_another_attempt_is_pointless() -> None:
    """End this process, and torchrun's agent, where the last attempt's end was final.

    It was also where the last two ended alike, and nothing was saved between: a third would too.
    """
    noted, last = notes(), attempt() - 1
    cause = root_cause(noted, last)
    if cause is not None and (cause["final"] or is_repeated(noted, last)):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which torchrun will send us in turn
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(int(cause["code"]))
