"""The process of a check that exchanges data with other hosts. python -m ddpbench.check.exchange DESCRIPTOR

It imports torch once, and says that it is ready. Then it reads one `Task` a line from its input, forks a process that
is a rank beside that of one other host, and writes one `Met` a line to the descriptor. The process that it forks is
ended when it gets no further within a limit: a network may lose what is large and pass on what is small, in silence.

The rank says a word when it is connected, and one for each size. Its first exchanges do not count: NCCL makes its
connections in them.
"""

import os
import select
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ddpbench import processes
from ddpbench.check import asked
from ddpbench.check.gathered import SIZES, Comm, Meet, Met, Timed, Trouble
from ddpbench.errors import DdpbenchError, one_line
from ddpbench.notes import Launch, Seat

if TYPE_CHECKING:
    from torch import Tensor

    from ddpbench.train.world import World

READY = b"ready\n"
# For two ranks to meet. NCCL first loads its libraries, opens the GPU and looks for networks.
CONNECT_S: dict[Comm, float] = {"gloo": 20.0, "shm+gloo": 20.0, "nccl": 60.0}
LEAST_LIMIT_S, TIMES_AS_LONG = 10.0, 3.0  # for one size: so long at least, or this times what the size before foretells
MOST_S = 60.0  # an all-reduce that would take longer is not measured
LEAST_TIMES, MOST_TIMES = 3, 30


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What this process is handed. It comes from its own host, through a pipe: the seat has the secret."""

    meet: Meet
    seat: Seat


class Connected(msgspec.Struct, frozen=True, tag="connected"):
    """The two hosts have exchanged something. What is timed comes next."""


Line = Connected | Timed | Trouble


def main() -> None:
    """Be ready, and exchange data as often as it is asked for."""
    with asked.begin() as answers:
        import_torch()
        answers.write(READY)
        for line in sys.stdin.buffer:
            met = carry_out(msgspec.json.decode(line, type=Task))
            answers.write(msgspec.json.encode(met) + b"\n")


def import_torch() -> None:
    """Import all that a rank needs, without a pool of threads: this process forks."""
    import torch

    from ddpbench.comm import between  # noqa: F401
    from ddpbench.train import world  # noqa: F401

    torch.set_num_threads(1)


def carry_out(task: Task) -> Met:
    """Be the ranks of this host, each in a process of its own, and return what came of it."""
    ours, theirs = os.pipe()
    pids = list[int]()
    try:
        try:
            for local in range(task.meet.ranks):
                pids.append(_fork(task, local, ours, theirs))
        finally:
            os.close(theirs)
        return read(ours, task.meet)
    except OSError as problem:
        why = f"its ranks cannot be started: {problem.strerror or problem}"
        return Met(timed=[], trouble=Trouble(why=why, is_own=True))
    finally:
        processes.send(pids, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(ours)


def limit_s(timed: Sequence[Timed], size_s: float) -> float:
    """Return how long the next size may take, by what those before took."""
    return size_s + max(LEAST_LIMIT_S, TIMES_AS_LONG * foretold_s(timed) if timed else 0.0)


def foretold_s(timed: Sequence[Timed]) -> float:
    """Return how long an all-reduce of the next size will take where it is as fast as the size before."""
    last = timed[-1]
    return statistics.median(last.seconds) * SIZES[min(len(timed), len(SIZES) - 1)] / last.size_bytes


def read(descriptor: int, meet: Meet) -> Met:
    """Return what the rank writes until it ends, or until it gets no further."""
    timed, content, is_connected = list[Timed](), b"", False
    while True:
        limit = limit_s(timed, meet.size_s) if is_connected else CONNECT_S[meet.comm]
        if not select.select([descriptor], [], [], limit)[0]:
            what = f"{name_of(SIZES[len(timed)])} did not come" if len(timed) < len(SIZES) else "the rank did not end"
            if not is_connected:
                what = "the two hosts did not meet"
            return Met(timed=timed, trouble=Trouble(why=f"{what} within {limit:.0f} s", is_late=True))
        some = os.read(descriptor, 2**16)
        if not some:
            is_whole = len(timed) == len(SIZES)
            return Met(timed=timed, trouble=None if is_whole else Trouble(why="the rank ended without a word"))
        *lines, content = (content + some).split(b"\n")
        for line in lines:
            said = msgspec.json.decode(line, type=Line)
            if isinstance(said, Trouble):
                return Met(timed=timed, trouble=said)
            if isinstance(said, Timed):
                timed.append(said)
            is_connected = True


def _fork(task: Task, local: int, ours: int, theirs: int) -> int:
    """Start a rank. Returns its process. The first rank of a host says how long all took, every one what is wrong."""
    pid = os.fork()
    if pid:
        return pid

    def say(line: Line) -> None:
        if local == 0 or isinstance(line, Trouble):
            os.write(theirs, msgspec.json.encode(line) + b"\n")

    try:
        os.close(ours)
        processes.end_with_parent(signal.SIGKILL)
        _exchange(task, local, say)
    except DdpbenchError as problem:
        cause = f" ({problem.__cause__})" if problem.__cause__ is not None else ""  # gloo's own words
        say(Trouble(why=one_line(f"{problem}{cause}")[:600]))
    except Exception as problem:
        say(Trouble(why=one_line(f"{type(problem).__name__}: {problem}")[:300]))
    finally:
        os._exit(0)  # gloo's threads may outlive its group


def _exchange(task: Task, local: int, say: Callable[[Line], object]) -> None:
    """Be a rank of this host: meet the other one, and exchange data."""
    import torch

    from ddpbench.train.life import Life
    from ddpbench.train.world import World

    process = Life()
    process.launch = Launch(parent=os.getppid(), seat=task.seat)
    device, comm, ranks = torch.device("cpu"), task.meet.comm, task.meet.ranks
    if comm == "nccl":
        device = torch.device("cuda", local)
        torch.accelerator.set_device_index(device)
    rank, size = task.seat.first_rank + local, task.seat.hosts * ranks
    with World(rank, size, ranks, device, comm, process, timeout_s=10 * MOST_S) as here:
        exchange_all(here, _adder(here), task.meet.size_s, say)


def exchange_all(
    here: "World", add: "Callable[[Tensor], object]", size_s: float, say: Callable[[Line], object]
) -> None:
    """Exchange data of all sizes, and say how long each took, or what is wrong."""
    done = list[Timed]()
    for place, size_bytes in enumerate((SIZES[0], *SIZES)):
        if done and max(here.gather(foretold_s(done))) > MOST_S:
            say(Trouble(why=f"{name_of(size_bytes)} would take more than {MOST_S:.0f} s"))
            return
        seconds = _time(here, add, size_bytes, size_s if place else 0.0)
        if seconds is None:
            say(Trouble(why=f"the sum of {name_of(size_bytes)} is not right", is_wrong=True))
            return
        if place == 0:  # these have made connections, and foretell nothing
            say(Connected())
            continue
        done.append(Timed(size_bytes=size_bytes, seconds=seconds))
        say(done[-1])


def _time(here: "World", add: "Callable[[Tensor], object]", size_bytes: int, size_s: float) -> list[float] | None:
    """Return how long all-reduces of one size take, each by the slowest rank. None: a sum is not right."""
    import torch

    total = here.size * (here.size + 1) / 2
    tensor, right = torch.zeros(size_bytes // 4, device=here.device), list[bool]()
    ends = tensor[:: tensor.numel() - 1]  # to fill all of it takes time

    def once() -> float:
        ends.fill_(1.0 + here.rank)
        here.barrier()
        begin_s = time.perf_counter()
        add(tensor)
        right.append(bool((ends == total).all()))  # on a GPU this waits for it
        return time.perf_counter() - begin_s

    first_s = max(here.gather(once()))
    if first_s > max(1.0, size_s):  # one that takes seconds is not repeated: what warms up is no part of it then
        seconds = [first_s]
    else:
        seconds = [once() for _ in range(max(LEAST_TIMES, min(MOST_TIMES, int(size_s / first_s))))]
    if not all(here.gather(all(right))):
        return None
    return [max(each) for each in zip(*here.gather(seconds), strict=True)]


def _adder(here: "World") -> "Callable[[Tensor], object]":
    """Return what replaces a tensor by its sum over all ranks."""
    if here.comm != "shm+gloo":
        return here.reduce
    from ddpbench.comm import between

    mean, _ = between.hook(here, spins=False)

    def add(tensor: "Tensor") -> None:
        mean(tensor, is_last=True)
        tensor[:: tensor.numel() - 1] *= here.size  # it is the mean

    return add


def name_of(size_bytes: int) -> str:
    """Return a size in words."""
    return f"{size_bytes // 2**20} MiB" if size_bytes >= 2**20 else f"{size_bytes // 2**10} KiB"


if __name__ == "__main__":
    main()
    os._exit(0)  # to take torch apart would take time
