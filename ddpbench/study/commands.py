"""The command of a run: for a study, and for a person to paste."""

import sys
from dataclasses import replace
from pathlib import Path

from ddpbench import config
from ddpbench.config import TrainConfig
from ddpbench.study.options import Asked
from ddpbench.study.plan import Job

PROJECT = Path(__file__).parents[2]


def by_hand(job: Job, asked: Asked, folder: Path, *, resume: bool) -> list[str]:
    """Return the command with which a person starts a run."""
    flags = flags_of(job, asked, folder, resume=resume)
    if job.arm.kind == "ddp":
        return ["torchrun", f"--nproc_per_node={job.arm.world_size}", "ddp_train.py", *flags]
    return ["python", "baseline_train.py", *flags]


def command_of(job: Job, asked: Asked, folder: Path, *, resume: bool) -> list[str]:
    """Return the command with which a study starts a run."""
    flags = flags_of(job, asked, folder, resume=resume)
    if job.arm.kind == "ddp":
        script = str(PROJECT / "ddp_train.py")
        return [sys.executable, "-m", "ddpbench.train.agent", str(job.arm.world_size), script, *flags]
    return [sys.executable, str(PROJECT / "baseline_train.py"), *flags]


def flags_of(job: Job, asked: Asked, folder: Path, *, resume: bool) -> list[str]:
    """Return the flags that make a training script carry out a job."""
    cfg: TrainConfig = replace(
        asked.train,
        seed=job.seed,
        global_batch=job.global_batch,
        epochs=job.epochs,
        steps=job.steps,
        threads=job.arm.threads_per_rank,
        comm=job.arm.comm or "auto",  # type: ignore[arg-type]  # an arm's comm is one of them
        data_parallel=job.arm.kind == "data_parallel",
        results=folder,
        resume=resume,
    )
    return config.to_flags(cfg)
