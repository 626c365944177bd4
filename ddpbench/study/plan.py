"""The jobs of a study, as JSON in its folder. Done is what an equal complete record covers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from ddpbench.arm import Arm, arm_of
from ddpbench.errors import UserError
from ddpbench.files import write_whole
from ddpbench.record import Record, Settings, read_record

PLAN = "plan.json"
SCHEMA = 1


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `steps` per epoch: None for a whole pass, whose accuracy counts; else the run is only timed."""

    arm: Arm
    global_batch: int
    steps: int | None
    epochs: int
    seed: int = 0
    checks: bool = False  # whether it checks what a sweep predicts

    @property
    def label(self) -> str:
        """The run's name in lists."""
        batch = "" if self.steps is None else f", batch {self.global_batch}"
        return f"{self.arm.label}{batch}, seed {self.seed}"

    @property
    def has_accuracy(self) -> bool:
        """Whether its accuracy is a result."""
        return self.steps is None and not self.arm.is_control

    def with_seed(self, seed: int) -> "Job":
        """Return the same run with another seed."""
        return replace(self, seed=seed)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a study was asked for: two with equal requests are one study, and --resume goes on with it."""

    design: Literal["comparison", "sweep"]
    seeds: list[int]
    world_sizes: list[int]
    batches: list[int]
    settings: Settings
    injected: str | None

    def differences(self, other: "Request") -> list[str]:
        """Return what keeps `other` from being this study: names, and both values."""
        ours, theirs = _flat(self), _flat(other)
        return [
            f"{name} {_shown(theirs[name])}, now {_shown(ours[name])}" for name in ours if ours[name] != theirs[name]
        ]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A study: what was asked for, and its runs in their order."""

    request: Request
    jobs: list[Job]
    schema: int = SCHEMA

    def settings_of(self, job: Job) -> Settings:
        """Return the settings that the record of a job must have."""
        target = self.request.settings.target_accuracy if job.steps is None else None
        told = {"global_batch": job.global_batch, "epochs": job.epochs, "steps": job.steps, "target_accuracy": target}
        return replace(self.request.settings, **told)

    def covers(self, record: Record, job: Job) -> bool:
        """Whether a record is of this job, complete or not."""
        same_run = (arm_of(record), record.seed) == (job.arm, job.seed)
        return same_run and record.settings == self.settings_of(job)

    def left(self, records: Sequence[Record]) -> list[tuple[Job, bool]]:
        """Return the jobs that no complete record covers, and whether each has begun."""
        todo = []
        for job in self.jobs:
            states = [record.status for record in records if self.covers(record, job)]
            if "complete" not in states:
                todo.append((job, bool(states)))
        return todo


def write(folder: Path, plan: Plan) -> None:
    """Keep a plan in the study's folder. Raises DiskError where the disk refuses."""
    write_whole(folder / PLAN, msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n")


def read(folder: Path) -> Plan | None:
    """Return the plan of a study; None where there is none that this version can read."""
    try:
        plan = msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return plan if plan.schema == SCHEMA else None


def studies(results: Path) -> Iterator[tuple[Path, Plan]]:
    """Yield the folders of `results` that hold a plan, and the plans; the newest first."""
    for path in sorted(results.glob(f"*/{PLAN}"), reverse=True):
        plan = read(path.parent)
        if plan is not None:
            yield path.parent, plan


def records_in(folder: Path) -> list[Record]:
    """Return the records of a folder. What is damaged, or no record, is left out: its run is run again."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(read_record(path))
        except UserError:
            continue
    return found


def _flat(request: Request) -> dict[str, object]:
    told = {name: getattr(request, name) for name in request.__struct_fields__ if name != "settings"}
    return told | {name: getattr(request.settings, name) for name in request.settings.__struct_fields__}


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
