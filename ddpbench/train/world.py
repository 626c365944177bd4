"""This process's place among the ranks."""

import os
import shutil
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import torch
import torch.distributed as dist
from torch import nn
from typing_extensions import Self

from ddpbench import environment
from ddpbench.arm import COMPRESSED
from ddpbench.comm import ddp, links, peers
from ddpbench.config import TrainConfig, part_batch
from ddpbench.errors import PeerError, TrainingError, UserError
from ddpbench.record import Comm
from ddpbench.tasks.step import OverGpus, Step
from ddpbench.train import machine, store
from ddpbench.train.life import WATCHDOG_GRACE_S, Life

T = TypeVar("T")
ELSEWHERE = -1  # stands for a rank of another host: which one, its own host knows
COMPILERS = (os.environ.get("CXX", "g++"), "g++", "clang++")  # torch.compile needs one of them on the CPU


@dataclass(slots=True)
class World:
    """This process's place among the ranks. Ranks may communicate inside `with world:`; a single rank never does."""

    rank: int
    size: int
    local_size: int  # ranks on this machine
    device: torch.device
    comm: Comm | None  # how gradients are combined; None in a single process
    process: Life = field(default_factory=Life)
    timeout_s: float = 120.0  # that a rank waits for another
    pids: list[int] = field(default_factory=list)  # of all ranks, once they have met, where all are on one machine
    sync_batchnorm: bool = False  # batch norm looks at the batch of all ranks, and not at each rank's part of it
    store: Any = None  # in which the ranks have met: torch keeps a store alive, and not its methods in Python
    group: Any = None  # torch's process group of these ranks; None: its default group

    def __enter__(self) -> Self:
        """Form the process group."""
        if self.comm is not None:
            # gloo may wait ten minutes for a rank that has ended.
            self.process.watchdog.alive(self.timeout_s + WATCHDOG_GRACE_S)
            try:
                self.store = store.of_attempt(self.process.launch, self.rank, self.size, self.timeout_s)
                dist.init_process_group(
                    # gloo carries our own messages in every world; nccl is there for gradients.
                    backend="cpu:gloo,cuda:nccl" if self._uses_nccl else "gloo",
                    store=dist.PrefixStore(f"attempt-{self.process.attempt}", self.store),  # type: ignore[attr-defined]
                    rank=self.rank,
                    world_size=self.size,
                    timeout=timedelta(seconds=self.timeout_s),
                )
            except RuntimeError as problem:
                self._explain_hosts(problem)
                raise
            if self.size == self.local_size:
                self.pids = self.gather(os.getpid())
            else:
                self._require_one_way()
            self.process.watchdog.alive(0)
        self.process.startup.reached("rendezvous")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the process group, unless there is an error: other ranks may wait in a collective and not answer.

        Raises PeerError, naming the rank, where the error is gloo's about another rank.
        """
        if self.comm is not None and kind is None:
            dist.destroy_process_group()
        if not isinstance(error, RuntimeError) or "gloo/transport" not in str(error):
            return
        self._explain_hosts(error)
        if self.pids:
            timed_out = "Timed out" in str(error)
            if timed_out and self.process.watchdog.stood_still_within(2 * self.timeout_s):
                why = "all ranks were stopped, and gloo timed out meanwhile; no rank is to blame"
                raise TrainingError(why) from error
            others = {rank: pid for rank, pid in enumerate(self.pids) if rank != self.rank}
            raise peers.blame(others, self.timeout_s if timed_out else None) from error

    def _require_one_way(self) -> None:
        """Raise UserError, on all ranks, where hosts have not chosen alike how they train. A collective."""
        ways = self.gather(f"{self.device.type}, by {self.comm}")
        odd = next((rank for rank, way in enumerate(ways) if way != ways[0]), None)
        if odd is not None:
            host = odd // self.local_size
            raise UserError(
                f"host {host} would train on {ways[odd]}, and host 0 on {ways[0]}; give --device and --comm, or look "
                "what one of them lacks"
            )

    def _explain_hosts(self, problem: RuntimeError) -> None:
        """Raise PeerError in one line, where the ranks are on several hosts; else do nothing."""
        is_known = "gloo" in str(problem).lower() or "timed out" in str(problem).lower()
        if self.size > self.local_size and is_known:
            why, is_late = links.why_apart(problem, os.environ["GLOO_SOCKET_IFNAME"])
            raise PeerError(why, ELSEWHERE, has_ended=not is_late) from problem

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes files and prints."""
        return self.rank == 0

    @property
    def _uses_nccl(self) -> bool:
        """Whether gradients go between GPUs by NCCL: as they are, or in fewer bits."""
        return self.comm == "nccl" or (self.device.type == "cuda" and self.comm in COMPRESSED)

    @property
    def hosts(self) -> int:
        """On how many hosts the ranks are, equally many on each."""
        return self.size // self.local_size

    def members(self, hosts: int, ranks: int) -> list[int]:
        """Return the first `ranks` ranks of each of the first `hosts` hosts. Hosts have consecutive ranks."""
        return [host * self.local_size + local for host in range(hosts) for local in range(ranks)]

    def part(self, hosts: int, ranks: int, comm: Comm | None) -> "World | None":
        """Return the world of these `members`, numbered anew, which combine gradients by `comm`; None on other ranks.

        A collective of all ranks of this world, unless `comm` is None: then each of these ranks is a world of its own.
        """
        members, group = self.members(hosts, ranks), self.group
        is_other_backend = comm == "gloo" and self._uses_nccl
        if comm is not None and (len(members) < self.size or is_other_backend):
            limit = timedelta(seconds=self.timeout_s)
            group = dist.new_group(members, timeout=limit, backend="gloo" if is_other_backend else None)
        if self.rank not in members:
            return None
        if comm is None:
            members, ranks = [self.rank], 1
        return replace(
            self,
            rank=members.index(self.rank),
            size=len(members),
            local_size=ranks,
            comm=comm,
            pids=[self.pids[each] for each in members] if self.pids else [],
            group=group,
        )

    def gather(self, value: T) -> list[T]:
        """Return the value of every rank, in rank order, on every rank. A collective.

        Ranks exchange typed JSON: a value is a msgspec.Struct, or made of str, int, finite float, bool, list and None.
        """
        if self.size == 1:
            return [msgspec.json.decode(msgspec.json.encode(value), type=type(value))]
        mine = torch.frombuffer(bytearray(msgspec.json.encode(value)), dtype=torch.uint8)
        lengths = [int(length) for length in self._all_gather(torch.tensor([len(mine)]))]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(mine)] = mine
        rows = zip(self._all_gather(padded), lengths, strict=True)
        return [msgspec.json.decode(row[:length].numpy().tobytes(), type=type(value)) for row, length in rows]

    def add_up(self, number: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all ranks. A collective."""
        whole = number.clone()
        self.reduce(whole)
        return whole

    def reduce(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over all ranks. A collective."""
        dist.all_reduce(tensor, group=self.group)

    def begin_largest(self, numbers: torch.Tensor) -> Any:
        """Begin to replace numbers by the largest of all ranks. Returns what to `wait()` for. A collective."""
        return dist.all_reduce(numbers, op=dist.ReduceOp.MAX, group=self.group, async_op=True)

    def send(self, content: bytes) -> bytes:
        """Return rank 0's bytes on every rank. A collective."""
        if self.size == 1:
            return content
        length = self.gather(len(content))[0]
        whole = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0)
        whole = whole if self.is_main else torch.empty(length, dtype=torch.uint8)
        if length:
            dist.broadcast(whole, 0, group=self.group)
        return whole.numpy().tobytes()

    def send_buffers(self, net: nn.Module) -> None:
        """Give every rank the buffers of rank 0, such as the running statistics of batch norm. A collective."""
        if self.size > 1:
            for buffer in net.buffers():
                dist.broadcast(buffer, 0, group=self.group)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            self._all_gather(torch.zeros(1))

    def _all_gather(self, mine: torch.Tensor) -> list[torch.Tensor]:
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(rows, mine, group=self.group)
        return rows


