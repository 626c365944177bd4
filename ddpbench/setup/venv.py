"""The environment .venv: which Python it is, what it lacks, how it is made, and mended after an interruption.

Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ddpbench.errors import UserError
from ddpbench.setup import needs

HERE = needs.PROJECT.parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
MARK = VENV / needs.UNFINISHED
# What may lie in an environment whose making was interrupted. Anything else was put there by somebody.
OF_A_VENV = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore", ".lock", "CACHEDIR.TAG", MARK.name}


class Found(NamedTuple):
    """The Python of an environment."""

    version: tuple[int, ...]
    base: str  # where its standard library is: two environments of the same Python have the same


OURS = Found(sys.version_info[:3], os.path.realpath(sys.base_prefix))


def look_at(python: Path) -> Found | None:
    """Return which Python this is; None where it does not start."""
    code = "import os, sys; print(*sys.version_info[:3]); print(os.path.realpath(sys.base_prefix))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version, _, base = done.stdout.partition("\n")
    return Found(tuple(map(int, version.split())), base.strip())


def refuse_what_is_not_ours(found: Found | None, *, is_chosen: bool) -> None:
    """Raise where .venv must be neither used nor replaced. `is_chosen`: the user has named the Python that we are."""
    cure = f"remove {VENV} to have it made anew"
    if found is None and VENV.exists():
        others = {path.name for path in VENV.iterdir()} - OF_A_VENV if VENV.is_dir() else {"no folder"}
        if others:
            raise UserError(f"{VENV} does not start a Python and was not made here ({min(others)}); move it away")
    if found and found.version < (3, 10):
        raise UserError(f"{VENV} is Python {dotted(found.version)}, and 3.10 or later is needed; {cure}")
    if found and is_chosen and found != OURS:
        raise UserError(
            f"PYTHON is {OURS.base}, {dotted(OURS.version)}, but {VENV} was made with {found.base}, "
            f"{dotted(found.version)}; {cure}, or unset PYTHON"
        )


def dotted(version: tuple[int, ...]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def lacking(words: list[str]) -> list[str]:
    """Return the requirements that .venv does not meet."""
    command = [str(PYTHON), "-m", "ddpbench.setup.needs", *words]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode not in (0, needs.LACKING):
        raise UserError(f"{PYTHON} fails ({last_line(done.stderr)}); remove {VENV} to have it made anew")
    return done.stdout.splitlines()


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it says nothing")


def packages(pattern: str) -> list[Path]:
    """Return the records of installed packages, such as torch-2.14.1.dist-info."""
    return sorted(VENV.glob(f"lib/python*/site-packages/{pattern}.dist-info"))


def forget_half_installed() -> list[str]:
    """Delete the records of packages that are not whole, so that they are installed again. Returns their names."""
    torn = [info for info in packages("*") if not is_whole(info)]
    for info in torn:
        shutil.rmtree(info)
    return [info.stem for info in torn]


def is_whole(info: Path) -> bool:
    """Whether every file of an installed package is there with its size. Its RECORD lists them, and is written last."""
    try:
        rows = list(csv.reader((info / "RECORD").read_text("utf-8").splitlines()))
        return bool(rows) and all((info.parent / row[0]).stat().st_size == int(row[2]) for row in rows if row[2])
    except (OSError, ValueError, IndexError):
        return False


def make() -> None:
    """Make .venv, without pip: bringing pip can be repeated, and uv does without."""
    _run([sys.executable, "-m", "venv", "--without-pip", "--clear", VENV], "cannot make .venv")


def bring_pip() -> None:
    """Install the pip that comes with Python, where .venv has none."""
    if not packages("pip-*"):
        _run([PYTHON, "-m", "ensurepip"], "cannot install pip into .venv")


def _run(command: list[str | Path], problem: str) -> None:
    """Run a part of Python that Debian ships apart from it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        why = last_line(done.stderr or done.stdout)
        raise UserError(f"{problem} ({why}); on Debian and Ubuntu: apt-get install {package}; or install uv")
