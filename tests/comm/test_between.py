"""Gradients of several hosts: right to the bit for any size, type and world; sockets do not hold up backward."""

import mmap
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from ddpbench.comm import between, ddp, shm
from ddpbench.errors import PeerError, UserError
from ddpbench.record import read_record
from tests import warm
from tests.comm.between_ranks import mean_in_order
from tests.comm.shm_ranks import values
from tests.faults.launching import SHORT
from tests.hosts import network
from tests.hosts.network import TORCHRUN, Network

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


Letters = defaultdict[tuple[int, int, int], "SimpleQueue[torch.Tensor]"]  # by sender, receiver and number


@dataclass
class Lines:
    """Connections between the twins of one place, which are threads here. They carry nothing until `open` is set.

    As gloo's do, they give the first that is sent to the first receiver that was there, whoever of these waits first.
    """

    hosts: int
    host: int
    letters: Letters
    open: threading.Event
    others: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.others = [host for host in range(self.hosts) if host != self.host]
        self._sent, self._expected = Counter[int](), Counter[int]()

    def send(self, tensor: torch.Tensor, host: int) -> Any:
        def wait() -> None:
            assert torch.equal(tensor, sent), "what is sent does not change before it has been sent"

        sent = tensor.clone()
        self.letters[self.host, host, self._sent[host]].put(sent)
        self._sent[host] += 1
        return SimpleNamespace(wait=wait)

    def receive(self, tensor: torch.Tensor, host: int) -> Any:
        def wait() -> None:
            assert self.open.wait(30)
            tensor.copy_(letter.get(timeout=30))

        letter = self.letters[host, self.host, self._expected[host]]
        self._expected[host] += 1
        return SimpleNamespace(wait=wait)


