"""python -m ddpbench [COMMAND] FLAGS: what `bash launch.sh` does once Python has its packages. See help.txt."""

import os
import sys
from pathlib import Path

from ddpbench import errors, variables
from ddpbench.errors import UserError
from ddpbench.study.plan import Design

DESIGNS: dict[str, Design] = {"study": "comparison", "sweep": "sweep", "speed": "speed"}
COMMANDS = (*DESIGNS, "run", "test")
HELP = Path(__file__).with_name("help.txt")
NAME = "launch.sh"


def main() -> int:
    """Carry out the command that the first word names; a study without one. Returns the exit code."""
    words = sys.argv[1:]
    if words[:1] == ["test"]:
        variables.drop(os.environ)
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *words[1:]])
    if any(word in {"-h", "--help"} for word in words):
        print(HELP.read_text(), end="")
        return 0
    command = words.pop(0) if words and not words[0].startswith("-") else "study"
    if command not in COMMANDS:
        raise UserError(f"no command is called {command!r}; there are {', '.join(COMMANDS)}, see --help")
    ignored = variables.drop(os.environ)
    if command == "run":
        from ddpbench.study import one_run

        return one_run.main(words, ignored)
    from ddpbench.study import main as study

    return study.main(DESIGNS[command], words, ignored)


if __name__ == "__main__":
    errors.run(lambda: sys.exit(main()), name=NAME)
