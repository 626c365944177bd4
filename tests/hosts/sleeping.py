"""Ranks that sleep where others compute, on hosts of this machine. Their exchanges are real.

python -m tests.hosts.sleeping TASK     one rank, as `together` starts it

Sleeping takes no core, so that many hosts can be tried on few cores. See benchmarks/foretold.py.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import psutil
import torch
import torch.distributed as dist

from ddpbench.predict import buckets, network
from ddpbench.predict.buckets import BACKWARD
from tests.hosts.network import Host, Network, address_of

REPETITIONS, ROUNDS = 15, 3
PAUSE_S = 0.02  # before an exchange, as before one of a training step: the link's tokens are then as full
PORT = 29_517
LEAST_BURST_BYTES, LARGEST_PACKET_BYTES = 16_384, 65_536


class Case(msgspec.Struct, frozen=True):
    """A training that is to be timed."""

    gradient_bytes: int
    computing_s: list[float]  # of steps that were measured: what is drawn from
    steps: int  # of a round


class Task(msgspec.Struct, frozen=True):
    """What the ranks of some hosts are to do together."""

    hosts: int
    rank: int
    sizes: list[int]  # of exchanges that are timed
    cases: list[Case]


class Found(msgspec.Struct, frozen=True):
    """What rank 0 measured."""

    exchanges_s: list[list[float]]  # by size
    steps_s: list[list[float]]  # by case: a round's mean
    busy: list[list[float]]  # of the same rounds: the share of all cores of this machine that anybody used


@dataclass
class Shaped(Network):
    """Hosts whose links have few tokens in hand: with many, an exchange begins at the speed of memory."""

    def shape(self, host: Host, port: str, rate: str) -> None:
        """Limit the rate of a host's link in both directions. A burst lasts a millisecond."""
        burst_bytes = max(LEAST_BURST_BYTES, round(network.bandwidth(rate) / 8 / 1000))
        limit = ("root", "tbf", "rate", rate, "burst", f"{burst_bytes}b", "latency", "50ms")
        host.run("tc", "qdisc", "replace", "dev", "eth0", *limit)
        self._on_switch("tc", "qdisc", "replace", "dev", port, *limit)
        # Larger packets than a burst would be cut into many small ones, which take the cores that ranks need. A packet
        # is counted with a header for each small one that is in it: a twentieth more.
        largest = ("gso_max_size", str(min(LARGEST_PACKET_BYTES, burst_bytes * 9 // 10)))
        host.run("ip", "link", "set", "dev", "eth0", *largest)
        self._on_switch("ip", "link", "set", "dev", port, *largest)


def together(hosts: Sequence[Host], sizes: list[int], cases: list[Case]) -> Found:
    """Let a rank on each host do the same. Returns what rank 0 measured."""
    environment = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "eth0"}
    ranks = []
    for rank, host in enumerate(hosts):
        task = msgspec.json.encode(Task(len(hosts), rank, sizes, cases)).decode()
        ranks.append(host.start(sys.executable, "-m", "tests.hosts.sleeping", task, env=environment))
    said = [rank.communicate(timeout=600) for rank in ranks]
    for process, (_, errors) in zip(ranks, said, strict=True):
        if process.returncode != 0:
            raise RuntimeError(errors)
    return msgspec.json.decode(said[0][0].splitlines()[-1], type=Found)


def be_a_rank(task: Task) -> None:
    """Carry out the task as one of its ranks."""
    torch.set_num_threads(1)
    address = f"tcp://{address_of(0)}:{PORT}"
    dist.init_process_group("gloo", init_method=address, rank=task.rank, world_size=task.hosts)
    random.seed(task.rank)
    exchanges_s: list[list[float]] = [[] for _ in task.sizes]
    tensors = [torch.ones(size // 4) for size in task.sizes]
    for repetition in range(-2, REPETITIONS):  # sizes take turns, so that a busy moment hits all alike
        for tensor, took_s in zip(tensors, exchanges_s, strict=True):
            time.sleep(PAUSE_S)
            dist.barrier()
            begin = time.perf_counter()
            dist.all_reduce(tensor)
            if repetition >= 0:
                took_s.append(time.perf_counter() - begin)
    steps_s, busy = [[list[float]() for _ in task.cases] for _ in range(2)]
    for _ in range(ROUNDS):
        for case, rounds_s, rounds_busy in zip(task.cases, steps_s, busy, strict=True):
            parts = [torch.ones(int(size) // 4) for size in buckets.sizes(case.gradient_bytes)]
            step(parts, case.computing_s)
            dist.barrier()
            psutil.cpu_percent()  # the next call answers for the time since this one
            begin = time.perf_counter()
            for _ in range(case.steps):
                step(parts, case.computing_s)
            rounds_s.append((time.perf_counter() - begin) / case.steps)
            rounds_busy.append(psutil.cpu_percent() / 100)
    if task.rank == 0:
        print(json.dumps({"exchanges_s": exchanges_s, "steps_s": steps_s, "busy": busy}), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def step(parts: Sequence[torch.Tensor], computing_s: Sequence[float]) -> None:
    """Take a training step: sleep while forward and backward would compute, and send each bucket once complete."""
    took_s = random.choice(computing_s)
    begin, ready, total = time.perf_counter(), 0, sum(part.numel() for part in parts)
    works = []
    for part in parts:
        ready += part.numel()
        until_s = begin + took_s * (1 - BACKWARD + BACKWARD * ready / total)
        time.sleep(max(0.0, until_s - time.perf_counter()))
        works.append(dist.all_reduce(part, async_op=True))
    for work in works:
        work.wait()


if __name__ == "__main__":
    be_a_rank(msgspec.json.decode(sys.argv[1], type=Task))
