"""The life of a training process: it hears signals, it is ended when it hangs, and it reports how it ended.

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

from ddpbench import environment, notes, processes
from ddpbench.errors import DdpbenchError, Preempted, TrainingError, one_line
from ddpbench.notes import STOPS
from ddpbench.train.startup import StartUp, alive_s
from ddpbench.train.watchdog import Watchdog
from ddpbench.words import readable_output

FIRST_REPORTS_S = 3.0
WATCHDOG_GRACE_S = 5.0  # beyond --timeout-s: a rank that waits for another should give up, and name it, first


def begin() -> "Life":
    """Prepare this process to be launched. Call it before anything slow, and before torch is imported."""
    environment.usable_cores()  # counted and kept now: a library may bind this thread to one core when it is imported
    readable_output()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run`: during the imports there is nothing to save
    if is_rank():
        processes.end_with_parent(signal.SIGKILL)  # without torchrun's agent, ranks would go on training
    else:
        end_with_supervisor()
    process = Life()
    process.watchdog.begin()
    return process


def is_rank() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def end_with_supervisor() -> None:
    """Get SIGTERM when the supervisor of this process ends, however it ends. A process started by hand has none."""
    launch = notes.launched()
    if launch is not None:
        processes.end_with_parent(signal.SIGTERM)
        if launch.parent != os.getppid():  # it has ended already
            os.kill(os.getpid(), signal.SIGTERM)


def handle(handler: Callable[[int, FrameType | None], object], signals: tuple[signal.Signals, ...] = STOPS) -> None:
    """Handle these signals, except those that are ignored: under nohup and in a shell's background they stay so."""
    for number in signals:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


class Life:
    """One training process. Tests may make one without `begin`: then no signal is handled and nothing is watched."""

    def __init__(self) -> None:
        self.startup = StartUp()
        self.watchdog = Watchdog()
        self.launch = notes.launched()
        self.position: tuple[int, int] | None = None  # epoch, and steps taken in it
        self.stop_signal: signal.Signals | None = None  # that asked this process to stop
        self.finishes_its_step = False  # True: a signal to stop waits for a step after which all ranks stop together

    @property
    def attempt(self) -> int:
        """Which start of this run this is, from 0. The supervisor counts, or torchrun, which restarts ranks."""
        if self.launch is not None:
            return self.launch.attempt
        text = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return int(text) if text.isdecimal() else 0

    def alive_s(self, *, with_torchrun: bool) -> float:
        """Return the seconds since this process began, or since torchrun began where this is its first attempt."""
        return alive_s(with_parent=with_torchrun and self.attempt == 0)

    def tell(self, note: notes.Note) -> bool:
        """Send a note to the supervisor, with the position of training. Returns whether there is a supervisor."""
        return notes.tell(note, self.position)

    def run(self, main: Callable[[], object]) -> NoReturn:
        """Run the main function of a script, and exit with its exit code."""
        self.startup.reached("imports")
        code = self.exit_code(main)
        if not is_rank():
            sys.exit(code)
        sys.stdout.flush()
        sys.stderr.flush()
        # DistributedDataParallel keeps gloo's threads alive after destroy_process_group. When Python shuts down while
        # such a thread releases its last tensor, the process aborts (pytorch#179291; seen in 5 of 12 runs). All files
        # are written, so leave without shutting Python down.
        os._exit(code)

    def exit_code(self, main: Callable[[], object]) -> int:
        """Run the main function of a script and return its exit code. A failure is one line, sent to the supervisor.

        An unforeseen exception prints its traceback too.
        """
        name = Path(sys.argv[0]).name
        handle(self._stop)
        try:
            main()
            return 0
        except (DdpbenchError, Preempted) as problem:
            return self._report(name, problem)
        except SystemExit as end:
            if end.code == 0 and self.position is None:  # argparse has printed the page of --help
                return 0
            return self._report(name, TrainingError(f"the task ended this process by sys.exit({end.code})"))
        except BaseException as problem:
            traceback.print_exc()
            place = traceback.extract_tb(problem.__traceback__)[-1]
            why = f"{type(problem).__name__}: {problem or 'no message'} ({Path(place.filename).name}:{place.lineno})"
            return self._report(name, TrainingError(why))
        finally:
            self.watchdog.alive(0)

    def _stop(self, number: int, _: FrameType | None) -> None:
        is_impatient = self.stop_signal is not None and number == signal.SIGINT  # a person who pressed Ctrl-C again
        self.stop_signal = signal.Signals(number)
        if is_impatient or not self.finishes_its_step:
            raise Preempted(f"stopped by {self.stop_signal.name}")

    def _report(self, name: str, problem: DdpbenchError | Preempted) -> int:
        """Report why this process ends: to its supervisor, which prints it last, or else on stderr."""
        for number in STOPS:
            if signal.getsignal(number) == self._stop:
                signal.signal(number, signal.SIG_DFL)  # there is nothing left to save
        why = one_line(str(problem))
        failed = notes.Failed(why=why, code=problem.exit_code, peer=problem.peer, is_final=problem.is_final)
        if self.tell(failed):
            return problem.exit_code
        if problem.any_rank or os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"{name}: {why}", file=sys.stderr, flush=True)
        else:
            time.sleep(FIRST_REPORTS_S)  # torchrun ends all ranks when one exits: the rank that reports needs time
        return problem.exit_code