def solo(cfg: TrainConfig, process: Life | None = None) -> World:
    """Return a world of one. Raises UserError for a device that is not there, and for what one process cannot do."""
    if cfg.sync_batchnorm and cfg.data_parallel:
        raise UserError(
            "--data-parallel cannot synchronise batch norm; leave out --sync-batchnorm, or use ddp_train.py"
        )
    device = torch.device("cuda", 0) if machine.resolve(cfg) == "cuda" else torch.device("cpu")
    part_batch(cfg, 1)
    torch.set_num_threads(cfg.threads or environment.usable_cores())
    return World(rank=0, size=1, local_size=1, device=device, comm=None, process=process or Life())


def alone(step: Step, device: torch.device, kind: str) -> nn.Module:
    """Return a step as one process trains it: as it is, with a compiled network, or in nn.DataParallel.

    Raises UserError for nn.DataParallel, which takes every GPU, on the CPU beside them, and where torch.compile would
    need a C++ compiler that is not there.
    """
    if kind == "data_parallel":
        if device.type == "cpu" and machine.gpus():
            raise UserError(
                "--data-parallel takes every GPU and cannot train with --device cpu beside them; leave one out"
            )
        return OverGpus(step)
    if kind == "compiled":
        if device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
            raise UserError("--compile needs a C++ compiler, and finds neither g++ nor clang++; install one of them")
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes beside those that are timed
        if os.environ.get("TORCHINDUCTOR_CACHE_DIR") == str(Path.cwd()):  # of a supervisor: nothing is to be compiled
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
        step.net.compile()
    return step


