"""One run, supervised as a study supervises its runs, with its output on the terminal.

bash launch.sh run [--ranks N] [--restarts N] FLAGS

With --ranks it is ddp_train.py on so many ranks, otherwise baseline_train.py in one process. After a failure it goes on
from its newest checkpoint; plain torchrun restarts ranks alone, and no single process.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench import config
from ddpbench.errors import UserError
from ddpbench.study import commands, options
from ddpbench.study.attempts import End
from ddpbench.study.desk import Desk
from ddpbench.study.runner import Notebook, Observer, Program, supervise
from ddpbench.study.screen import Screen


@dataclass
class RestartNotice(Observer):
    """Says why another attempt follows. All else the run prints by itself."""

    screen: Screen
    restarts: int

    def attempt_ended(self, attempt: int, end: End) -> None:
        """Say why another attempt follows."""
        if end.outcome == "again":
            self.screen.say(end.restart_line(attempt, self.restarts))


def main(argv: Sequence[str], ignored: Sequence[str], desk: Desk | None = None) -> int:
    """Carry out one run. Returns its exit code. Raises UserError for what it refuses.

    `ignored` are the names of the environment variables that were dropped.
    """
    desk = desk or Desk()
    screen, stop = desk.screen, desk.stop
    chosen = options.read_run(argv)
    cfg = chosen.train
    if desk.hosts > 1 and chosen.ranks is None:
        raise UserError(f"--ranks N is needed on several hosts: so many on each; with 1 there are {desk.hosts}")
    config.part_batch(cfg, desk.hosts * (chosen.ranks or 1))
    stop.listen()
    screen.warn_of_ignored(ignored)
    threads = {} if cfg.threads is None else {"OMP_NUM_THREADS": str(cfg.threads)}
    program = Program(commands.supervised(chosen.ranks, config.to_flags(cfg)), variables=threads)
    observer, has_ranks = RestartNotice(screen, chosen.restarts), chosen.ranks is not None
    with Notebook() as notebook:
        end = supervise(desk.start(program), notebook, stop, observer, restarts=chosen.restarts, has_ranks=has_ranks)
    if end.why:
        screen.warn(end.why)
    return end.exit_code
