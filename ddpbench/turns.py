"""The JSON record of one launch of turns: how long blocks of steps took, arm by arm and round by round.

In a launch all arms are built once. Every round visits all of them in a new random order; a visit is a block of steps.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ddpbench.arm import Arm
from ddpbench.errors import UserError, one_line
from ddpbench.fields import Count, Duration, Part, Seconds, Text
from ddpbench.findings import Check
from ddpbench.record import Environment
from ddpbench.settings import Settings

SCHEMA = 4


class TurnArm(Part, frozen=True):
    """One way of training, as it takes its turn."""

    arm: Arm
    global_batch: Count
    replayed: bool = False  # it trains on a few batches in memory, again and again: what reading data costs

    @property
    def is_control(self) -> bool:
        """Whether it shows what something costs, and is never a result."""
        return self.arm.is_control or self.replayed

    @property
    def label(self) -> str:
        """The name of the arm, and whether it reads no data."""
        return f"{self.arm.label}, batches replayed" if self.replayed else self.arm.label


class Visits(Part, frozen=True):
    """What one arm measured in a launch."""

    turn: TurnArm
    steps: Count  # of a block
    rank_batches: list[Count]  # samples of a step, by rank of the arm
    block_s: list[list[Duration]]  # [rounds that the arm was in, ranks of the arm]
    reduce_s: list[list[Seconds]] | None  # the same blocks: from the last gradient to the optimizer's step, summed
    late_s: list[list[Seconds]] | None  # of that, waiting for the slowest rank of each step
    data_s: list[list[Seconds]] | None  # the same blocks: waiting for data that is read while training
    # Of a single process in a launch over several hosts, which all run it at the same time: [rounds, hosts]. The arm's
    # own figures above are those of host 0.
    hosts_s: list[list[Duration]] | None = None
    # Of an arm that combines gradients inside hosts and then between them: of reduce_s, waiting for other hosts.
    between_s: list[list[Seconds]] | None = None


class Visit(msgspec.Struct, frozen=True):
    """What one rank measured in one visit. Ranks exchange it."""

    block_s: float
    waits_s: list[float]  # for the gradients of each step; empty where none are reduced
    data_s: float | None  # waiting for data; None where the data is in memory
    between_s: float | None = None  # of all waits_s, for other hosts; None where it is not timed apart


class Launch(Part, frozen=True):
    """One launch of turns."""

    schema: int  # readers refuse other numbers than their own
    study: Text  # name of the folder
    number: Count  # of the launch in its study, from 0; it seeds data and order
    settings: Settings
    parameters: Count  # of the network
    environment: Environment
    started_at: Text  # wall clock, UTC: a label, never used for an interval
    startup_s: Seconds  # of the slowest rank, from the start of torchrun until the first round
    order: list[list[Count]]  # of each round: the indices of the `visits` that took a turn, as they did
    round_s: list[Duration]  # of each round, with the steps that do not count
    stolen_s: list[Seconds]  # of each round: CPU time that the host took from this machine, over all its cores
    visits: list[Visits]  # of each arm
    check: Check | None  # of the task, by the first launch of a study; None in the others
    injected: Text | None  # as in the record of a run
    peak_rss_bytes: list[Count]  # by rank
    hosts: Count = 1  # over which the launch ran, with equally many ranks on each
    # Those of the other hosts, from host 1 on; `environment` is of host 0.
    others: list[Environment] = msgspec.field(default_factory=list)


class Question(msgspec.Struct, frozen=True):
    """What a launch is to do, as a study hands it to its ranks."""

    flags: list[str]  # of TrainConfig
    arms: list[TurnArm]
    focus: list[TurnArm]  # of them: those that are in every round, while the others are in every sixth
    number: int
    seconds: float  # of rounds; a round that has begun is finished
    path: str  # of the record


class Pair(msgspec.Struct, frozen=True):
    """The fastest arm of several ranks and the fastest single process, at one global batch."""

    parallel: TurnArm
    reference: TurnArm
    parallel_step_s: float
    reference_step_s: float
    speed: float  # how many times as fast
    low: float | None  # its 95 % interval; None for a single launch
    high: float | None
    outcome: str
    is_known: bool  # whether no further launch is needed for it
    enough: float  # half the width of the interval at which that is so, as things are: 0.03 is +- 3 %


class Look(msgspec.Struct, frozen=True):
    """What the launches so far say, as the orchestrator asks it between launches."""

    pairs: list[Pair]  # by global batch, ascending
    next_batch: int | None  # of a sweep: where its prediction is to be checked; None where there is nothing to check
    findings: list[str] = []  # about the task, by the check of the first launch
    round_s: float = 0.0  # of a round with all arms of the study


FIRST_LOOK = 5  # launches before the first look at the interval: fewer may agree by chance


def path_of(folder: Path, number: int) -> Path:
    """Return the path of a launch's record in the folder of its study."""
    return folder / f"turns-{number:03}.json"