def join(cfg: TrainConfig, process: Life | None = None) -> World:
    """Return the place that torchrun gave to this process. No rank communicates yet.

    Raises UserError when torchrun did not start us, or when this configuration cannot run at this world size.
    """
    try:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
        rank, size, local_rank, local_size, _ = (int(os.environ[name]) for name in names)
        if not (0 <= local_rank <= rank < size and local_rank < local_size <= size):
            raise ValueError
    except (KeyError, ValueError):
        raise UserError("torchrun did not start this; use: torchrun --nproc_per_node=N ddp_train.py") from None
    process = process or Life()
    seat = process.launch.seat if process.launch else None
    if seat is not None:  # torchrun knows the ranks of this host alone
        rank, size = seat.first_rank + rank, seat.hosts * local_size
    check(cfg, size, local_size)
    on_gpu = machine.resolve(cfg) == "cuda"
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.accelerator.set_device_index(device)
    host_0 = seat.address if seat else os.environ.get("MASTER_ADDR", "")
    _choose_interface(host_0, one_machine=size == local_size)
    torch.set_num_threads(cfg.threads or max(1, environment.usable_cores() // local_size))
    comm = ddp.resolve(cfg.comm, device.type, hosts=size // local_size, local_size=local_size)
    return World(
        *(rank, size, local_size, device, comm, process),
        timeout_s=cfg.timeout_s,
        sync_batchnorm=cfg.sync_batchnorm,
    )


def _choose_interface(host_0: str, *, one_machine: bool) -> None:
    """Tell gloo and NCCL over which interface ranks meet. Raises UserError where no other host can be reached over it.

    On one machine gradients and the libraries' own greetings stay on loopback. Left to itself gloo takes the address
    that this machine's name has, which often is loopback too, and then ranks of several hosts never meet.
    """
    if one_machine:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
        return
    given = os.environ.get("GLOO_SOCKET_IFNAME")
    name = links.require(given) if given else links.interface_to(host_0)
    os.environ["GLOO_SOCKET_IFNAME"] = name
    os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")  # without "=" it is the beginning of several names


def check(cfg: TrainConfig, size: int, local_size: int) -> None:
    """Raise UserError when this configuration cannot run at this world size on this machine."""
    part_batch(cfg, size)
    device = machine.resolve(cfg)
    ddp.resolve(cfg.comm, device, hosts=size // local_size, local_size=local_size)
    gpus = machine.gpus()
    if device == "cuda" and local_size > gpus:
        raise UserError(f"{local_size} ranks need {local_size} GPUs and this machine has {gpus}; use {gpus} ranks")
