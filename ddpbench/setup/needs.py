"""Print the requirements of pyproject.toml that this Python does not meet, one a line.

python -m ddpbench.setup.needs        what the project needs to run
python -m ddpbench.setup.needs dev    what its tests need as well

Exit codes: 0 all is there, 3 something is missing or only half installed, 2 this Python is too old.
`launch.sh` runs it at every start, on any Python and before anything is installed: standard library only.
"""

from __future__ import annotations  # an older Python must reach the line that refuses it

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
UNFINISHED = "ddpbench-set-up-unfinished"  # a file of this name is in an environment while the set-up works on it
LACKING = 3  # an exit code that a Python which fails to start does not have


def required(project_toml: str, *, dev: bool) -> list[str]:
    """Return the requirements of pyproject.toml, each as `name>=version`; with `dev` those of the tests too.

    By pattern, because Python 3.10 has no reader of TOML; a test compares the result with a real reader's.
    """
    lists = dict(re.findall(r"^(dependencies|dev) = \[\n(.*?)^\]", project_toml, re.M | re.S))
    bodies = [lists["dependencies"], lists["dev"] if dev else ""]
    return re.findall(r'"([^"]+)"', "\n".join(bodies))


def is_met(requirement: str) -> bool:
    """Whether the distribution is installed at its lower bound or later."""
    name, bound = requirement.split(">=")
    try:
        # Python 3.12 and later warn where `version` finds none.
        return numbers(distribution(name).metadata.get("Version")) >= numbers(bound)  # type: ignore[attr-defined]
    except (PackageNotFoundError, TypeError, KeyError, AttributeError):  # the last three: damaged metadata
        return False


def numbers(text: str) -> tuple[int, ...]:
    """Return the release numbers of a version: 2.14.1+cpu -> (2, 14, 1)."""
    return tuple(int(part) for part in re.match(r"[\d.]*\d", text)[0].split("."))  # type: ignore[index]


def main(words: list[str]) -> int:
    """Print what is missing. Returns the exit code."""
    if sys.version_info < (3, 10):  # noqa: UP036 - an older Python is refused here
        print(f"launch.sh: Python 3.10 or later is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    unmet = [each for each in required(PROJECT.read_text(), dev="dev" in words) if not is_met(each)]
    print("\n".join(unmet), end="\n" if unmet else "")
    return LACKING if unmet or Path(sys.prefix, UNFINISHED).exists() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
