"""What goes wrong is said in one line; what the user can mend ends with exit code 2."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ddpbench.words import readable_output as readable_output  # process.run calls it too

FAULT = 70  # EX_SOFTWARE of sysexits.h: a fault of ours


class UserError(Exception):
    """Input the user can mend. The message names the thing, what was found and what to do."""

    exit_code = 2
    any_rank = False  # whether each rank that raises it says so, or the first of a machine for all
    is_final = True  # whether another attempt would end the same way
    peer: int | None = None  # the rank that is to blame, where it is not the one that raises


class DataError(UserError):
    """A file we depend on is not what it should be: data whose digest differs, checkpoints that are all damaged."""

    exit_code = 3


class Failure(UserError):  # noqa: N818 - a failure of training is not always an error of ours
    """Training failed in a way that another attempt may not."""

    exit_code = 4
    any_rank = True
    is_final = False

    def __init__(self, said: str, exit_code: int = 4, *, is_final: bool = False) -> None:
        super().__init__(said)
        self.exit_code, self.is_final = exit_code, is_final


class NumericalError(UserError):
    """Training left the numbers: a loss or a gradient that is no longer finite."""

    exit_code = 5


class PeerError(UserError):
    """Another rank died or came too late. Every rank that waits for it says so: the first may be the one that hangs.

    Exit code 4 for one that has died, 6 for one that hangs.
    """

    any_rank = True
    is_final = False

    def __init__(self, said: str, peer: int, *, has_ended: bool) -> None:
        super().__init__(said)
        self.peer, self.exit_code = peer, 4 if has_ended else 6


class Preempted(BaseException):
    """A signal ends the run, and a later one can go on from where it was.

    It may be raised in the middle of anything, as KeyboardInterrupt is. Like that one it is no Exception, so that code
    which goes on after an error does not go on after this.
    """

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later
    any_rank = False
    is_final = True
    peer: int | None = None


class GateFailedError(UserError):
    """A study is not as good as it was required to be."""

    exit_code = 1


def run(main: Callable[[], object], *, name: str | None = None) -> None:
    """Run a tool's `main`; turn every way it can fail into lines on stderr and an exit code. Training: `process.run`.

    `name` is what the user typed, where that is not the script.
    """
    name = name or Path(sys.argv[0]).name
    readable_output()
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk is noticed here, and not when Python ends
    except UserError as problem:
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
