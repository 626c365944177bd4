"""Data that is read while training: which data that is, the same samples for everyone, and processes that end."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from ddpbench import processes
from ddpbench.errors import DataError, TrainingError, UserError
from ddpbench.tasks import reading
from ddpbench.tasks.items import Items
from ddpbench.tasks.reading import Reading
from ddpbench.tasks.samples import Samples
from tests.conftest import PROJECT

SIZE = 24


class Numbers:
    """A map-style data set of the numbers of its samples, changed by a function."""

    def __init__(self, change: Callable[[Tensor, int], Any] = lambda value, _: value, size: int = SIZE) -> None:
        self.change, self.size = change, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.change(torch.tensor([float(index)]), index)


def noisy(value: Tensor, _: int) -> Tensor:
    """Draw from every generator that code of a data set uses."""
    return value + torch.rand(1) + random.random() + float(np.random.rand())


def found(data: Any, **changes: Any) -> Samples | Items:
    said = changes.pop("said", [])
    known = {"which": "training", "collate": None, "explain": str, "say": said.append}
    return Reading(**{**known, **changes}).samples_of(data)


def items(change: Callable[[Tensor, int], Any] = noisy) -> Items:
    made = found(Numbers(change))
    assert isinstance(made, Items)
    return made


def orders(size: int = 4) -> list[Tensor]:
    return list(torch.arange(SIZE).split(size))


def read(data: Items, processes: int = 0, epoch: int = 1, seed: int = 0, size: int = 4) -> Tensor:
    return torch.cat(list(data.opened(processes, seed).read(orders(size), epoch)))


@pytest.fixture
def children() -> Iterator[Callable[[], list[psutil.Process]]]:
    """Return the processes that read for this one, and end those that are left."""
    others = psutil.Process().children()

    def readers() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in others]

    yield readers
    for child in readers():
        child.kill()


def test_a_small_set_goes_to_memory_and_it_is_said() -> None:
    said: list[str] = []
    samples = found(Numbers(), said=said)

    assert isinstance(samples, Samples)
    assert samples.take(torch.tensor([5, 3])).flatten().tolist() == [5, 3]
    assert said[0].startswith("the training set is in memory: 24 samples, 0 MiB")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (noisy, "its items are drawn at random"),
        (lambda value, _: value if torch.rand(1) < 0.5 else -value, "its items are drawn at random"),  # half as often
        (lambda value, _: value + random.random(), "its items are drawn at random"),
        (lambda value, _: value + np.random.rand(), "its items are drawn at random"),
        (lambda value, index: (value, f"name {index}"), "its items hold more than tensors"),
    ],
)
def test_what_cannot_stay_in_memory_is_read_while_training(change: Any, why: str) -> None:
    said: list[str] = []

    assert isinstance(found(Numbers(change), said=said), Items)
    assert said == [f"the training set is read while training, 24 samples: {why}"]


def test_samples_that_are_padded_batch_by_batch_are_read_while_training() -> None:
    def padded(some: list[Tensor]) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(some, batch_first=True)

    data, said = Numbers(lambda value, index: value.repeat(1 + index % 5 + index // 20), size=600), list[str]()

    assert isinstance(found(data, collate=padded, said=said), Items)
    assert said == ["the training set is read while training, 600 samples: its batches differ in shape"]


def test_a_set_larger_than_its_share_of_memory_is_read_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MEMORY_BYTES", 4 * SIZE - 1)
    said: list[str] = []

    assert isinstance(found(Numbers(), said=said), Items)
    assert said[0].endswith("it would take 0.0 GiB of memory, and may take 0 GiB")


def test_reading_while_training_can_be_asked_for() -> None:
    assert isinstance(found(Numbers(), in_memory=False), Items)


def test_items_without_numbers_are_equal_to_themselves() -> None:
    assert isinstance(found(Numbers(lambda value, _: value * float("nan"))), Samples)


def test_numbers_from_a_generator_that_cannot_be_seeded_are_refused() -> None:
    with pytest.raises(UserError, match="sample 0 of the training set differs when it is read twice; an item may draw"):
        found(Numbers(lambda value, _: value + np.random.default_rng().random()))


def test_an_item_that_cannot_be_read_is_named() -> None:
    def broken(value: Tensor, index: int) -> Tensor:
        return value / (0 if index == 9 else 1) if index != 9 else [][index]

    with pytest.raises(UserError, match="the training set cannot be read: sample 9: list index out of range"):
        found(Numbers(broken))


@pytest.mark.parametrize("processes", [1, 2])
def test_who_reads_does_not_change_a_sample(processes: int) -> None:
    alone = read(items())

    assert torch.equal(read(items(), processes), alone)
    assert torch.equal(read(items(), processes, size=8), alone)
    assert not torch.equal(alone, read(items(), epoch=2))
    assert not torch.equal(alone, read(items(), seed=1))
    assert torch.equal(read(items(), processes, epoch=2), read(items(), epoch=2))


class Far(Tensor):
    """A tensor that stands for one on a GPU: to read it waits for all that the GPU has to do."""

    waits = 0

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        Far.waits += 1
        return self.as_subclass(Tensor)

    def tolist(self) -> Any:
        Far.waits += 1
        return super().tolist()


def test_the_orders_of_an_epoch_are_read_from_a_gpu_once() -> None:
    Far.waits = 0
    far = torch.arange(SIZE).as_subclass(Far).split(4)
    opened = items(lambda value, index: value + 0 * noisy(value, index)).opened(0, 0)
    batches = [batch for epoch in (1, 2) for batch in opened.read(far, epoch)]

    assert Far.waits == 2
    assert torch.cat(batches).flatten().tolist() == [*range(SIZE)] * 2
    assert list(items().opened(0, 0).read((), 1)) == []


def test_ranks_that_share_an_epoch_read_what_one_process_reads() -> None:
    data, alone = items(), read(items())
    halves = [torch.cat(list(data.opened(0, 0).read([each[rank::2] for each in orders()], 1))) for rank in range(2)]

    assert torch.equal(torch.stack(halves, 1).flatten(), alone.flatten())


def test_a_later_epoch_is_read_by_the_same_processes(children: Callable[[], list[psutil.Process]]) -> None:
    opened = items().opened(2, 0)
    first, pids = list(opened.read(orders(), 1)), {child.pid for child in children()}
    some = opened.read(orders(), 2)
    next(some)  # an epoch that is given up
    second = list(opened.read(orders()[2:], 2))

    assert len(pids) == 2
    assert {child.pid for child in children()} == pids
    assert torch.equal(torch.cat(first), read(items()))
    assert torch.equal(torch.cat(second), read(items(), epoch=2)[8:])  # as after a restart in the middle


@pytest.mark.parametrize("processes", [0, 1])
def test_reading_leaves_the_numbers_that_training_draws(processes: int) -> None:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    expected = torch.rand(3), random.random(), np.random.rand()
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    batches = iter(items().opened(processes, 0).read(orders(), 1))
    drawn = []
    for draw in (lambda: torch.rand(3), random.random, np.random.rand):
        next(batches)
        drawn.append(draw())

    assert torch.equal(drawn[0], expected[0])
    assert drawn[1:] == [*expected[1:]]


def test_the_wait_is_measured_where_something_is_read() -> None:
    def slow(value: Tensor, _: int) -> Tensor:
        time.sleep(0.002)
        return noisy(value, 0)

    opened = items(slow).opened(0, 0)
    begin = time.perf_counter()
    list(opened.read(orders(), 1))
    took_s, waited_s = time.perf_counter() - begin, opened.waited_s()
    in_memory = found(Numbers()).opened(2, 0)
    list(in_memory.read(orders(), 1))

    assert 0.9 * took_s < waited_s <= took_s
    assert opened.waited_s() == 0
    assert in_memory.waited_s() is None


def test_an_item_that_fails_while_training_is_named_with_its_line() -> None:
    def broken(value: Tensor, index: int) -> Tensor:
        if index == 9:
            raise OSError("cut short")
        return noisy(value, index)

    data = found(Numbers(broken), explain=lambda problem: f"line 7: {problem}")
    assert isinstance(data, Items)
    for count in (0, 1):
        with pytest.raises(DataError, match=r"^sample 9: line 7: cut short; leave it out, or mend it$"):
            read(data, count)


def test_a_process_that_is_killed_is_an_error_in_one_line(children: Callable[[], list[psutil.Process]]) -> None:
    batches = items().opened(1, 0).read(orders(1), 1)
    next(batches)
    children()[0].kill()

    with pytest.raises(TrainingError, match="a process that reads data has ended"):
        list(batches)


def test_signals_that_stop_a_run_leave_its_readers(children: Callable[[], list[psutil.Process]]) -> None:
    """A rank finishes its step first, and needs its data until then."""
    batches = items().opened(1, 0).read(orders(1), 1)
    next(batches)
    (child,) = children()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        child.send_signal(number)

    assert len(list(batches)) == SIZE - 1


def test_a_held_process_reads_nothing_ahead(tmp_path: Path, children: Callable[[], list[psutil.Process]]) -> None:
    log = tmp_path / "read"

    def logged(value: Tensor, index: int) -> Tensor:
        with log.open("a") as file:
            file.write(f"{index}\n")
        time.sleep(0.01)
        return noisy(value, index)

    opened = items(logged).opened(1, 0)
    batches = opened.read(orders(1), 1)
    next(batches)
    opened.hold()
    before = log.read_text()
    time.sleep(0.1)
    held, states = log.read_text(), [processes.state(child.pid) for child in children()]
    opened.release()

    assert held == before
    assert states == ["stopped"]
    assert len(list(batches)) == SIZE - 1


def test_held_processes_end_at_once_where_they_are_closed(children: Callable[[], list[psutil.Process]]) -> None:
    opened = items().opened(2, 0)
    batches = opened.read(orders(1), 1)
    next(batches)
    opened.hold()
    opened.close()
    begin = time.monotonic()
    del batches, opened  # torch waits for processes that it has not seen end, five seconds for each

    assert time.monotonic() - begin < 4
    assert children() == []


@pytest.mark.slow
@pytest.mark.parametrize("held", [False, True])
def test_the_processes_end_with_their_rank(held: bool) -> None:
    """Also when it is killed, and when they are stopped at that moment."""
    code = f"""
