"""Looks at this machine, without torch. Nothing that it makes stays."""

import fcntl
import os
import platform
import re
import resource
import tempfile
import time
from pathlib import Path

import psutil

from ddpbench import environment
from ddpbench.check.asking import Answers
from ddpbench.check.facts import Cores, Data, Facts, Folder, Load, Memory, Space
from ddpbench.errors import DataError
from ddpbench.files import NOT_OFFERED
from ddpbench.memory import SHARED_FOLDER
from ddpbench.tasks import fetch

NVIDIA_VERSION = Path("/proc/driver/nvidia/version")


def facts(load: Load | None, answers: Answers, results: Path, data_dir: Path) -> Facts:
    """Return all facts: what the worker has answered, and what is seen from here."""
    return Facts(
        python=platform.python_version(),
        driver=driver(),
        cores=cores(),
        load=load,
        memory=_memory(),
        shared_memory=space(SHARED_FOLDER),
        results=folder(results),
        temporary=_temporary(),
        open_files=_open_files(),
        data=data(data_dir),
        torch=answers.torch,
        gpus=answers.gpus,
        loopback=answers.loopback,
        shm=answers.shm,
        ended=answers.ended,
    )


def load(window_s: float) -> Load | None:
    """Sleep for so long, and return what others have used of the cores meanwhile. None: the kernel does not count."""
    before, began_s = _times(), time.monotonic()
    time.sleep(window_s)
    after, window_s = _times(), time.monotonic() - began_s
    passed = [{name: max(0.0, b[name] - a[name]) for name in a} for a, b in zip(before, after, strict=False)]
    total_s = sum(sum(core.values()) for core in passed)
    if total_s < 0.5 * window_s * len(passed) or not passed:  # some sandboxes show zeros
        return None
    idle_s = sum(core.get("idle", 0.0) + core.get("iowait", 0.0) for core in passed)
    counts_stolen = all("steal" in core for core in passed)
    stolen_s = sum(core.get("steal", 0.0) for core in passed)
    return Load(
        window_s=window_s,
        cores=len(passed),
        busy_cores=len(passed) * (total_s - idle_s - stolen_s) / total_s,
        stolen_share=stolen_s / total_s if counts_stolen else None,
        load_1m=psutil.getloadavg()[0],
    )


def cores() -> Cores:
    """Return the cores of this process and of this machine."""
    logical = psutil.cpu_count() or 1
    return Cores(
        usable=environment.usable_cores(),
        affinity=len(_affinity()) or logical,
        logical=logical,
        physical=environment.physical_cores(),
    )


def driver() -> str | None:
    """Return the driver of the GPUs that this system offers. A container may see a driver and no device: None."""
    if any(Path("/dev").glob("nvidia[0-9]*")):
        try:
            version = re.search(r"\b\d+\.\d+(\.\d+)?\b", NVIDIA_VERSION.read_text())
        except OSError:
            version = None
        return f"NVIDIA driver {version[0]}" if version else "NVIDIA driver"
    return "AMD driver" if Path("/dev/kfd").exists() else None


def space(place: str) -> Space | None:
    """Return the size of a file system, and what is free there; None where there is no such folder."""
    try:
        found = os.statvfs(place)
    except OSError:
        return None
    return Space(free_bytes=found.f_bavail * found.f_frsize, total_bytes=found.f_blocks * found.f_frsize)


def folder(path: Path) -> Folder:
    """Return whether a folder takes files and locks. One that is not there yet would be made, so its parent counts."""
    try:
        place = next(each for each in (path, *path.absolute().parents) if each.exists())
        # A folder is locked and not a file, as a study locks its results. NFS can lock the one and not the other.
        with tempfile.TemporaryDirectory(dir=place, prefix=".ddpbench-check-") as made:
            has_locks = _has_locks(made)
            (Path(made) / "file").write_bytes(b"x")
        found = space(str(place))
    except OSError as problem:
        return Folder(path=str(path), problem=problem.strerror or str(problem))
    return Folder(path=str(path), free_bytes=found.free_bytes if found else None, has_locks=has_locks)


def data(data_dir: Path) -> Data:
    """Return which files of MNIST are in a folder, whole, by their digests. Nothing is fetched."""
    missing, wrong = [], []
    place = data_dir / fetch.FOLDERS["mnist"] / "raw"
    for name, (digest, size_bytes) in fetch.FILES["mnist"].items():
        if not os.path.exists(place / name):  # noqa: PTH110 - pathlib raises where the folder may not be looked into
            missing.append(name)
            continue
        try:
            fetch.verify(place / name, digest, size_bytes)
        except DataError:
            wrong.append(name)
    return Data(folder=str(data_dir), missing=missing, wrong=wrong)


def _temporary() -> Folder:
    try:
        return folder(Path(tempfile.gettempdir()))
    except FileNotFoundError:
        return Folder(path="none", problem="no folder takes files")


def _open_files() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _memory() -> Memory:
    machine = psutil.virtual_memory()
    return Memory(
        free_bytes=environment.free_memory_bytes(), available_bytes=machine.available, total_bytes=machine.total
    )


def _has_locks(place: str) -> bool:
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno not in NOT_OFFERED:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _times() -> list[dict[str, float]]:
    """Return the seconds that each core has spent on what: cores that this process may run on, or all."""
    every = [each._asdict() for each in psutil.cpu_times(percpu=True)]
    own = [every[core] for core in sorted(_affinity()) if core < len(every)]
    # Guests are counted in `user` and in `nice` already (proc_stat(5)).
    return [{name: core[name] for name in core if not name.startswith("guest")} for core in own or every]
