"""The jobs of a study, and which of them are left: a job is done when a complete record covers it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from ddpbench.arm import Arm, arm_of
from ddpbench.record import Record
from ddpbench.settings import Settings

SCHEMA = 1


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a study."""

    arm: Arm
    global_batch: int
    steps: int | None  # per epoch; None: a whole pass over the data, whose accuracy counts
    epochs: int
    seed: int = 0
    is_check: bool = msgspec.field(default=False, name="checks")  # it checks what a sweep predicts

    @property
    def label(self) -> str:
        """The run's name in lists."""
        batch = "" if self.steps is None else f", batch {self.global_batch}"
        return f"{self.arm.label}{batch}, seed {self.seed}"

    @property
    def ranks(self) -> int | None:
        """The ranks that torchrun's agent starts; None for a single process."""
        return self.arm.world_size if self.arm.kind == "ddp" else None

    @property
    def has_accuracy(self) -> bool:
        """Whether its accuracy is a result."""
        return self.steps is None and not self.arm.is_control

    def with_seed(self, seed: int) -> "Job":
        """Return the same run with another seed."""
        return replace(self, seed=seed)


class Pending(NamedTuple):
    """A job that is not complete."""

    job: Job
    has_begun: bool  # an unfinished record of it is there to go on with


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a study was asked for. --resume goes on with a study whose request is equal."""

    design: Literal["comparison", "sweep"]
    seeds: list[int]
    world_sizes: list[int]
    batches: list[int]
    settings: Settings
    injected: str | None

    def differences(self, other: "Request") -> list[str]:
        """Return in what another request differs: each name, the other's value and this one's."""
        own, others = _flat(self), _flat(other)
        return [f"{name} {_shown(others[name])}, now {_shown(own[name])}" for name in own if own[name] != others[name]]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A study: its request, and its jobs in their order."""

    request: Request
    jobs: list[Job]
    schema: int = SCHEMA

    def settings_of(self, job: Job) -> Settings:
        """Return the settings that the record of a job must have. A run cut short by `steps` has no target."""
        target = self.request.settings.target_accuracy if job.steps is None else None
        own = {"global_batch": job.global_batch, "epochs": job.epochs, "steps": job.steps, "target_accuracy": target}
        return replace(self.request.settings, **own)

    def covers(self, record: Record, job: Job) -> bool:
        """Whether a record, complete or not, is of this job."""
        is_same_run = (arm_of(record), record.seed) == (job.arm, job.seed)
        return is_same_run and record.settings == self.settings_of(job)

    def pending(self, records: Sequence[Record]) -> list[Pending]:
        """Return the jobs that no complete record covers, in their order."""
        left = []
        for job in self.jobs:
            states = [record.status for record in records if self.covers(record, job)]
            if "complete" not in states:
                left.append(Pending(job, has_begun=bool(states)))
        return left


def _flat(request: Request) -> dict[str, object]:
    """Return the values of a request by name, those of its settings among them."""
    own = {name: getattr(request, name) for name in request.__struct_fields__ if name != "settings"}
    return own | {name: getattr(request.settings, name) for name in request.settings.__struct_fields__}


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
