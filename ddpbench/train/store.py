"""The store in which ranks meet. On several hosts it is host 0's keys, over the line that only this job's secret opens.

torch's own TCPStore has no password and listens on every interface, whatever host it is given.
"""

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from ddpbench.errors import TrainingError
from ddpbench.hosts import channel
from ddpbench.hosts.channel import Channel, SecretError
from ddpbench.hosts.messages import Answer, AnyMessage, Ask, Rank
from ddpbench.notes import Launch, Seat

if TYPE_CHECKING:
    Base = Any
else:
    Base = dist.Store
CONNECT_S, TRY_S, AGAIN_S = 30.0, 10.0, 0.2  # strangers may hold all places of the line for ten seconds


def of_attempt(launch: Launch | None, rank: int, size: int, timeout_s: float) -> dist.Store:  # type: ignore[name-defined]
    """Return the store in which the ranks of this attempt meet. It gets a prefix of this attempt.

    torchrun keeps one store over all restarts of a run (2.14.1, whatever its comment says). Without a prefix, ranks
    would find the addresses of the attempt before and connect to processes that have ended (pytorch#135712).
    Under `launch.sh` the store is memory of torchrun's agent, or on several hosts a LineStore. `launch` is None where a
    person started torchrun.
    """
    limit = timedelta(seconds=timeout_s)
    if launch is not None and launch.seat is not None:
        return LineStore(launch.seat, limit)
    if launch is not None and launch.store is not None:
        store = dist.FileStore(launch.store, size)  # type: ignore[attr-defined]
        store.set_timeout(limit)
        return store
    store, _, _ = next(dist.rendezvous("env://", rank, size, timeout=limit))  # type: ignore[attr-defined]
    return store


class LineStore(Base):  # type: ignore[misc]
    """torch's Store over the line. Every method raises TrainingError where host 0 does not answer any more."""

    def __init__(self, seat: Seat, timeout: timedelta) -> None:
        super().__init__()
        self._limit, self._lock = timeout, threading.Lock()
        self._line = _connected(seat, min(timeout.total_seconds(), CONNECT_S))

    def set(self, key: str, value: str | bytes) -> None:
        """Set a key."""
        self._ask(Ask(how="set", keys=[key], value=_bytes(value)))

    def get(self, key: str) -> bytes:
        """Return a key's value. Waits until it is there; raises RuntimeError where time is up."""
        found = self._ask(Ask(how="get", keys=[key], timeout_s=self._limit.total_seconds())).value
        if found is None:
            raise RuntimeError(f"Timed out waiting for another rank's key {key}")
        return found

    def add(self, key: str, amount: int) -> int:
        """Add to the number of a key. Returns the sum."""
        return self._ask(Ask(how="add", keys=[key], amount=amount)).number

    def check(self, keys: list[str]) -> bool:
        """Whether all of these keys are there."""
        return bool(self._ask(Ask(how="check", keys=keys)).number)

    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        """Set a key where it has the expected value. Returns its value afterwards."""
        found = self._ask(Ask(how="swap", keys=[key], value=_bytes(desired), expected=_bytes(expected))).value
        return found or b""

    def delete_key(self, key: str) -> bool:
        """Remove a key. Returns whether it was there."""
        return bool(self._ask(Ask(how="delete", keys=[key])).number)

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Wait until these keys are there. Raises RuntimeError where time is up."""
        for key in keys:
            limit_s = (timeout or self._limit).total_seconds()
            if self._ask(Ask(how="get", keys=[key], timeout_s=limit_s)).value is None:
                raise RuntimeError(f"Timed out waiting for another rank's key {key}")

    def set_timeout(self, timeout: timedelta) -> None:
        """Choose how long to wait for a key."""
        self._limit = timeout

    @property
    def timeout(self) -> timedelta:
        """How long it waits for a key."""
        return self._limit

    def _ask(self, ask: Ask) -> Answer:
        try:
            with self._lock:
                self._line.send(ask)
                answer = self._line.receive()
        except OSError as problem:
            raise TrainingError(f"host 0 does not answer any more: {problem}") from problem
        assert isinstance(answer, Answer)
        return answer


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _connected(seat: Seat, limit_s: float) -> "Channel[AnyMessage]":
    """Return a line to host 0 for a rank. Raises TrainingError where host 0 cannot be reached in time."""
    until_s = time.monotonic() + limit_s
    while True:
        try:
            line: Channel[AnyMessage] = channel.connect(
                seat.address, seat.port, seat.secret.encode(), AnyMessage, min(TRY_S, limit_s)
            )
            line.send(Rank(job=seat.job))
            return line
        except OSError as problem:
            if isinstance(problem, SecretError) or time.monotonic() > until_s:
                where = f"{seat.address} port {seat.port}"
                raise TrainingError(f"a rank cannot reach host 0 at {where}: {problem}") from problem
        time.sleep(AGAIN_S)