@dataclass
class Hosts:
    """The ranks of several hosts as threads of this process, with a memory for each host."""

    hosts: int
    local_size: int
    slot_bytes: int = 2**12
    open: threading.Event = field(default_factory=threading.Event)
    ranks: list[between.MeanOverHosts] = field(default_factory=list)

    def __post_init__(self) -> None:
        letters = [Letters(SimpleQueue) for _ in range(self.local_size)]
        for host in range(self.hosts):
            memory = mmap.mmap(-1, shm.num_bytes(self.local_size, self.slot_bytes))
            shm._init_semaphores(memory, self.local_size)
            for place in range(self.local_size):
                pids = [os.getpid()] * self.local_size
                inside = shm.Slots(memory, pids, place, spin_s=0, timeout_s=20)
                lines = Lines(self.hosts, host, letters[place], self.open)
                self.ranks.append(between.MeanOverHosts(inside, lines))  # type: ignore[arg-type]

    def step(self, buckets: Sequence[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
        """Reduce the buckets [buckets, ranks] of one step. Returns what each rank got [ranks, buckets]."""
        got: list[list[torch.Tensor]] = [[] for _ in self.ranks]

        def reduce(rank: int) -> None:
            mine = [bucket[rank].clone() for bucket in buckets]
            last = len(mine) - 1
            futures = [self.ranks[rank](each, is_last=index == last) for index, each in enumerate(mine)]
            got[rank] = [future.value() for future in futures]

        threads = [threading.Thread(target=reduce, args=(rank,)) for rank in range(len(self.ranks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return got


@given(
    hosts=st.integers(2, 4),
    local_size=st.integers(2, 3),
    steps=st.lists(
        st.lists(st.tuples(st.integers(1, 1_000), st.sampled_from(DTYPES)), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    slot_bytes=st.sampled_from((512, 2**16)),
)
@settings(deadline=None, max_examples=20)
def test_every_rank_gets_the_mean_by_rank_then_by_host_to_the_bit(
    hosts: int, local_size: int, steps: list[list[tuple[int, torch.dtype]]], slot_bytes: int
) -> None:
    """Any number of hosts, ranks and buckets, any size and type; in one chunk and in many, with parts of nothing."""
    world = Hosts(hosts, local_size, slot_bytes)
    world.open.set()
    for number, step in enumerate(steps):
        buckets = [
            [values(count, dtype, 1_000 * number + 10 * bucket + rank) for rank in range(hosts * local_size)]
            for bucket, (count, dtype) in enumerate(step)
        ]
        right = [mean_in_order(bucket, local_size) for bucket in buckets]
        for got in world.step(buckets):
            assert all(map(torch.equal, got, right))


def test_a_bucket_on_its_way_does_not_hold_up_the_next_and_the_last_finishes_all() -> None:
    world = Hosts(2, 2)
    futures: list[Any] = [None] * 4
    last: list[Any] = [None] * 4

    def begin(rank: int) -> None:
        futures[rank] = [world.ranks[rank](torch.full((3_000,), float(rank)), is_last=False) for _ in range(2)]

    def end(rank: int) -> None:
        last[rank] = world.ranks[rank](torch.full((3,), float(rank)), is_last=True)

    for act in (begin, end):
        threads = [threading.Thread(target=act, args=(rank,)) for rank in range(4)]
        for thread in threads:
            thread.start()
        if act is end:
            assert not any(future.done() for each in futures for future in each), "nothing has arrived"
            world.open.set()
        for thread in threads:
            thread.join(20)

    for future in (*(future for each in futures for future in each), *last):
        assert future.value().unique().tolist() == [1.5]


def test_the_seconds_of_waiting_for_other_hosts_are_counted_by_step_and_apart() -> None:
    world = Hosts(2, 2)
    timer = threading.Timer(0.3, world.open.set)
    timer.start()
    world.step([[torch.ones(3)] * 4])
    world.step([[torch.ones(3)] * 4])

    for rank in world.ranks:
        slow, quick = rank.take()
        assert slow > 2 * quick
        assert rank.take() == []


def test_a_rank_that_does_not_come_has_its_number_among_the_ranks_of_all_hosts() -> None:
    memory = mmap.mmap(-1, shm.num_bytes(2, 4096))
    shm._init_semaphores(memory, 2)
    first = shm.Slots(memory, [os.getpid()] * 2, 0, spin_s=0, timeout_s=0.3, first=4)

    with pytest.raises(PeerError, match=r"rank 5 did not bring its gradients within 0.3 s"):
        first.meet()


@pytest.mark.parametrize(
    ("device", "hosts", "local_size", "said"),
    [
        ("cpu", 1, 2, "is for ranks of several machines and these are of one; use --comm shm"),
        ("cpu", 2, 1, "is for several ranks on each host and there is one, .*; use --comm gloo"),
        ("cuda", 2, 2, "is for ranks that train on CPUs and this run trains on GPUs; use --comm nccl"),
    ],
)
def test_it_is_refused_where_it_is_of_no_use(device: str, hosts: int, local_size: int, said: str) -> None:
    with pytest.raises(UserError, match=rf"^--comm shm\+gloo {said}$"):
        ddp.resolve("shm+gloo", device, hosts=hosts, local_size=local_size)


def test_it_is_chosen_for_several_ranks_on_each_of_several_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ddp.resolve("auto", "cpu", hosts=2, local_size=2) == "shm+gloo"
    assert ddp.resolve("auto", "cuda", hosts=2, local_size=2) == "nccl"
    assert ddp.resolve("shm+gloo", "cpu", hosts=3, local_size=4) == "shm+gloo"
    monkeypatch.setattr(shm, "missing", lambda: "Linux")
    assert ddp.resolve("auto", "cpu", hosts=2, local_size=2) == "gloo"
    with pytest.raises(UserError, match=r"^--comm shm\+gloo needs Linux, which this platform lacks; use --comm gloo$"):
        ddp.resolve("shm+gloo", "cpu", hosts=2, local_size=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hosts", "local_size", "steps"), [(2, 3, 30), (3, 2, 20), pytest.param(4, 2, 500, marks=pytest.mark.long)]
)
def test_ranks_of_several_hosts_agree_over_sockets_to_the_bit(
    hosts: int, local_size: int, steps: int, tmp_path: Path
) -> None:
    """Two ranks of each host, as processes of this machine; several buckets a step, at random moments."""
    words = ["-m", "tests.comm.between_ranks", "1", str(steps), str(local_size), "2", "--timeout-s", "60"]

    for number, rank in enumerate(warm.start_ranks(local_size * hosts, *words, folder=tmp_path)):
        ended = rank.wait(150)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == f"{steps if number % local_size < 2 else 0} right and timed\n"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_hosts_of_two_ranks_learn_what_one_host_of_four_learns(tmp_path: Path) -> None:
    if network.missing():
        pytest.skip(network.missing())
    train = ("ddp_train.py", *SHORT, "--precision", "fp64", "--threads", "1", "--timeout-s", "20", "--results")
    with Network(2) as net:
        apart = [
            host.start(
                *(*TORCHRUN, "--nnodes=2", "--nproc-per-node=2", f"--node-rank={host.index}"),
                *("--master-addr=10.77.0.1", "--master-port=29511", *train, tmp_path / f"{host.index}"),
            )
            for host in net.hosts
        ]
        for process in apart:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    ranks = warm.start_ranks(4, *train, tmp_path / "one", "--comm", "gloo", folder=tmp_path)
    assert [rank.wait().returncode for rank in ranks] == [0] * 4

    weights, alone = (load_file(next((tmp_path / name).glob("*.safetensors"))) for name in ("0", "one"))
    record, other = (read_record(next((tmp_path / name).glob("*.json"))) for name in ("0", "one"))
    assert (record.world_size, record.comm) == (4, "shm+gloo")
    assert max(float((weights[name] - alone[name]).abs().max()) for name in alone) < 1e-10
    for rank in record.ranks:
        assert rank.between_s is not None
        assert rank.reduce_s is not None
        assert all(0 < between < reduce for between, reduce in zip(rank.between_s, rank.reduce_s, strict=True))
    assert [rank.between_s for rank in other.ranks] == [None] * 4
