"""The machine and the software that a run happened on, for its record. No host name, no user, no environment dump."""

import platform
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Literal

import psutil
import torch

from ddpbench import command, environment, variables
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.record import Environment


def describe() -> Environment:
    """Describe this machine, what else it is doing, and the versions that decide speed."""
    gpu_models = [torch.cuda.get_device_name(index) for index in range(gpus())]
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return Environment(
        cpu_model=_cpu_model(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cores=environment.usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        gpu_models=gpu_models,
        python=platform.python_version(),
        torch=str(torch.__version__),
        blas=blas.group(1) if blas else "unknown",
        system=f"{platform.system()} {platform.machine()}",
        load_1m=psutil.getloadavg()[0],
        commit=_commit(),
        variables=variables.recorded(),
    )


def gpus() -> int:
    """Return on how many GPUs ranks can train. torch calls those of ROCm "cuda" too.

    An Apple GPU counts as none: ranks have no way to combine gradients there, and nobody should get it unasked.
    """
    kind = torch.accelerator.current_accelerator(check_available=True)
    return torch.accelerator.device_count() if kind is not None and kind.type == "cuda" else 0


def resolve(cfg: TrainConfig) -> Literal["cpu", "cuda"]:
    """Return on what a run trains. Raises UserError where CUDA, or what needs it, is asked for and not there."""
    has_gpu = bool(gpus())
    if cfg.device == "cuda" and not has_gpu:
        raise UserError("--device cuda: torch sees no CUDA GPU here; use --device cpu")
    device: Literal["cpu", "cuda"] = "cuda" if has_gpu and cfg.device != "cpu" else "cpu"
    if cfg.sync_batchnorm and device == "cpu":
        raise UserError("--sync-batchnorm works between GPUs alone, and this run trains on CPUs; leave it out")
    return device


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of this checkout, "-dirty" added where files differ from it; None outside git.

    An installed package may lie in the folder of another project, whose commit says nothing about it.
    """
    if command.IS_INSTALLED:
        return None
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "--no-optional-locks"]  # `describe --dirty` would lock the index for a moment
    run = partial(subprocess.run, capture_output=True, text=True, timeout=10)
    try:
        commit = run([*git, "describe", "--always", "--abbrev=12", "--exclude=*"], check=True).stdout.strip()
        differs = run([*git, "diff-index", "--quiet", "HEAD"], check=False).returncode
        return f"{commit}-dirty" if differs else commit
    except (OSError, subprocess.SubprocessError):
        return None
