"""The command of a run: as a supervisor starts it, and as a person may paste it."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from ddpbench import command, config
from ddpbench.study.options import StudyOptions
from ddpbench.study.plan import Job


def supervised(ranks: int | None, flags: Sequence[str]) -> list[str]:
    """Return the command with which a supervisor starts a run: on so many ranks, None for a single process."""
    if ranks is None:
        return [sys.executable, str(command.SCRIPTS / "baseline_train.py"), *flags]
    return [sys.executable, "-m", "ddpbench.train.agent", str(ranks), str(command.SCRIPTS / "ddp_train.py"), *flags]


def command_of(job: Job, options: StudyOptions, folder: Path, *, resume: bool) -> list[str]:
    """Return the command with which a study starts a job, whose results go to `folder`."""
    return supervised(job.ranks, flags_of(job, options, folder, resume=resume))


def by_hand(job: Job, options: StudyOptions, folder: Path, *, resume: bool) -> list[str]:
    """Return the command with which a person starts a job."""
    flags = flags_of(job, options, folder, resume=resume)
    words = command.ALONE if job.ranks is None else command.on_ranks(job.ranks, job.arm.hosts)
    return [*shlex.split(words), *flags]


def flags_of(job: Job, options: StudyOptions, folder: Path, *, resume: bool) -> list[str]:
    """Return the flags that make a training script carry out a job."""
    cfg = replace(
        options.train,
        seed=job.seed,
        threads=job.arm.threads_per_rank,
        comm=job.arm.comm or "auto",
        data_parallel=job.arm.kind == "data_parallel",
        compile=job.arm.kind == "compiled",
        results=folder,
        resume=resume,
    )
    return config.to_flags(cfg)
