"""Gradients through shared memory: right for any size, type, world and moment; a lost peer is named; nothing stays."""

import itertools
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpbench.comm import ddp, sharing, shm
from ddpbench.errors import PeerError, UserError
from ddpbench.train.world import World
from tests import warm
from tests.comm.shm_ranks import mean_in_rank_order, values
from tests.faults.launching import SHARED, abandoned_segments, wait_for
from tests.warm import Warm

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def ranks_of_threads(size: int, timeout_s: float = 20) -> list[shm.SharedMean]:
    """Make the ranks of a world as threads of this process: semaphores and memory do not mind."""
    memory = mmap.mmap(-1, shm.num_bytes(size, shm.SLOT_BYTES))
    shm._init_semaphores(memory, size)
    pids = [os.getpid()] * size
    return [shm.SharedMean(memory, pids, rank, spin_s=0, timeout_s=timeout_s) for rank in range(size)]


def all_at_once(ranks: list[shm.SharedMean], brought: list[torch.Tensor]) -> list[torch.Tensor]:
    """Let every rank call with a copy of what it brings. Returns what each got."""
    got = [tensor.clone() for tensor in brought]
    threads = [threading.Thread(target=rank, args=(tensor,)) for rank, tensor in zip(ranks, got, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return got


@given(
    size=st.integers(1, 5),
    calls=st.lists(st.tuples(st.integers(1, 5_000), st.sampled_from(DTYPES)), min_size=1, max_size=4),
    slot_bytes=st.sampled_from((64, 4096, 2**20)),
    by_parts_bytes=st.sampled_from((0, 2**16)),
)
@settings(deadline=None, max_examples=60)
def test_every_rank_gets_the_mean_in_rank_order_to_the_bit(
    size: int, calls: list[tuple[int, torch.dtype]], slot_bytes: int, by_parts_bytes: int
) -> None:
    """Any world, size and type; in one chunk and in many; added by each rank, and by parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shm, "SLOT_BYTES", slot_bytes)
        patch.setattr(shm, "BY_PARTS_BYTES", by_parts_bytes)
        ranks = ranks_of_threads(size)
        for call, (count, dtype) in enumerate(calls):
            brought = [values(count, dtype, 100 * call + rank) for rank in range(size)]
            for got in all_at_once(ranks, brought):
                assert torch.equal(got, mean_in_rank_order(brought))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_of_equal_numbers_is_that_number(dtype: torch.dtype) -> None:
    """Three thirds in bfloat16 are 1.002 when the third itself is rounded."""
    for got in all_at_once(ranks_of_threads(3), [torch.ones(100, dtype=dtype)] * 3):
        assert torch.equal(got, torch.ones(100, dtype=dtype))


def test_a_rank_that_does_not_come_is_named_when_time_is_up() -> None:
    first, _ = ranks_of_threads(2, timeout_s=0.3)

    with pytest.raises(PeerError, match=r"rank 1 did not bring its gradients within 0.3 s: its process still runs"):
        first(torch.ones(3))


def test_time_in_which_everything_stood_still_makes_no_rank_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on for an hour between two looks, as it does in a frozen container."""
    first, _ = ranks_of_threads(2, timeout_s=5)
    hours, looks = itertools.count(step=3600.0), iter([False, False, True])
    monkeypatch.setattr(shm.time, "monotonic", lambda: next(hours))
    monkeypatch.setattr(shm, "_block", lambda *_: next(looks))

    first._wait(first._semaphore(1, 0), 1)

    assert not [*looks], "it waited until the other came"


def test_the_memory_is_for_its_owner_alone_and_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made, maps = [], Path("/proc/self/maps")
    before = maps.read_text().count(" /dev/shm/")
    create = os.memfd_create

    def creating(name: str, flags: int) -> int:
        made.append(create(name, flags))
        made.append(os.dup(made[0]))
        return made[0]

    monkeypatch.setattr(os, "memfd_create", creating)
    mean, _ = shm.hook(World(rank=0, size=1, local_size=1, device=torch.device("cpu"), comm=None), spins=False)
    tensor = torch.ones(3)
    mean(tensor)

    assert tensor.tolist() == [1, 1, 1]
    assert os.fstat(made[1]).st_mode & 0o777 == 0o600
    assert maps.read_text().count(" /dev/shm/") == before
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
    os.close(made[1])


@pytest.mark.parametrize("inode", [2**53 - 1, 2**53 + 1, 2**64 - 1])
def test_the_memory_is_found_again_whatever_number_its_file_has(inode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems number their files with 64 bits."""
    of = os.fstat
    monkeypatch.setattr(os, "fstat", lambda file: os.stat_result((*of(file)[:1], inode, *of(file)[2:])))
    memory, _ = sharing.share(World(rank=0, size=1, local_size=1, device=torch.device("cpu"), comm=None), 100)

    assert memory[:] == bytes(100)


def test_memory_that_cannot_be_had_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(UserError, match=r"--comm shm: no 2 MiB of memory to share \(No space left.*use --comm gloo"):
        shm.hook(World(rank=0, size=1, local_size=1, device=torch.device("cpu"), comm=None), spins=False)


def test_shm_is_chosen_on_one_machine_and_gloo_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ddp.resolve("auto", "cpu", hosts=1, local_size=2) == "shm"
    assert ddp.resolve("auto", "cpu", hosts=2, local_size=1) == "gloo"
    with pytest.raises(UserError, match="these are of several; use --comm gloo"):
        ddp.resolve("shm", "cpu", hosts=2, local_size=1)
    monkeypatch.setattr(shm, "_LIBC", object())  # a C library without these calls
    assert ddp.resolve("auto", "cpu", hosts=1, local_size=2) == "gloo"
    with pytest.raises(UserError, match="--comm shm needs sem_init, which this platform lacks; use --comm gloo"):
        ddp.resolve("shm", "cpu", hosts=1, local_size=2)


Start = Callable[..., list[Warm]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ranks without torchrun, which would end the others as soon as one has ended."""
    started: list[Warm] = []

    def ranks(size: int, seed: int, calls: int, timeout_s: float = 60) -> list[Warm]:
        words = ["-m", "tests.comm.shm_ranks", str(seed), str(calls), "--timeout-s", str(timeout_s)]
        job = warm.start_ranks(size, *words, folder=tmp_path, name=f"job-{seed}")
        started.extend(job)
        return job

    yield ranks
    for rank in started:
        rank.process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "calls"), [(2, 1_000), pytest.param(4, 500, marks=pytest.mark.long)])
def test_thousands_of_calls_at_random_moments_are_all_right(size: int, calls: int, start: Start) -> None:
    """Two jobs at once, of two ranks; by -m long of four, which share the cores."""
    jobs = [start(size, seed, calls) for seed in (1, 2)]

    for ended in [rank.wait(150) for job in jobs for rank in job]:
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == f"ready\n{calls} right\n"


@pytest.mark.slow
@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.long), 2])
@pytest.mark.parametrize(
    ("how", "within_s", "codes", "said"),
    [
        (signal.SIGKILL, 5, {4}, "did not bring its gradients: its process has ended"),
        (signal.SIGSTOP, 15, {6, 4}, "did not bring its gradients within 4 s: its process is stopped (SIGSTOP)"),
    ],
)
def test_a_lost_rank_is_named_by_one_that_waits_for_it(
    how: signal.Signals, within_s: float, codes: set[int], said: str, lost: int, start: Start
) -> None:
    """In the middle of endless calls. No rank hangs: who waits for one that has given up says so of that one."""
    before = set(SHARED.iterdir())
    job = start(3, 1, 10**9, timeout_s=4)
    wait_for(lambda: all(rank.out.exists() and rank.out.read_text() == "ready\n" for rank in job))
    time.sleep(0.5)
    os.kill(job[lost].process.pid, how)
    deadline = time.monotonic() + within_s
    left = [rank.wait(max(0.1, deadline - time.monotonic())) for rank in job if rank is not job[lost]]
    words = [rank.stderr for rank in left]

    assert {rank.returncode for rank in left} <= codes
    assert any(f"rank {lost} {said}" in word for word in words), words
    assert all(word.count("\n") == 1 and "did not bring its gradients" in word for word in words), words
    wait_for(lambda: not abandoned_segments(but=before))
