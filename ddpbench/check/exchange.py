"""The process of a check that exchanges data with other hosts. python -m ddpbench.check.exchange DESCRIPTOR

It imports torch once, and says that it is ready. Then it reads one `Meet` a line from its input, forks a process that
is a rank beside that of one other host, and writes one `Met` a line to the descriptor. The process that it forks is
ended when it gets no further within a limit: a network may lose what is large and pass on what is small, in silence.
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
from ddpbench.check.gathered import SIZES, Meet, Met, Timed, Trouble
from ddpbench.errors import DdpbenchError, one_line
from ddpbench.notes import Launch

if TYPE_CHECKING:
    from torch import Tensor

    from ddpbench.train.world import World

READY = b"ready\n"
CONNECT_S = 20.0  # for two ranks to meet
LEAST_LIMIT_S, TIMES_AS_LONG = 10.0, 3.0  # for one size: so long at least, or this times what the size before foretells
MOST_S = 60.0  # an all-reduce that would take longer is not measured
LEAST_TIMES, MOST_TIMES = 3, 30
Line = Timed | Trouble


def main() -> None:
    """Be ready, and exchange data as often as it is asked for."""
    with asked.begin() as answers:
        import_torch()
        answers.write(READY)
        for line in sys.stdin.buffer:
            met = carry_out(msgspec.json.decode(line, type=Meet))
            answers.write(msgspec.json.encode(met) + b"\n")


def import_torch() -> None:
    """Import all that a rank needs, without a pool of threads: this process forks."""
    import torch

    from ddpbench.comm import between  # noqa: F401
    from ddpbench.train import world  # noqa: F401

    torch.set_num_threads(1)


def carry_out(meet: Meet) -> Met:
    """Be the ranks of this host, each in a process of its own, and return what came of it."""
    ours, theirs = os.pipe()
    pids = [_fork(meet, local, ours, theirs) for local in range(meet.ranks)]
    os.close(theirs)
    try:
        return _read(ours, meet.size_s)
    finally:
        processes.send(pids, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(ours)


def limit_s(timed: Sequence[Timed], size_s: float) -> float:
    """Return how long the next size may take, by what those before took."""
    if not timed:
        return CONNECT_S
    return size_s + max(LEAST_LIMIT_S, TIMES_AS_LONG * foretold_s(timed))


def foretold_s(timed: Sequence[Timed]) -> float:
    """Return how long an all-reduce of the next size will take where it is as fast as the size before."""
    last = timed[-1]
    return statistics.median(last.seconds) * SIZES[min(len(timed), len(SIZES) - 1)] / last.size_bytes


def _read(descriptor: int, size_s: float) -> Met:
    """Return what the rank writes until it ends, or until it gets no further."""
    timed, content = list[Timed](), b""
    while True:
        limit = limit_s(timed, size_s)
        if not select.select([descriptor], [], [], limit)[0]:
            what = f"{name_of(SIZES[len(timed)])} did not come" if timed else "the two hosts did not meet"
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
            timed.append(said)


def _fork(meet: Meet, local: int, ours: int, theirs: int) -> int:
    """Start a rank. Returns its process. The first rank of a host says how long all took, every one what is wrong."""
    pid = os.fork()
    if pid:
        return pid
    os.close(ours)
    processes.end_with_parent(signal.SIGKILL)

    def say(line: Line) -> None:
        if local == 0 or isinstance(line, Trouble):
            os.write(theirs, msgspec.json.encode(line) + b"\n")

    try:
        _exchange(meet, local, say)
    except DdpbenchError as problem:
        cause = f" ({problem.__cause__})" if problem.__cause__ is not None else ""  # gloo's own words
        say(Trouble(why=one_line(f"{problem}{cause}")[:600]))
    except Exception as problem:
        say(Trouble(why=one_line(f"{type(problem).__name__}: {problem}")[:300]))
    finally:
        os._exit(0)  # gloo's threads may outlive its group


def _exchange(meet: Meet, local: int, say: Callable[[Line], object]) -> None:
    """Be a rank of this host: exchange data of all sizes, and say how long each took, or what is wrong."""
    import torch

    from ddpbench.train.life import Life
    from ddpbench.train.world import World

    process = Life()
    process.launch = Launch(parent=os.getppid(), seat=meet.seat)
    device, comm = torch.device("cpu"), meet.comm
    if comm == "nccl":
        device = torch.device("cuda", local)
        torch.accelerator.set_device_index(device)
    rank, size = meet.seat.first_rank + local, meet.seat.hosts * meet.ranks
    with World(rank, size, meet.ranks, device, comm, process, timeout_s=10 * MOST_S) as here:
        add, done = _adder(here), list[Timed]()
        for size_bytes in SIZES:
            if done and max(here.gather(foretold_s(done))) > MOST_S:
                say(Trouble(why=f"{name_of(size_bytes)} would take more than {MOST_S:.0f} s"))
                return
            seconds = _time(here, add, size_bytes, meet.size_s)
            if seconds is None:
                say(Trouble(why=f"the sum of {name_of(size_bytes)} is not right", is_wrong=True))
                return
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
