"""What goes wrong is said in one line; what the user can mend ends with exit code 2."""

import os
import sys
from collections.abc import Callable
from pathlib import Path


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


class Preempted(UserError):  # noqa: N818 - nothing went wrong
    """A signal ended the run, and a later one can go on from where it was."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later


class GateFailedError(UserError):
    """A study is not as good as it was required to be."""

    exit_code = 1


def run(main: Callable[[], object], *, name: str | None = None) -> None:
    """Run a tool's `main`; turn a UserError into one line on stderr and its exit code. Training has `process.run`.

    `name` is what the user typed, where that is not the script.
    """
    name = name or Path(sys.argv[0]).name
    try:
        main()
    except UserError as problem:
        print(f"{name}: {one_line(str(problem))}", file=sys.stderr)
        sys.exit(problem.exit_code)
    except BrokenPipeError:  # the reader has gone, as `head` does: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + 13)
    except OSError as problem:
        if problem.filename is not None:  # of a file, not of our own output
            raise
        print(f"{name}: {problem.strerror or problem}: what was to be said could not be", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, so that no input can break or paint the line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
