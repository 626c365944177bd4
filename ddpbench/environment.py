"""What this process may use and has used: cores, memory and CPU time."""

import os
from functools import cache
from pathlib import Path

import psutil

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


def stolen_s() -> float:
    """Return the CPU seconds that the host of a virtual machine has taken from it, over all cores, since its start.

    Linux counts them as steal time in /proc/stat. 0 where the system does not say.
    """
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


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
