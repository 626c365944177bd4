"""What this process may use and has used: cores, memory and CPU time."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil

from ddpbench.memory import SHARED_FOLDER

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@cache
def usable_cores(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int:
    """Return the CPU cores this process may use: affinity, and the cgroup's quota rounded up.

    Counted once: OpenMP may bind the main thread to one core when torch is imported (pytorch#91989).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    quotas = (_quota_of(place) for place in _places(cgroup, membership, "cpu"))
    return max(1, min([cores, *(-int(-quota // 1) for quota in quotas if quota is not None)]))


def physical_cores() -> int:
    """Return the cores of this machine, two threads of one core counted once."""
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


def peak_rss_bytes() -> int:
    """Return the most memory this process has held in RAM.

    Linux's VmHWM: getrusage's ru_maxrss also counts the program we were forked from.
    """
    return _status_bytes("VmHWM")


def private_bytes() -> int:
    """Return the memory that this process alone holds in RAM: what is mapped from files does not count."""
    return _status_bytes("RssAnon")


def cpu_s() -> float:
    """Return the CPU seconds, user and system, that this process has used on all cores."""
    used = psutil.Process().cpu_times()
    return float(used.user + used.system)


def stolen_s() -> float:
    """Return the CPU seconds that the host of a virtual machine has taken from it, over all cores, since its start.

    Linux counts them as steal time in /proc/stat. 0 where the system does not say.
    """
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def free_memory_bytes(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int:
    """Return the memory that processes may still take: of this machine, and of the cgroups that this one is in."""
    of_cgroups = (_left_in(place) for place in _places(cgroup, membership, "memory"))
    free = [int(psutil.virtual_memory().available), *(left for left in of_cgroups if left is not None)]
    return max(0, min(free))


@contextmanager
def within_free_memory() -> Iterator[None]:
    """Let allocations of this process fail where it would take more memory than is free. Linux only.

    Otherwise the kernel grants them, and kills the process when it uses them: nobody learns which line it was.
    """
    if sys.platform != "linux":
        yield
        return
    import resource  # Windows has none

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _status_bytes("VmData") + free_memory_bytes()  # as the kernel counts it against the limit
    resource.setrlimit(resource.RLIMIT_DATA, (limit if before[0] < 0 else min(limit, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def free_shared_bytes(folder: str = SHARED_FOLDER) -> int | None:
    """Return the room in /dev/shm, through which processes hand tensors over; None where there is no such folder."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _places(cgroup: Path, membership: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and of all above it, which may limit what `controller` counts."""
    for line in (membership.read_text() if membership.exists() else "").splitlines():
        _, controllers, path = line.split(":", 2)
        root = cgroup if controllers == "" else cgroup / controller  # v2, or v1
        if controllers == "" or controller in controllers.split(","):
            here = root / path.lstrip("/")
            yield from (place for place in (here, *here.parents) if place.is_relative_to(root))


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


def _left_in(place: Path) -> int | None:
    """Return the bytes that one cgroup may still take, and what its cache of files would give back; None: no limit."""
    is_v2 = (place / "memory.max").exists()
    names = ("memory.max", "memory.current") if is_v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    try:
        limit, used = ((place / name).read_text().strip() for name in names)
        if limit == "max":
            return None
        counts = dict(line.split(maxsplit=1) for line in (place / "memory.stat").read_text().splitlines())
        cached = sum(int(counts[f"{'' if is_v2 else 'total_'}{kind}_file"]) for kind in ("active", "inactive"))
        return int(limit) - int(used) + cached
    except (OSError, ValueError, KeyError):
        return None


def _status_bytes(name: str) -> int:
    """Return what the kernel says of this process's memory; where it says nothing, what it holds in RAM."""
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return int(psutil.Process().memory_info().rss)
