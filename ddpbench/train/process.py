"""The life of a training process: it stops when it is told, ends with its parent, and tells how it ended.

docs/how-it-runs-and-stops.md has the whole picture: who starts whom, who hears what, who decides "again".
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from msgspec.structs import replace

from ddpbench import environment, notes
from ddpbench.errors import DdpbenchError, Preempted, TrainingError, one_line
from ddpbench.notes import STOPS
from ddpbench.train import startup as _startup  # noqa: F401 - notes, by its import, that Python is up
from ddpbench.train.watchdog import Watchdog, end_with_parent
from ddpbench.words import readable_output

FIRST_SPEAKS_S = 3.0
LATER_S = 5.0  # than a rank that waits for another gives up, and names it, a watchdog ends a process

_watchdog = Watchdog()
_position: tuple[int, int] | None = None  # epoch, and steps done in it
_stop: signal.Signals | None = None
_finishes_its_step = False


def begin() -> None:
    """Prepare this process to be launched: call it before anything slow, and before torch is imported."""
    environment.usable_cores()  # counted now: a library may bind this thread to one core when it is loaded
    readable_output()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run`: an import that is interrupted has nothing to tell
    if is_rank():
        end_with_parent(signal.SIGKILL)  # without torchrun's agent, ranks would train on unseen
    else:
        end_with_supervisor()
    _watchdog.begin()


def end_with_supervisor() -> None:
    """Get SIGTERM when the process that supervises this one ends, however it ends. By hand there is none."""
    launch = notes.launched()
    if launch is not None:
        end_with_parent(signal.SIGTERM)
        if launch.parent != os.getppid():  # it has ended already
            os.kill(os.getpid(), signal.SIGTERM)


def is_rank() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def attempt() -> int:
    """Return which start of this run this is, from 0: by its supervisor, or by torchrun, which starts ranks again."""
    launch = notes.launched()
    if launch is not None:
        return launch.attempt
    text = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(text) if text.isdecimal() else 0


def hear(handler: Callable[[int, FrameType | None], object], numbers: tuple[signal.Signals, ...] = STOPS) -> None:
    """Handle these signals, but for those that are ignored: nohup, and the background of a shell, stay as they are."""
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


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


def watch(limit_s: float) -> None:
    """Say that this process goes on. It shows its stacks and ends unless it says so again within `limit_s`; 0: no more.

    Two stores into memory: cheap enough for every step.
    """
    _watchdog.alive(limit_s)


def times_still() -> int:
    """Return how often this process has been stopped for a while, by a signal or a freezer, and gone on."""
    return _watchdog.times_still


def stood_still_within(seconds: float) -> bool:
    """Whether this process has been stopped so recently that a clock may have run out meanwhile."""
    return _watchdog.stood_still_within(seconds)


def run(main: Callable[[], object]) -> NoReturn:
    """Run a script's `main`, and leave with its exit code."""
    sys.exit(exit_code(main))


def exit_code(main: Callable[[], object]) -> int:
    """Run a script's `main` and return its exit code; what goes wrong is one line, and known to the supervisor.

    An unforeseen exception leaves its traceback as well.
    """
    name = Path(sys.argv[0]).name
    hear(_told_to_stop)
    try:
        main()
        return 0
    except (DdpbenchError, Preempted) as problem:
        return _report(name, problem)
    except BaseException as problem:
        traceback.print_exc()
        place = traceback.extract_tb(problem.__traceback__)[-1]
        why = f"{type(problem).__name__}: {problem or 'no message'} ({Path(place.filename).name}:{place.lineno})"
        return _report(name, TrainingError(why))
    finally:
        watch(0)


def _report(name: str, problem: DdpbenchError | Preempted) -> int:
    """Say how this process ended: to its supervisor where there is one, which says it last, else on stderr."""
    for number in STOPS:
        if signal.getsignal(number) == _told_to_stop:
            signal.signal(number, signal.SIG_DFL)  # nothing is left to save: whoever ends us now just does
    why = one_line(str(problem))
    told = tell(notes.Failed(why=why, code=problem.exit_code, peer=problem.peer, is_final=problem.is_final))
    if not told and (problem.any_rank or os.environ.get("LOCAL_RANK", "0") == "0"):
        print(f"{name}: {why}", file=sys.stderr, flush=True)
    elif not told:
        time.sleep(FIRST_SPEAKS_S)  # else torchrun ends the rank that speaks for all, before it has
    return problem.exit_code


def tell(note: notes.Note) -> bool:
    """Tell the supervisor of this process. Returns whether there is one to tell."""
    launch = notes.launched()
    if launch is None or not launch.notes:
        return False
    rank = int(os.environ.get("RANK", "0"))
    at_now = {"attempt": launch.attempt, "rank": rank, "at": _position, "time_ns": time.monotonic_ns()}
    return notes.append(launch.notes, replace(note, **at_now))


def runs_begun() -> set[str] | None:
    """Return the names of the runs that earlier attempts have begun; None where nobody would know."""
    launch = notes.launched()
    return None if launch is None else {*launch.begun}


def last_failure() -> str | None:
    """Return what ended the attempt before this one, where the supervisor knows."""
    launch = notes.launched()
    return None if launch is None else launch.failure
