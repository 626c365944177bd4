"""The environment .venv: which Python it has, what it lacks, how it is made, and mended after an interruption.

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
UNFINISHED = VENV / needs.UNFINISHED
# What a set-up that was interrupted may have left in .venv. A user has put everything else there.
OWN_ENTRIES = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore", ".lock", "CACHEDIR.TAG"}
OWN_ENTRIES |= {UNFINISHED.name}


class PythonInfo(NamedTuple):
    """Which Python an environment has."""

    version: tuple[int, ...]
    base: str  # the folder of its standard library: two environments of the same Python have the same


RUNNING = PythonInfo(sys.version_info[:3], os.path.realpath(sys.base_prefix))


def inspect(python: Path) -> PythonInfo | None:
    """Start a Python and return which one it is; None where it does not start."""
    code = "import os, sys; print(*sys.version_info[:3]); print(os.path.realpath(sys.base_prefix))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version, _, base = done.stdout.partition("\n")
    return PythonInfo(tuple(map(int, version.split())), base.strip())


def require_usable(python: PythonInfo | None, *, is_chosen: bool) -> None:
    """Raise UserError where .venv must be neither used nor replaced.

    `python` is that of .venv, None where it does not start. `is_chosen`: the user has named the running Python.
    """
    cure = f"remove {VENV} to have it made anew"
    if python is None and VENV.exists():
        foreign = sorted({path.name for path in VENV.iterdir()} - OWN_ENTRIES) if VENV.is_dir() else []
        if foreign or not VENV.is_dir():
            why = f"it holds {foreign[0]}" if foreign else "it is no folder"
            raise UserError(f"{VENV} does not start a Python, and was not made by launch.sh ({why}); move it away")
    if python and python.version < (3, 10):
        raise UserError(f"{VENV} is Python {dotted(python.version)}, and 3.10 or later is needed; {cure}")
    if python and is_chosen and python != RUNNING:
        raise UserError(
            f"PYTHON is {RUNNING.base}, {dotted(RUNNING.version)}, but {VENV} was made with {python.base}, "
            f"{dotted(python.version)}; {cure}, or unset PYTHON"
        )


def dotted(version: tuple[int, ...]) -> str:
    """Return a version as people write it: (3, 12, 1) -> 3.12.1."""
    return ".".join(map(str, version))


def missing(*, dev: bool) -> list[str]:
    """Return the requirements that .venv does not meet. Raises UserError where its Python fails."""
    command = [str(PYTHON), "-m", "ddpbench.setup.needs", *(["dev"] if dev else [])]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode not in (0, needs.LACKING):
        raise UserError(f"{PYTHON} fails ({last_line(done.stderr)}); remove {VENV} to have it made anew")
    return done.stdout.splitlines()


def last_line(text: str) -> str:
    """Return the last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")


def packages(pattern: str) -> list[Path]:
    """Return the metadata folders of installed packages, such as torch-2.14.1.dist-info."""
    return sorted(VENV.glob(f"lib/python*/site-packages/{pattern}.dist-info"))


def delete_half_installed() -> list[str]:
    """Delete the metadata of packages that lack files, so that they are installed again.

    Returns the names of those packages.
    """
    damaged = [info for info in packages("*") if not is_whole(info)]
    for info in damaged:
        shutil.rmtree(info)
    return [info.stem for info in damaged]


def is_whole(info: Path) -> bool:
    """Whether every file of a package is there with its size. Installers write the list, RECORD, last."""
    try:
        rows = list(csv.reader((info / "RECORD").read_text("utf-8").splitlines()))
        return bool(rows) and all((info.parent / row[0]).stat().st_size == int(row[2]) for row in rows if row[2])
    except (OSError, ValueError, IndexError):
        return False


def make() -> None:
    """Make .venv without pip: uv needs none, and `install_pip` can be repeated after an interruption."""
    _run([sys.executable, "-m", "venv", "--without-pip", "--clear", VENV], "cannot make .venv")


def install_pip() -> None:
    """Install the pip that comes with Python, unless .venv has one."""
    if not packages("pip-*"):
        _run([PYTHON, "-m", "ensurepip"], "cannot install pip into .venv")


def _run(command: list[str | Path], problem: str) -> None:
    """Run a module of Python that Debian ships in a package of its own. Raises UserError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        why = last_line(done.stderr or done.stdout)
        raise UserError(f"{problem} ({why}); on Debian and Ubuntu: apt-get install {package}; or install uv")
