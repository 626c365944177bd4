"""The JSON record of one launch of turns: how long blocks of steps took, arm by arm and round by round.

In a launch all arms are built once. Every round visits all of them in a new random order; a visit is a block of steps.
"""

from pathlib import Path

import msgspec

from ddpbench.arm import Arm
from ddpbench.errors import UserError, one_line
from ddpbench.fields import Count, Duration, Part, Seconds, Text
from ddpbench.record import Environment
from ddpbench.settings import Settings

SCHEMA = 1


class TurnArm(Part, frozen=True):
    """One way of training, as it takes its turn."""

    arm: Arm
    global_batch: Count


class Visits(Part, frozen=True):
    """What one arm measured in a launch."""

    turn: TurnArm
    steps: Count  # of a block
    block_s: list[list[Duration]]  # [rounds, ranks of the arm]
    reduce_s: list[list[Seconds]] | None  # the same blocks: from the last gradient to the optimizer's step, summed
    late_s: list[list[Seconds]] | None  # of that, waiting for the slowest rank of each step


class Launch(Part, frozen=True):
    """One launch of turns."""

    schema: int
    study: Text
    number: Count  # of the launch in its study, from 0; it seeds data and order
    settings: Settings
    environment: Environment
    started_at: Text
    startup_s: Seconds  # of the slowest rank, from the start of torchrun until the first round
    order: list[list[Count]]  # of each round: the indices of `visits`, as they were visited
    round_s: list[Duration]  # of each round, with the steps that do not count
    stolen_s: list[Seconds]  # of each round: CPU time that the host took from this machine, over all its cores
    visits: list[Visits]
    injected: Text | None
    peak_rss_bytes: list[Count]  # by rank


class Question(msgspec.Struct, frozen=True):
    """What a launch is to do, as a study hands it to its ranks."""

    flags: list[str]  # of TrainConfig
    arms: list[TurnArm]
    number: int
    seconds: float  # of rounds; a round that has begun is finished
    path: str  # of the record


class Look(msgspec.Struct, frozen=True):
    """What the launches so far say, as the orchestrator asks it between launches."""

    parallel: str  # the label of the fastest arm of several ranks
    reference: str  # that of the fastest single process
    speedup: float  # how many times as fast
    low: float | None  # its 95 % interval; None for a single launch
    high: float | None
    outcome: str
    is_known: bool  # whether no further launch is needed


FIRST_LOOK = 3  # launches before the first look at the interval


def path_of(folder: Path, number: int) -> Path:
    """Return the path of a launch's record in the folder of its study."""
    return folder / f"turns-{number:03}.json"


def read_launches(folder: Path) -> list[Launch]:
    """Return the launches of a folder, in order. Raises UserError for a damaged one, or where there is none."""
    launches = []
    for path in sorted(folder.glob("turns-*.json")):
        try:
            launches.append(msgspec.json.decode(path.read_bytes(), type=Launch))
        except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
            why = one_line(str(problem)[:200])
            raise UserError(f"{path} is not a whole record of turns: {why}; leave it out, or run again") from problem
        if launches[-1].schema != SCHEMA:
            raise UserError(f"{path} has schema {launches[-1].schema}, this program reads {SCHEMA}")
    if not launches:
        raise UserError(f"{folder} has no record of turns; run bash launch.sh speed")
    return launches
