"""The plan of a study: the arms that take turns, and the whole runs that follow. Which runs are left."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from ddpbench.arm import Arm, arm_of
from ddpbench.record import Comm, Record
from ddpbench.settings import Settings
from ddpbench.study.layouts import Layout
from ddpbench.turns import TurnArm

SCHEMA = 3
Design = Literal["comparison", "speed", "sweep"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One whole run of a study, whose accuracy counts."""

    arm: Arm
    seed: int

    @property
    def label(self) -> str:
        """The run's name in lists."""
        return f"{self.arm.label}, seed {self.seed}"

    @property
    def ranks(self) -> int | None:
        """The ranks that torchrun's agent starts on each host; None for a single process."""
        return self.arm.ranks_per_host if self.arm.kind == "ddp" else None


class Pending(NamedTuple):
    """A job that is not complete."""

    job: Job
    has_begun: bool  # an unfinished record of it is there to go on with


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a study was asked for. --resume goes on with a study whose request is equal."""

    design: Design
    seeds: list[int]  # of the whole runs; none without such runs
    world_sizes: list[int]  # ranks of arms on one host
    batches: list[int]  # of a sweep
    settings: Settings
    injected: str | None
    comms: list[Comm] = []  # that are compared, the probably fastest last
    compile: bool = False  # whether one process that torch.compile speeds up is compared, too
    layouts: list[Layout] = []  # of arms over several hosts

    def differences(self, other: "Request") -> list[str]:
        """Return in what another request differs: each name, the other's value and this one's."""
        own, others = _flat(self), _flat(other)
        return [f"{name} {_shown(others[name])}, now {_shown(own[name])}" for name in own if own[name] != others[name]]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A study: its request, the arms that take turns in its launches, and its whole runs in their order."""

    request: Request
    turns: list[TurnArm]  # the check of a sweep's prediction has others
    jobs: list[Job] = []  # chosen by the launches: none before these are over. --more adds runs with more seeds
    is_measured: bool = False  # whether the launches are over
    schema: int = SCHEMA

    @property
    def batches(self) -> list[int]:
        """The global batches at which the study asks which arm is faster."""
        return self.request.batches or [self.request.settings.global_batch]

    @property
    def seeds(self) -> list[int]:
        """The seeds of its whole runs."""
        return list(dict.fromkeys([*self.request.seeds, *(job.seed for job in self.jobs)]))

    def covers(self, record: Record, job: Job) -> bool:
        """Whether a record, complete or not, is of this job."""
        return (arm_of(record), record.seed, record.settings) == (job.arm, job.seed, self.request.settings)

    def pending(self, records: Sequence[Record]) -> list[Pending]:
        """Return the jobs that no complete record covers, in their order."""
        left = []
        for job in self.jobs:
            states = [record.status for record in records if self.covers(record, job)]
            if "complete" not in states:
                left.append(Pending(job, has_begun=bool(states)))
        return left

    def is_finished(self, records: Sequence[Record]) -> bool:
        """Whether nothing of the study is left to be run."""
        return self.is_measured and not self.pending(records)


def _flat(request: Request) -> dict[str, object]:
    """Return the values of a request by name, those of its settings among them."""
    own = {name: getattr(request, name) for name in request.__struct_fields__ if name != "settings"}
    return own | {name: getattr(request.settings, name) for name in request.settings.__struct_fields__}


def _shown(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
