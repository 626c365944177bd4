"""Two processes of this machine that exchange data: this one, and a twin that it forks."""

import json
import os
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ddpbench import processes
from ddpbench.check.facts import LARGE_BYTES, SMALL_BYTES, Loopback

T = TypeVar("T")
PATIENCE_S = 10.0
SMALL_TIMES, LARGE_TIMES = 200, 5
TIMES = {SMALL_BYTES: SMALL_TIMES, LARGE_BYTES: LARGE_TIMES}


@contextmanager
def beside(what: Callable[[], object]) -> Iterator[None]:
    """Let a twin of this process do something while `with` lasts. The twin ends afterwards, or with this process."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            processes.end_with_parent(signal.SIGKILL)
            what()
            code = 0
        finally:
            os._exit(code)
    try:
        yield
    except BaseException:
        processes.send([pid], signal.SIGKILL)
        raise
    finally:
        os.waitpid(pid, 0)


def medians_s(exchange: Callable[[int], object]) -> tuple[float, float]:
    """Return how long an exchange of each size takes. The first of each is not counted: memory is taken then."""
    return _median_s(exchange, SMALL_BYTES), _median_s(exchange, LARGE_BYTES)


def loopback() -> Loopback:
    """Send data to a twin and back, over TCP on 127.0.0.1."""
    try:
        ours, theirs = _connected()
        with ours, theirs, beside(lambda: _answer_all(theirs)):
            small_s, large_s = medians_s(lambda size: _ask(ours, size))
    except OSError as problem:
        return Loopback(problem=problem.strerror or str(problem))
    return Loopback(small_s=small_s, large_s=large_s)


class Pair:
    """Two ranks as `comm` knows them: this process and its twin. They exchange values over a socket without a name."""

    size = local_size = 2
    timeout_s = PATIENCE_S
    sync_batchnorm = False
    group: Any = None

    def __init__(self, rank: int, line: socket.socket) -> None:
        self.rank, self._line = rank, line.makefile("rwb")

    def gather(self, value: T) -> list[T]:
        """Return the value of both ranks. Raises OSError where the other has ended."""
        self._line.write(json.dumps(value).encode() + b"\n")
        self._line.flush()
        line = self._line.readline()
        if not line:
            raise ConnectionResetError("the second of two ranks has ended")
        both: list[T] = [value, json.loads(line)]
        return both[:: -1 if self.rank else 1]

    def barrier(self) -> None:
        """Wait for the other rank."""
        self.gather(None)


def _connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over loopback. They are connected here, so nobody else can be the other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        ours = socket.create_connection(server.getsockname(), timeout=PATIENCE_S)
        theirs, address = server.accept()
    if address != ours.getsockname():
        raise ConnectionRefusedError("another process has taken the connection")
    for each in (ours, theirs):
        each.settimeout(PATIENCE_S)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def _ask(line: socket.socket, size: int) -> None:
    line.sendall(bytes(size))
    _receive(line, size)


def _answer_all(line: socket.socket) -> None:
    for size, times in TIMES.items():
        for _ in range(1 + times):
            line.sendall(_receive(line, size))


def _receive(line: socket.socket, size: int) -> bytearray:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        count = line.recv_into(rest)
        if count == 0:
            raise ConnectionResetError("the other process has ended")
        rest = rest[count:]
    return content


def _median_s(exchange: Callable[[int], object], size: int) -> float:
    took_s = []
    for _ in range(1 + TIMES[size]):
        began_s = time.perf_counter()
        exchange(size)
        took_s.append(time.perf_counter() - began_s)
    return statistics.median(took_s[1:])
