"""matplotlib without the user's set-up: variables and files that choose its backend, fonts or sizes are not for us."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ddpbench.errors import UserError


@contextmanager
def defaults() -> Iterator[None]:
    """Import matplotlib within this: it reads its own defaults, and says nothing about folders it cannot write to.

    It takes the first `matplotlibrc` that it finds, and looks in the working folder before all others; meanwhile that
    is the folder of its defaults. A backend from the environment may not be installed here (MPLBACKEND in notebooks).
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    here, backend = _working_folder(), os.environ.pop("MPLBACKEND", None)
    try:
        os.chdir(_own_data())
        yield
    except OSError as problem:  # neither its folder nor a temporary one takes its list of fonts
        raise UserError(f"cannot draw: {problem}; set TMPDIR to a folder that can be written to") from problem
    finally:
        if here is not None:
            os.chdir(here)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def _own_data() -> Path:
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise UserError("cannot draw: matplotlib is not installed; install it, or use --no-charts")
    return Path(found.origin).parent / "mpl-data"
