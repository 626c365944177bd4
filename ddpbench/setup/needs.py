"""Print the requirements of pyproject.toml that this Python does not meet: one a line, nothing when all is there.

python -m ddpbench.setup.needs        what the project needs to run
python -m ddpbench.setup.needs dev    and what its tests need

Exit codes: 0 all is there, 3 something is missing or only half installed, 2 this Python is too old.
Runs at every start and before anything is installed, on any Python: standard library only.
"""

from __future__ import annotations  # an older Python must reach the line that refuses it

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
UNFINISHED = "ddpbench-set-up-unfinished"  # this file lies in an environment while install works on it
LACKING = 3  # an exit code that a Python which fails to start does not have


def required(project_toml: str, *, dev: bool) -> list[str]:
    """Return the requirements, each `name>=version`, from the two lists of pyproject.toml.

    By pattern, because Python 3.10 has no TOML reader; a test holds this against a real one.
    """
    lists = dict(re.findall(r"^(dependencies|dev) = \[\n(.*?)^\]", project_toml, re.M | re.S))
    bodies = [lists["dependencies"], lists["dev"] if dev else ""]
    return re.findall(r'"([^"]+)"', "\n".join(bodies))


def is_met(requirement: str) -> bool:
    """Whether the distribution is installed at its lower bound or later."""
    name, bound = requirement.split(">=")
    try:
        return numbers(version(name)) >= numbers(bound)
    except (PackageNotFoundError, TypeError, KeyError, AttributeError):  # the last three: its metadata is torn
        return False


def numbers(text: str) -> tuple[int, ...]:
    """Return the release numbers of a version: 2.14.1+cpu -> (2, 14, 1)."""
    return tuple(int(part) for part in re.match(r"[\d.]*\d", text)[0].split("."))  # type: ignore[index]


def main(words: list[str]) -> int:
    """Print what is missing. Returns the exit code."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this is where an older Python learns it
        print(f"launch.sh: Python 3.10 or later is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    unmet = [each for each in required(PROJECT.read_text(), dev="dev" in words) if not is_met(each)]
    print("\n".join(unmet), end="\n" if unmet else "")
    return LACKING if unmet or Path(sys.prefix, UNFINISHED).exists() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
