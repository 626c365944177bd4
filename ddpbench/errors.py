"""Errors by what they mean for a run. Each prints as one line and has an exit code."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ddpbench.words import readable_output

FAULT = 70  # EX_SOFTWARE of sysexits.h: a bug in ddpbench


class DdpbenchError(Exception):
    """The base of all errors below. Its message is one line: the thing, what was found, what to do."""

    exit_code = FAULT
    any_rank = False  # True: every rank that raises it reports it; False: the first rank of a machine does
    is_final = True  # whether another attempt would end the same way
    peer: int | None = None  # the rank that caused it, where another rank did


class UserError(DdpbenchError):
    """The user can mend the input. Nothing was started, or nothing that was started is lost."""

    exit_code = 2


class DiskError(DdpbenchError):
    """A file system refused a write or a lock. The old file is untouched, and a caller that can do without goes on."""

    exit_code = 2


class DataError(DdpbenchError):
    """A file has other content than it should have: a data set with another digest, or only damaged checkpoints."""

    exit_code = 3


class TrainingError(DdpbenchError):
    """Training failed. The run can be resumed, and another attempt may succeed."""

    exit_code = 4
    any_rank = True
    is_final = False


class UnsafeResumeError(TrainingError):
    """Training failed, and no other attempt may start before the user has removed what the message names."""

    is_final = True


class NumericalError(TrainingError):
    """A loss or a gradient is no longer finite. The weights on disk are from before, and every attempt ends so."""

    exit_code = 5
    any_rank = False
    is_final = True


class PeerError(TrainingError):
    """Another rank ended (exit code 4) or did not answer in time (exit code 6).

    Every rank that waits for it reports it, because the first rank may be the one that hangs.
    """

    def __init__(self, message: str, peer: int, *, has_ended: bool) -> None:
        super().__init__(message)
        self.peer, self.exit_code = peer, 4 if has_ended else 6


class GateFailedError(DdpbenchError):
    """A study is complete, and it is not as good as the user required."""

    exit_code = 1


class Preempted(BaseException):
    """A signal ended the run, and the run can be resumed.

    The signal handler may raise it in the middle of any statement, as Python raises KeyboardInterrupt. Like
    KeyboardInterrupt it is no Exception, so that code which goes on after an error does not go on after a signal.
    """

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later
    any_rank = False
    is_final = True
    peer: int | None = None


def run(main: Callable[[], object], *, name: str | None = None) -> None:
    """Run a tool's `main`. Every failure becomes one line on stderr and an exit code.

    `name` is what the user typed, where that is not the script. Scripts that train use `Life.run`.
    """
    name = name or Path(sys.argv[0]).name
    readable_output()
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk is noticed here, and not when Python ends
    except DdpbenchError as problem:
        _end(name, str(problem), problem.exit_code)
    except BrokenPipeError:  # the reader has gone, as `head` does: nobody is left to tell
        _drop_output()
        sys.exit(128 + 13)
    except KeyboardInterrupt:
        _end(name, "interrupted", 130)
    except OSError as problem:
        if problem.filename is not None:  # of a file that nobody expected to fail, not of our own output
            _end_of_fault(name, problem)
        _drop_output()
        _end(name, f"cannot write to standard output: {problem.strerror or problem}", 2)
    except Exception as problem:
        _end_of_fault(name, problem)


def _end(name: str, said: str, exit_code: int) -> NoReturn:
    print(f"{name}: {one_line(said)}", file=sys.stderr)
    sys.exit(exit_code)


def _end_of_fault(name: str, problem: Exception) -> NoReturn:
    """End with the traceback, and the exit code that no gate and no bad input has."""
    traceback.print_exception(problem)
    what = f"{type(problem).__name__}: {problem}"[:300]
    _end(name, f"a fault of ddpbench, not of your input ({what}); please report it with the lines above", FAULT)


def _drop_output() -> None:
    """Send what is still to be written nowhere, so that Python does not fail again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, so that no input can break or paint the line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
