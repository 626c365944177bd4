"""python -m ddpbench [COMMAND] FLAGS: what `bash launch.sh` does once Python has its packages. See help.txt."""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from ddpbench import __version__, command, errors, variables
from ddpbench.errors import Preempted, UserError
from ddpbench.hosts import joining
from ddpbench.hosts import place as place_of_host
from ddpbench.hosts.place import Place
from ddpbench.study.plan import Design

DESIGNS: dict[str, Design] = {"study": "comparison", "sweep": "sweep", "speed": "speed"}
COMMANDS = (*DESIGNS, "run", "check", "predict", "test", "compare")
HELP = Path(__file__).with_name("help.txt")
OF_A_CHECKOUT = ("bash launch.sh test", "Set-up ")  # these lines of the page hold there alone


def main() -> int:
    """Carry out the command that the first word names; a study without one. Returns the exit code."""
    words = sys.argv[1:]
    verb = words.pop(0) if words and not words[0].startswith("-") else "study"
    if verb == "test":
        become_tests(words)
    if verb == "compare":
        become(str(command.SCRIPTS / "compare.py"), *words)
    if any(word in {"-h", "--help"} for word in words) and verb != "run":
        print(page(), end="")
        return 0
    if "--version" in words:
        print(f"ddpbench {__version__}")
        return 0
    if verb not in COMMANDS:
        raise UserError(f"no command is called {verb!r}; there are {', '.join(COMMANDS)}, see --help")
    place, words = place_of_host.take(words, os.environ)
    ignored = _drop_variables(place)
    if verb == "check":
        from ddpbench.check import main as check

        return check.main(words, place, os.environ)
    if verb == "predict":
        from ddpbench.predict import main as predict

        return predict.main(words)
    if verb == "run":
        from ddpbench.study import one_run

        return _on_hosts(place, [verb, *words], partial(one_run.main, words, ignored))
    from ddpbench.study import main as study

    return _on_hosts(place, [verb, *words], partial(study.main, DESIGNS[verb], words, ignored))


def _on_hosts(place: Place | None, words: list[str], carry_out: Callable[..., int]) -> int:
    """Carry out a command on this host alone, or as one of several. Returns the exit code."""
    if place is None:
        return carry_out()
    from ddpbench.study import several

    return several.main(place, words, carry_out)


def _drop_variables(place: Place | None) -> list[str]:
    """Drop the variables that would change a result. Returns their names; those that said where this host is, are used.

    Among several hosts each keeps the interface that it names.
    """
    if place is None:
        if line := place_of_host.hint(os.environ):
            print(f"{command.NAME}: {line}", file=sys.stderr)
        return variables.drop(os.environ)
    kept = joining.interface_variables()
    dropped = variables.drop(os.environ)
    os.environ.update(kept)
    return [name for name in dropped if name not in {*place_of_host.names(), *kept}]


def exit_code() -> int:
    """Carry out the command. Returns its exit code, as this machine's scheduler wants it."""
    again = variables.exit_again(os.environ)
    code = main()
    return again if code == Preempted.exit_code else code


def page() -> str:
    """Return the page of help. launch.sh shows its file as it is, with no Python, so that has the words of a checkout.

    An installed package has other words for the same, and no tests and no set-up.
    """
    text = HELP.read_text()
    if not command.IS_INSTALLED:
        return text
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(OF_A_CHECKOUT)]
    text = "".join(lines).replace("bash launch.sh", command.COMMAND)
    return text.replace("python baseline_train.py", command.ALONE).replace("python compare.py", command.COMPARE)


def become_tests(words: list[str]) -> NoReturn:
    """Let this process run the tests. Raises UserError where there are none."""
    if command.IS_INSTALLED:
        raise UserError("this is the installed package, and the tests are in a checkout; there: bash launch.sh test")
    variables.drop(os.environ)
    become("-m", "pytest", *words)


def become(*words: str) -> NoReturn:
    """Replace this process by a Python that runs these words."""
    os.execv(sys.executable, [sys.executable, *words])


def console() -> NoReturn:
    """Carry out the installed command `ddpbench`: as launch.sh does, by `python -m ddpbench`.

    A person may stand in any folder. No process may import a module from there (Python 3.11 and later heed this).
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    become("-m", "ddpbench", *sys.argv[1:])


if __name__ == "__main__":
    errors.run(lambda: sys.exit(exit_code()), name=command.NAME)