def paths_in(folder: Path) -> list[Path]:
    """Return the paths of a folder's launches, in order."""
    return sorted(folder.glob("turns-*.json"))


def read_launches(folder: Path) -> list[Launch]:
    """Return the launches of a folder, in order. Raises UserError for a damaged one."""
    return [read_launch(path) for path in paths_in(folder)]


def read_launch(path: Path) -> Launch:
    """Read and validate the record of a launch. Raises UserError naming the file and the field."""
    try:
        content = path.read_bytes()
        schema = msgspec.json.decode(content, type=_Version).schema
        if schema != SCHEMA:
            raise UserError(f"{path} has schema {schema}, this program reads {SCHEMA}: run again, or use its version")
        launch = msgspec.json.decode(content, type=Launch)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
        why = one_line(str(problem)[:200])
        raise UserError(f"{path} is not a whole record of turns: {why}; leave it out, or run again") from problem
    if wrong := next(_wrong(launch), None):
        raise UserError(f"{path}: {wrong} holds a value that no launch produces; leave it out, or run again")
    return launch


class _Version(msgspec.Struct):
    schema: int


def _wrong(launch: Launch) -> Iterator[str]:
    """Yield the names of fields that have the right type and no possible value."""
    rounds, arms = len(launch.order), len(launch.visits)
    visited = [index for order in launch.order for index in order]
    if {*visited} != {*range(arms)} or any(len({*order}) != len(order) for order in launch.order):
        yield "order"
    for name in ("round_s", "stolen_s"):
        if len(getattr(launch, name)) != rounds:
            yield name
    if launch.hosts != len(launch.others) + 1:
        yield "hosts"
    for index, each in enumerate(launch.visits):
        size, hosts = each.turn.arm.world_size, each.turn.arm.hosts
        if not 1 <= hosts <= launch.hosts or size % hosts:
            yield f"visits[{index}].turn"
        if size < 1 or each.turn.arm.threads_per_rank < 1 or each.turn.global_batch < 1 or each.steps < 1:
            yield f"visits[{index}].turn"
        if len(each.rank_batches) != size or min(each.rank_batches, default=0) < 1:
            yield f"visits[{index}].rank_batches"
        if (each.reduce_s is None) != (each.late_s is None):
            yield f"visits[{index}].late_s"
        for name in ("block_s", "reduce_s", "late_s", "between_s", "data_s"):
            table = getattr(each, name)
            if table is not None and not _has_shape(table, visited.count(index), size):
                yield f"visits[{index}].{name}"
        if each.hosts_s is not None and not _has_shape(each.hosts_s, visited.count(index), launch.hosts):
            yield f"visits[{index}].hosts_s"


def _has_shape(table: Sequence[Sequence[float]], rows: int, columns: int) -> bool:
    return len(table) == rows and all(len(row) == columns for row in table)
