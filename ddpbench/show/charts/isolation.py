"""Import matplotlib without the user's set-up: variables and files that choose its backend, fonts or sizes."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ddpbench.errors import UserError


@contextmanager
def default_matplotlib() -> Iterator[None]:
    """Make an import of matplotlib in this block read its own defaults, and print nothing about unwritable folders.

    matplotlib takes the first file `matplotlibrc` that it finds, and looks in the working folder first: the block runs
    in the folder of its defaults. MPLBACKEND is removed for the block, because the backend that it names may not be
    installed here (notebooks set it). Raises UserError if matplotlib is missing or has no folder for its fonts.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    folder, backend = _working_folder(), os.environ.pop("MPLBACKEND", None)
    try:
        os.chdir(_folder_of_defaults())
        yield
    except OSError as problem:  # it can write its list of fonts neither to its own nor to a temporary folder
        raise UserError(f"cannot draw: {problem}; set TMPDIR to a folder that can be written to") from problem
    finally:
        if folder is not None:
            os.chdir(folder)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was deleted
        return None


def _folder_of_defaults() -> Path:
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise UserError("cannot draw: matplotlib is not installed; install it, or use --no-charts")
    return Path(spec.origin).parent / "mpl-data"
