"""What a check has measured: typed values, which `judging` looks at and the JSON holds. null: not measured."""

import msgspec

SMALL_BYTES, LARGE_BYTES = 4 * 2**10, 25 * 2**20  # a small message, and a full bucket of DistributedDataParallel


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """How long two processes take to exchange data. Medians of several times."""

    small_s: float | None = None  # 4 KiB
    large_s: float | None = None  # 25 MiB
    problem: str | None = None  # why they cannot
    is_wrong: bool = False  # what arrived is not what was sent


class Loopback(Exchange, frozen=True, kw_only=True, tag="loopback"):
    """There and back over a TCP socket of 127.0.0.1."""


class Shared(Exchange, frozen=True, kw_only=True, tag="shm"):
    """The mean of two ranks by `--comm shm`."""


class Torch(msgspec.Struct, frozen=True, kw_only=True, tag="torch"):
    """The PyTorch of this Python."""

    version: str | None = None
    built_for: str | None = None  # CPUs, CUDA 13.0 or ROCm 6.4
    import_s: float | None = None
    problem: str | None = None  # why it cannot be imported


class Gpus(msgspec.Struct, frozen=True, kw_only=True, tag="gpus"):
    """The GPUs that torch sees."""

    models: list[str]
    problem: str | None = None  # why one of them does not compute

    @property
    def in_words(self) -> str:
        """As in `2 x T4`, or "" where there are none."""
        return ", ".join(f"{self.models.count(model)} x {model}" for model in sorted({*self.models}))


Answer = Loopback | Torch | Shared | Gpus  # of the worker, in this order


class Cores(msgspec.Struct, frozen=True, kw_only=True):
    """CPU cores. Threads of one core count as several, except in `physical`."""

    usable: int  # by this process
    affinity: int  # that its CPU affinity allows
    logical: int  # of the machine
    physical: int  # of the machine


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What else used the cores that this process may run on, while it slept."""

    window_s: float
    cores: int
    busy_cores: float  # 0.5: half a core was used
    stolen_share: float | None  # of the time, taken by the host of a virtual machine: 0 to 1
    load_1m: float  # the kernel's mean over a minute, of the whole machine


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes."""

    free_bytes: int  # for this process: of the machine, or less under a limit of its cgroup
    available_bytes: int  # of the machine
    total_bytes: int  # of the machine


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """A file system in memory."""

    free_bytes: int
    total_bytes: int


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that takes files."""

    path: str
    free_bytes: int | None = None
    has_locks: bool | None = None  # whether flock works there
    problem: str | None = None  # why it takes no files


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The files of MNIST."""

    folder: str
    missing: list[str]
    wrong: list[str]  # they are there, and have other content than they should


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a check has measured."""

    python: str
    driver: str | None  # of GPUs that this system offers, whether torch sees them or not; null: there is none
    cores: Cores
    load: Load | None
    memory: Memory
    shared_memory: Space | None  # /dev/shm; null: there is none
    results: Folder
    temporary: Folder
    open_files: int | None  # that a process may have open; null: no limit
    data: Data
    torch: Torch | None = None
    gpus: Gpus | None = None
    loopback: Loopback | None = None
    shm: Shared | None = None
    ended: str | None = None  # how the worker ended before it had answered all; null: it did not
