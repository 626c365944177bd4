"""What goes wrong is said in one line; what the user can mend ends with exit code 2."""

import os
import sys
from collections.abc import Callable
from pathlib import Path


class UserError(Exception):
    """Input the user can mend. The message names the thing, what was found and what to do."""

    exit_code = 2
    any_rank = False  # whether each rank that raises it says so, or the first of a machine for all


class NumericalError(UserError):
    """Training left the numbers: a loss that is no longer finite."""

    exit_code = 5


class PeerError(UserError):
    """Another rank died or came too late. Every rank that waits for it says so: the first may be the one that hangs."""

    exit_code = 6
    any_rank = True


class GateFailedError(UserError):
    """A study is not as good as it was required to be."""

    exit_code = 1


def run(main: Callable[[], object], *, speaks: bool = True, name: str | None = None) -> None:
    """Run a script's `main`; turn a UserError into one line on stderr and its exit code.

    `speaks` is False for all ranks but the first of a machine, so that one mistake of all is one line.
    `name` is what the user typed, where that is not the script.
    """
    name = name or Path(sys.argv[0]).name
    try:
        main()
    except UserError as problem:
        if speaks or problem.any_rank:
            print(f"{name}: {one_line(str(problem))}", file=sys.stderr)
        sys.exit(problem.exit_code)
    except BrokenPipeError:  # the reader has gone, as `head` does: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(128 + 13)
    except KeyboardInterrupt:
        if speaks:
            print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, so that no input can break or paint the line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