import os, sys, time, psutil
from ddpbench import processes
from tests.tasks.test_reading import items, orders
bind = processes.end_with_parent
processes.end_with_parent = lambda how: (time.sleep(0.3), bind(how))  # on a busy machine the second one begins late
opened = items().opened(2, 0)
batches = opened.read(orders(1), 1)
next(batches)
{"opened.hold()" if held else ""}
print(*[child.pid for child in psutil.Process().children()], flush=True)
sys.stdin.read()
"""
    rank = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert rank.stdout is not None
    pids = [int(word) for word in rank.stdout.readline().split()]
    states = [processes.state(pid) for pid in pids]
    os.kill(rank.pid, signal.SIGKILL)
    rank.communicate()
    until = time.monotonic() + 10
    while time.monotonic() < until and any(processes.state(pid) != "ended" for pid in pids):
        time.sleep(0.01)

    assert len(pids) == 2
    assert [state == "stopped" for state in states] == [held] * 2
    assert [processes.state(pid) for pid in pids] == ["ended"] * 2


@pytest.mark.slow
def test_a_script_that_has_read_data_ends() -> None:
    """Python waits for the processes of a module when it ends: they must not ignore that."""
    code = "from tests.tasks.test_reading import items, orders; next(items().opened(2, 0).read(orders(), 1))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, timeout=60, check=False)

    assert done.returncode == 0
