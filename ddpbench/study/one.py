"""One run, supervised as a study supervises its runs, with its output on the terminal.

python -m ddpbench run [--ranks N] [--restarts N] FLAGS

With --ranks it is ddp_train.py on so many ranks, without baseline_train.py in one process. It goes on from its newest
checkpoint after a failure, which plain torchrun does for ranks alone.
"""

import os
import sys
from collections.abc import Sequence

from ddpbench import config, variables
from ddpbench.errors import UserError
from ddpbench.notes import AnyNote
from ddpbench.study import commands, options
from ddpbench.study.decide import End
from ddpbench.study.runner import Notebook, Program, Stop, supervise
from ddpbench.study.screen import Screen


class Narrator:
    """Says why another attempt follows."""

    def __init__(self, show: Screen, starts: int) -> None:
        self._show, self._starts = show, starts

    def began(self, attempt: int) -> None:
        """Say nothing: the run does."""

    def noted(self, note: AnyNote) -> None:
        """Say nothing: the run does."""

    def passed(self) -> None:
        """Say nothing: the run does."""

    def ended(self, attempt: int, end: End) -> None:
        """Say why another attempt follows."""
        if end.outcome == "again":
            self._show.say(f"{end.why}; start {attempt + 2} of {self._starts} goes on from its newest checkpoint")


def main(argv: Sequence[str]) -> int:
    """Carry out one run. Returns its exit code. Raises UserError for what it refuses."""
    parser = config.parser(__doc__)
    for name in ("ranks", "restarts"):
        parser.add_argument(f"--{name}", default="3" if name == "restarts" else None, metavar="N")
    given = config.read(parser, argv)
    ranks, restarts = _count("--ranks", given.pop("ranks"), 1), _count("--restarts", given.pop("restarts"), 0)
    cfg = config.TrainConfig(**given)
    for name, is_wrong, script in (("comm", ranks is None, "ddp"), ("data_parallel", ranks is not None, "baseline")):
        if name in given and is_wrong:
            raise UserError(f"{config.flag_name(name)} is for {script}_train.py; see --help")
    show, stop = Screen(), Stop()
    stop.hear()
    if dropped := variables.drop(os.environ):
        show.warn(f"ignoring from the environment: {' '.join(dropped)}")
    threads = {} if cfg.threads is None else {"OMP_NUM_THREADS": str(cfg.threads)}
    program = Program(_command(ranks, config.to_flags(cfg)), variables=threads)
    notebook, narrator = Notebook(), Narrator(show, (restarts or 0) + 1)
    end = supervise(program.start, notebook, stop, narrator, restarts=restarts or 0, has_ranks=ranks is not None)
    if end.why:
        show.warn(end.why)
    return end.exit_code


def _command(ranks: int | None, flags: Sequence[str]) -> list[str]:
    if ranks is None:
        return [sys.executable, str(commands.PROJECT / "baseline_train.py"), *flags]
    script = str(commands.PROJECT / "ddp_train.py")
    return [sys.executable, "-m", "ddpbench.train.agent", str(ranks), script, *flags]


def _count(flag: str, text: str | None, least: int) -> int | None:
    if text is None:
        return None
    (count, *more) = options.numbers(flag, text, least, f"{flag} 2") or [least - 1]
    if more or count > options.MOST_RESTARTS:
        raise UserError(f"{flag} must be one whole number from {least} to {options.MOST_RESTARTS:,}, got {text}")
    return count
