"""Timed regions: monotonic, and synchronised with the device at both ends."""

import time
from collections.abc import Callable
from types import TracebackType

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work. On the CPU there is nothing to wait for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class Stopwatch:
    """Times regions of code, in seconds. `sync` waits for the device, so a lap holds the work and not only its launch.

    A region that ends in an exception is no lap.
    """

    def __init__(self, sync: Callable[[], None] = lambda: None, now: Callable[[], float] = time.perf_counter) -> None:
        self.laps: list[float] = []
        self._sync = sync
        self._now = now

    def __enter__(self) -> "Stopwatch":
        self._sync()
        self._start = self._now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._sync()
            self.laps.append(self._now() - self._start)

    @property
    def last_s(self) -> float:
        """The newest lap in seconds."""
        return self.laps[-1]
