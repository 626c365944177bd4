"""What the facts of a check mean, and what to do about it. Pure functions: tests judge any machine."""

from collections.abc import Callable
from typing import Literal

import msgspec

from ddpbench.check.facts import Exchange, Facts, Folder

Level = Literal["ok", "warning", "problem", "unknown"]
MIB, GIB = 2**20, 2**30
SLOW_IMPORT_S = 10.0
BUSY, VERY_BUSY = 0.1, 0.4  # of the cores that this process may use; 0.5 is one program on one of two cores
STOLEN, MUCH_STOLEN = 0.02, 0.1  # of the time; from 2 % on a report has a caution
LOW_MEMORY, LITTLE_MEMORY = GIB // 2, 2 * GIB  # a small worker has 0.2 GiB of its own
LITTLE_SHARED = 128 * MIB  # docker gives 64 MiB; batches of pictures that are read ahead take more
LOW_DISK, LITTLE_DISK = 100 * MIB, GIB
FEW_FILES, TOO_FEW_FILES = 256, 64
SLOW_SMALL_S, SLOW_LARGE_S = 0.002, 0.3  # ten times what is usual on a machine with nothing else to do


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    level: Level  # unknown: it was not measured, because of another problem or because this system does not tell
    found: str
    cure: str | None = None  # of a warning or a problem
    passes: bool = False  # whether it may be over after some waiting


def judge(facts: Facts) -> list[Finding]:
    """Return a finding for each thing, in the order of the screen."""
    rows: dict[str, Callable[[Facts], Finding]] = {
        "torch": _torch,
        "GPUs": _gpus,
        "cores": _cores,
        "load": _load,
        "memory": _memory,
        "/dev/shm": _shared_memory,
        "loopback": _loopback,
        "shm": _shm,
        "results": lambda facts: _folder(facts.results, "--results DIR", is_needed=True),
        "temp": lambda facts: _folder(facts.temporary, "TMPDIR=DIR", is_needed=False),
        "files": _open_files,
        "data": _data,
    }
    return [msgspec.structs.replace(look(facts), name=name) for name, look in rows.items()]


def _ok(found: str) -> Finding:
    return Finding(name="", level="ok", found=found)


def _warning(found: str, cure: str) -> Finding:
    return Finding(name="", level="warning", found=found, cure=cure)


def _problem(found: str, cure: str) -> Finding:
    return Finding(name="", level="problem", found=found, cure=cure)


def _not_measured(why: str) -> Finding:
    return Finding(name="", level="unknown", found=f"not measured: {why}")


def _by_limit(value: float, limits: tuple[float, float], found: str, cure: str) -> Finding:
    """Judge a value that should be high: below the first limit it is a problem, below the second a warning."""
    if value < limits[0]:
        return _problem(found, cure)
    return _warning(found, cure) if value < limits[1] else _ok(found)


def _unanswered(facts: Facts, what: str) -> Finding:
    """Judge that there is no answer: what the worker was asked when it ended is the problem, and the rest unknown."""
    if facts.torch is not None and facts.torch.problem is not None:
        return _not_measured("torch cannot be imported")
    order = ("loopback", "torch", "shm", "gpus")
    first = next(name for name in order if getattr(facts, name) is None)
    if first != what or facts.ended is None:
        return _not_measured(f"the process that looks ended at {first} before")
    cures = {
        "loopback": "look at the limits of this sandbox on sockets and on processes",
        "torch": "try: python -c 'import torch'; look for a slow disk, or little memory",
        "shm": "try again; if it stays so, compare gloo alone: --comms gloo",
        "gpus": "try: nvidia-smi; a GPU or its driver hangs, so restart the machine",
    }
    return _problem(facts.ended, cures[what])


def _torch(facts: Facts) -> Finding:
    torch = facts.torch
    if torch is None:
        return _unanswered(facts, "torch")
    if torch.problem is not None:
        return _problem(f"not importable: {torch.problem}", "install torch again; pytorch.org has the command")
    assert torch.import_s is not None
    found = f"{torch.version} for {torch.built_for}, Python {facts.python}, import {torch.import_s:.1f} s"
    if torch.import_s > SLOW_IMPORT_S:
        return _warning(found, "every start waits so long: put .venv on a local disk, or try again")
    return _ok(found)


def _gpus(facts: Facts) -> Finding:
    gpus = facts.gpus
    if gpus is None:
        return _unanswered(facts, "gpus")
    models = gpus.in_words
    if gpus.problem is not None:
        cure = "install the build of torch for this GPU and driver, or use --device cpu"
        return _problem(f"{models or 'torch'}: {gpus.problem}", cure)
    if gpus.models:
        return _ok(models)
    if facts.driver is None:
        return _ok("none: ranks train on the CPU")
    found = f"{facts.driver} is there, and torch sees no GPU"
    if facts.torch is not None and facts.torch.built_for == "CPUs":
        return _problem(found, "this torch is built for CPUs: install its build for GPUs (pytorch.org)")
    return _problem(found, "look at nvidia-smi and CUDA_VISIBLE_DEVICES; the driver may be too old")


def _cores(facts: Facts) -> Finding:
    cores = facts.cores
    limit = "affinity" if cores.usable == cores.affinity else "the cgroup's quota"
    limited = f" of {cores.logical} by {limit}" if cores.usable < cores.logical else ""
    found = f"{cores.usable} usable{limited}; physical ones of the machine: {cores.physical}"
    if cores.usable == 1:
        return _warning(found, "workers take turns on one core: give this program two or more")
    return _ok(found)


