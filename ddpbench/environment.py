"""The machine and the software a run happened on. No host name, no user, no path, no environment dump."""

import os
import platform
import re
import subprocess
from functools import cache, partial
from pathlib import Path

import psutil

from ddpbench import variables
from ddpbench.record import Environment

CGROUP = Path("/sys/fs/cgroup")


@cache
def usable_cores(cgroup: Path = CGROUP, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the CPU cores this process may use: affinity, and the cgroup's quota rounded up.

    Counted once: OpenMP may bind the main thread to one core when torch is imported (pytorch#91989).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    quota = _cgroup_quota(cgroup, membership.read_text() if membership.exists() else "")
    return cores if quota is None else max(1, min(cores, -int(-quota // 1)))


def physical_cores() -> int:
    """Return the cores of this machine, two threads of one core counted once."""
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


def describe() -> Environment:
    """Describe this machine, what else it is doing, and the versions that decide speed."""
    import torch  # here, so that `usable_cores` costs no torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return Environment(
        cpu_model=_cpu_model(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        gpu_models=gpus,
        python=platform.python_version(),
        torch=str(torch.__version__),
        blas=blas.group(1) if blas else "unknown",
        system=f"{platform.system()} {platform.machine()}",
        load_1m=psutil.getloadavg()[0],
        commit=_commit(),
        variables=variables.recorded(),
    )


def peak_rss_bytes() -> int:
    """Return the most memory this process has held in RAM.

    Linux's VmHWM: getrusage's ru_maxrss also counts the program we were forked from.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return int(psutil.Process().memory_info().rss)


def cpu_s() -> float:
    """Return the CPU seconds, user and system, that this process has used on all cores."""
    used = psutil.Process().cpu_times()
    return float(used.user + used.system)


def _cgroup_quota(cgroup: Path, membership: str) -> float | None:
    """Return the cores that this process's cgroup and all above it allow (v2 or v1); None without a limit."""
    quotas = []
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        root = cgroup if controllers == "" else cgroup / "cpu"
        if controllers == "" or "cpu" in controllers.split(","):
            here = root / path.lstrip("/")
            quotas += [_quota_of(place) for place in (here, *here.parents) if place.is_relative_to(root)]
    limits = [quota for quota in quotas if quota is not None]
    return min(limits, default=None)


def _quota_of(place: Path) -> float | None:
    """Return the cores one cgroup allows: cpu.max in v2, two files in v1."""
    try:
        if (place / "cpu.max").exists():
            quota, period = (place / "cpu.max").read_text().split()
        else:
            quota, period = ((place / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if quota in {"max", "-1"} else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of this checkout, "-dirty" added where files differ from it; None outside git."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "--no-optional-locks"]  # `describe --dirty` would lock the index for a moment
    run = partial(subprocess.run, capture_output=True, text=True, timeout=10)
    try:
        commit = run([*git, "describe", "--always", "--abbrev=12", "--exclude=*"], check=True).stdout.strip()
        differs = run([*git, "diff-index", "--quiet", "HEAD"], check=False).returncode
        return f"{commit}-dirty" if differs else commit
    except (OSError, subprocess.SubprocessError):
        return None
