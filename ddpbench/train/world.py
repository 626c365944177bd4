"""Who am I among the ranks. The only user of torch.distributed and of torchrun's environment."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Literal, NoReturn

import torch
import torch.distributed as dist
from typing_extensions import Self

from ddpbench import environment, notes
from ddpbench.comm import peers, shm
from ddpbench.config import TrainConfig, rank_batch
from ddpbench.errors import TrainingError, UserError
from ddpbench.record import Comm
from ddpbench.train import process, startup


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among the others: `with world:` is the time in which ranks may talk.

    A world of one never communicates.
    """

    rank: int
    size: int
    local_size: int
    device: torch.device
    comm: Comm | None  # how gradients are combined; None in a single process
    timeout_s: float = 120.0  # that a rank waits for another
    pids: list[int] = field(default_factory=list)  # of all ranks, where they are of one machine and have met

    def __enter__(self) -> Self:
        """Form the process group."""
        if self.comm is not None:
            process.watch(self.timeout_s + process.LATER_S)  # gloo may wait ten minutes for a rank that has died
            dist.init_process_group(
                # gloo carries our own few numbers in every world; nccl is there for gradients.
                backend="cpu:gloo,cuda:nccl" if self.comm == "nccl" else "gloo",
                store=_store_of_attempt(self),
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=self.timeout_s),
            )
            if self.size == self.local_size:
                self.pids[:] = [int(row[0]) for row in self.gather([os.getpid()])]
            process.watch(0)
        startup.reached("rendezvous")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the process group when all went well.

        Not after an error: peers may then sit in a collective, and a polite goodbye would wait for them.
        Raises PeerError, naming the rank, where the error is gloo's about a peer.
        """
        if self.comm is not None and kind is None:
            dist.destroy_process_group()
        if self.pids and isinstance(error, RuntimeError) and "gloo/transport" in str(error):
            timed_out = "Timed out" in str(error)
            if timed_out and process.stood_still_within(2 * self.timeout_s):
                raise TrainingError(
                    "the ranks stood still, and gloo's clock ran out meanwhile; no rank is to blame"
                ) from error
            others = {rank: pid for rank, pid in enumerate(self.pids) if rank != self.rank}
            raise peers.to_blame(others, self.timeout_s if timed_out else None) from error

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    @property
    def came_with_torchrun(self) -> bool:
        """Whether torchrun was started for this process, and not for an earlier attempt."""
        return self.comm is not None and process.attempt() == 0

    @property
    def has_core_each(self) -> bool:
        """Whether every thread of every rank of this machine can have a core to itself."""
        return self.local_size * torch.get_num_threads() <= environment.usable_cores()

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """Return the values of every rank, in rank order, on every rank.

        A collective: every rank must call it, with as many values. Exact for integers up to 2^53.
        """
        mine = torch.tensor(values, dtype=torch.float64)
        if self.size == 1:
            return [mine.tolist()]
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(rows, mine)
        return [row.tolist() for row in rows]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.gather([0.0])


def run(main: Callable[[], object]) -> NoReturn:
    """Run the main function of a script under torchrun, and leave with its exit code."""
    code = process.exit_code(main)
    sys.stdout.flush()
    sys.stderr.flush()
    # DistributedDataParallel keeps gloo's threads alive past destroy_process_group, and one that is still letting go
    # of its last tensor when the interpreter is taken apart aborts the process (pytorch#179291; seen in 5 of 12 runs).
    # All is written, so leave without taking it apart.
    os._exit(code)


def solo(cfg: TrainConfig) -> World:
    """Be a world of one. Raises UserError for a device that is not there."""
    device = torch.device("cuda", 0) if resolve_device(cfg) == "cuda" else torch.device("cpu")
    _require_asked_twice(cfg)
    if cfg.data_parallel and device.type == "cpu" and torch.cuda.is_available():
        raise UserError("--data-parallel takes every GPU and cannot train with --device cpu beside them; leave one out")
    torch.set_num_threads(cfg.threads or environment.usable_cores())
    return World(rank=0, size=1, local_size=1, device=device, comm=None)


def join(cfg: TrainConfig) -> World:
    """Take the place that torchrun gave this process. Nobody talks yet.

    Raises UserError when torchrun did not start us, or when this configuration cannot run at this world size.
    """
    try:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
        rank, size, local_rank, local_size, _ = (int(os.environ[name]) for name in names)
        if not (0 <= local_rank <= rank < size and local_rank < local_size <= size):
            raise ValueError
    except (KeyError, ValueError):
        raise UserError("torchrun did not start this; use: torchrun --nproc_per_node=N ddp_train.py") from None
    check(cfg, size, local_size)
    on_gpu = resolve_device(cfg) == "cuda"
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if size == local_size:
        # One machine: gradients and the libraries' own greetings stay on loopback.
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(cfg.threads or max(1, environment.usable_cores() // local_size))
    comm = resolve_comm(cfg, one_machine=size == local_size)
    return World(rank, size, local_size, device, comm, timeout_s=cfg.timeout_s)


def resolve_device(cfg: TrainConfig) -> Literal["cpu", "cuda"]:
    """Return "cuda" or "cpu". Raises UserError when CUDA is asked for and not there."""
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA GPU here; use --device cpu")
    if cfg.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return cfg.device


def resolve_comm(cfg: TrainConfig, *, one_machine: bool) -> Comm:
    """Return how gradients are combined: nccl between GPUs; on CPUs shm in one machine, else gloo; unless told."""
    device, lacking = resolve_device(cfg), shm.missing()
    if cfg.comm == "nccl" and device != "cuda":
        raise UserError("--comm nccl needs a CUDA GPU per rank and this run trains on the CPU; use --comm gloo")
    if cfg.comm == "shm":
        if device != "cpu":
            raise UserError("--comm shm is for ranks that train on CPUs and this run trains on GPUs; use --comm nccl")
        if not one_machine:
            raise UserError("--comm shm is for ranks of one machine and these are of several; use --comm gloo")
        if lacking is not None:
            raise UserError(f"--comm shm needs {lacking}, which this platform lacks; use --comm gloo")
    if cfg.comm == "auto":
        if device == "cuda":
            return "nccl"
        return "shm" if one_machine and lacking is None else "gloo"
    return cfg.comm


def check(cfg: TrainConfig, size: int, local_size: int) -> None:
    """Raise UserError when this configuration cannot run at this world size on this machine."""
    rank_batch(cfg.global_batch, size)
    resolve_comm(cfg, one_machine=size == local_size)
    _require_asked_twice(cfg)
    gpus = torch.cuda.device_count()
    if resolve_device(cfg) == "cuda" and local_size > gpus:
        raise UserError(f"{local_size} ranks need {local_size} GPUs and this machine has {gpus}; use {gpus} ranks")


def _require_asked_twice(cfg: TrainConfig) -> None:
    if cfg.inject is not None and os.environ.get("DDPBENCH_INJECT") != "yes":
        raise UserError("--inject spoils a run on purpose, for tests; it needs DDPBENCH_INJECT=yes in the environment")


def _store_of_attempt(here: World) -> "dist.Store":  # type: ignore[name-defined]  # torch does not say what it exports
    """Return the store in which the ranks of this attempt meet. Its keys are of this attempt alone.

    torchrun keeps one store over all restarts of a run (2.14.1, whatever its comment says). Without a prefix, ranks
    find the addresses of the attempt before there, and connect to processes that have ended (pytorch#135712).
    Under `launch.sh` the store is memory of torchrun's agent: torch's TCPStore has no password and listens on every
    interface, whatever host it is given.
    """
    launch, limit = notes.launched(), timedelta(seconds=here.timeout_s)
    if launch is not None and launch.store is not None:
        store = dist.FileStore(launch.store, here.size)  # type: ignore[attr-defined]
        store.set_timeout(limit)
    else:
        store, _, _ = next(dist.rendezvous("env://", here.rank, here.size, timeout=limit))  # type: ignore[attr-defined]
    return dist.PrefixStore(f"attempt-{process.attempt()}", store)  # type: ignore[attr-defined]