def _load(facts: Facts) -> Finding:
    load = facts.load
    if load is None:
        return _not_measured("this system does not count CPU time")
    stolen = load.stolen_share or 0.0
    left = min(facts.cores.usable, load.cores - load.busy_cores)
    busy = 1 - max(0.0, left) / facts.cores.usable
    taken = "time taken by a host not known" if load.stolen_share is None else f"the host took {stolen:.1%}"
    found = f"others use {load.busy_cores:.1f} of {load.cores} cores, {taken}, load {load.load_1m:.1f}"
    if busy <= BUSY and stolen <= STOLEN:
        return _ok(found)
    cure = "end other programs, or try again later: times would scatter"
    if stolen > STOLEN:
        cure = "this virtual machine's host is busy: try again later, or use another"
    is_problem = busy > VERY_BUSY or stolen > MUCH_STOLEN
    return Finding(name="", level="problem" if is_problem else "warning", found=found, cure=cure, passes=True)


def _memory(facts: Facts) -> Finding:
    memory = facts.memory
    found = f"{in_size(memory.free_bytes)} free of {in_size(memory.total_bytes)}"
    if memory.free_bytes < 0.9 * memory.available_bytes:  # they are read one after the other, and differ a little
        available = in_size(memory.available_bytes)
        found = f"{in_size(memory.free_bytes)} left by the cgroup's limit; the machine has {available}"
    cure = "a worker takes 0.2 GiB and more: end other programs, or raise the limit"
    return _by_limit(memory.free_bytes, (LOW_MEMORY, LITTLE_MEMORY), found, cure)


def _shared_memory(facts: Facts) -> Finding:
    space = facts.shared_memory
    cure = "docker --shm-size=1g, or --readers 0: processes that read data need it"
    if space is None:
        return _warning("not there", cure)
    found = f"{in_size(space.free_bytes)} free of {in_size(space.total_bytes)}"
    return _by_limit(space.free_bytes, (0, LITTLE_SHARED), found, cure)


def _loopback(facts: Facts) -> Finding:
    if facts.loopback is None:
        return _unanswered(facts, "loopback")
    if facts.loopback.problem is not None:
        cure = "ranks need 127.0.0.1: ip link set lo up, or look at the sandbox's rules"
        return _problem(facts.loopback.problem, cure)
    return _exchange(
        facts.loopback, "there and back", "ranks would wait for gloo: compare shm too, or end other programs"
    )


def _shm(facts: Facts) -> Finding:
    shared = facts.shm
    if shared is None:
        return _unanswered(facts, "shm")
    if shared.problem is not None:
        return _warning(shared.problem, "compare gloo alone, which is slower: --comms gloo")
    if shared.is_wrong:
        return _problem("two ranks got a mean that is wrong", "use --comms gloo, and please report this")
    return _exchange(
        shared, "for a mean of two ranks", "ranks would wait: end other programs, or give them a core each"
    )


def _exchange(exchange: Exchange, what: str, cure: str) -> Finding:
    small_s, large_s = exchange.small_s, exchange.large_s
    assert small_s is not None
    assert large_s is not None
    found = f"4 KiB in {in_time(small_s)}, 25 MiB in {in_time(large_s)} {what}"
    return _warning(found, cure) if small_s > SLOW_SMALL_S or large_s > SLOW_LARGE_S else _ok(found)


def _folder(folder: Folder, other: str, *, is_needed: bool) -> Finding:
    """Judge a folder. `other` is how the user chooses another one."""
    judged = _problem if is_needed else _warning
    if folder.problem is not None:
        return judged(f"takes no files ({folder.path}): {folder.problem}", f"choose a folder that does: {other}")
    free = "free space not known" if folder.free_bytes is None else f"{in_size(folder.free_bytes)} free"
    found = f"{free}, {'locks work' if folder.has_locks else 'no locks'} in {folder.path}"
    if folder.free_bytes is not None and folder.free_bytes < LITTLE_DISK:
        cure = f"free some, or choose another folder: {other}"
        return judged(found, cure) if folder.free_bytes < LOW_DISK else _warning(found, cure)
    if not folder.has_locks:
        return _warning(found, "nothing keeps two studies apart here: let one at a time write there")
    return _ok(found)


def _open_files(facts: Facts) -> Finding:
    if facts.open_files is None:
        return _ok("no limit on open ones")
    return _by_limit(
        facts.open_files, (TOO_FEW_FILES, FEW_FILES), f"{facts.open_files:,} may be open", "ulimit -n 1024"
    )


def _data(facts: Facts) -> Finding:
    data = facts.data
    if data.wrong:
        cure = f"delete it in {data.folder}: the next study fetches it"
        return _problem(f"{data.wrong[0]} is not the file it should be", cure)
    if data.missing:
        cure = "a study fetches it (11 MB); without a network: --dataset synthetic"
        return _warning(f"MNIST is not in {data.folder}", cure)
    return _ok(f"MNIST is in {data.folder}, whole")


def in_size(num_bytes: float) -> str:
    """Return so many bytes in words."""
    return f"{num_bytes / GIB:,.1f} GiB" if num_bytes >= GIB else f"{num_bytes / MIB:.1f} MiB"


def in_time(seconds: float) -> str:
    """Return a short time in words."""
    if seconds >= 2.0:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.0995 else f"{seconds * 1e3:,.0f} ms"
