"""Processes that read data ahead of training: those of torch's DataLoader, bound to their rank.

They end with their rank, however that ends. A signal that asks the run to stop is for the rank, which finishes its step
first: it needs its data until then. Between the turns of an arm they are stopped, so nothing is read ahead meanwhile.
"""

import mmap
import signal
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.context import ForkContext, ForkProcess
from multiprocessing.popen_fork import Popen
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from ddpbench import processes
from ddpbench.errors import TrainingError
from ddpbench.notes import STOPS

ENDING_S = 1.0
AHEAD = 2  # batches that each process reads ahead


class _Handle(Popen):
    """The handle of a process that ignores SIGTERM: torch and Python, when they end it, do so by SIGKILL."""

    def terminate(self) -> None:
        """End it at once."""
        self.kill()


class _Process(ForkProcess):
    """A process with such a handle."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Popen:  # noqa: N802 - the standard library's name
        return _Handle(process_obj)


class _Context(ForkContext):
    """Forks: the data set of a task needs no pickling, and memory is shared until it is written to."""

    Process = _Process


class Reader:
    """Processes that read the batches of one rank, from the first batch on until the rank ends."""

    def __init__(self, data: Any, count: int, *, pinned: bool) -> None:
        self._plan = _Plan()
        self._begun = mmap.mmap(-1, count)  # a byte for each process, which it sets once it is bound to its rank
        self._loader: DataLoader[Any] = DataLoader(
            data,
            batch_sampler=self._plan,
            num_workers=count,
            collate_fn=_as_it_is,
            worker_init_fn=partial(_begin, self._begun),
            multiprocessing_context=_Context(),
            generator=torch.Generator(),  # the training process draws from the default one
            prefetch_factor=AHEAD,
            persistent_workers=True,
            pin_memory=pinned,
        )
        self._pids: list[int] = []

    def read(self, keys: Iterator[list[Any]], count: int) -> Iterator[Any]:
        """Yield what the data set returns for each list of keys; there are `count`.

        Raises TrainingError where a process has ended.
        """
        self._plan.keys, self._plan.count = keys, count
        try:
            # torch's handler would raise the end of a process in the middle of any statement, and not here.
            with processes.handler_kept(signal.SIGCHLD):
                found = iter(self._loader)
            self._pids = [each.pid for each in found._workers]  # type: ignore[attr-defined]
            yield from found
        except (RuntimeError, OSError, EOFError) as problem:  # a batch is handed over by the process that has read it
            if not self._one_ends():
                raise
            raise TrainingError(
                "a process that reads data has ended (was it killed for want of memory?); try fewer --readers"
            ) from problem

    def _one_ends(self) -> bool:
        """Whether a process has ended, or does so now: it closes its connections before the kernel says so."""
        until = time.monotonic() + ENDING_S
        while time.monotonic() < until:
            if any(processes.state(pid) == "ended" for pid in self._pids):
                return True
            time.sleep(0.01)
        return False

    def hold(self) -> None:
        """Stop the processes. They go on exactly where they were.

        It waits until all have begun: one that was stopped before it is bound to its rank would outlive that.
        """
        while any(self._is_beginning(number) for number in range(len(self._pids))):
            time.sleep(0.001)
        processes.send(self._pids, signal.SIGSTOP)

    def _is_beginning(self, number: int) -> bool:
        return not self._begun[number] and processes.state(self._pids[number]) != "ended"

    def close(self) -> None:
        """End the processes. Without it torch waits five seconds for each that is held."""
        processes.send(self._pids, signal.SIGKILL)

    def release(self) -> None:
        """Let the processes go on."""
        processes.send(self._pids, signal.SIGCONT)


class _Plan:
    """The keys of the batches that are read next, as torch asks for them."""

    keys: Iterator[list[Any]] = iter(())
    count = 0

    def __iter__(self) -> Iterator[list[Any]]:
        return self.keys

    def __len__(self) -> int:
        return self.count


def _as_it_is(batch: Any) -> Any:
    """Return the batch, which the data set has collated."""
    return batch


def _begin(begun: mmap.mmap, number: int) -> None:
    """Prepare a process that reads."""
    processes.end_with_parent(signal.SIGKILL)
    processes.ignore(STOPS)
    begun[number] = 1
