"""Starts the process that exchanges data with other hosts, asks it, and ends it."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import msgspec
from typing_extensions import Self

from ddpbench.check import exchange
from ddpbench.check.asking import read_until
from ddpbench.check.gathered import Meet, Met, Trouble
from ddpbench.notes import Seat

COMMAND = (sys.executable, "-m", "ddpbench.check.exchange")
READY_S = 60.0  # to import torch from a slow disk
MOST_S = 600.0  # for all sizes: each has a limit of its own


class Exchanger:
    """That process. Use it as a context."""

    def __init__(self, interface: str, variables: Mapping[str, str], command: Sequence[str] = COMMAND) -> None:
        """Start it, to meet other hosts over this interface, with these environment variables. Raises OSError."""
        self._answers, worker_end = os.pipe()
        quiet = subprocess.DEVNULL  # libraries print warnings, and the screen has room for findings alone
        try:
            self._child = subprocess.Popen(
                [*command, str(worker_end)],
                pass_fds=[worker_end],
                stdin=subprocess.PIPE,
                stdout=quiet,
                stderr=quiet,
                env={"NCCL_SOCKET_IFNAME": f"={interface}", **variables, "GLOO_SOCKET_IFNAME": interface},
            )
        except OSError:
            os.close(self._answers)
            raise
        finally:
            os.close(worker_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()
        os.close(self._answers)

    def wait(self) -> Trouble | None:
        """Wait until it is ready. Returns what is wrong where it never will be."""
        if self._read(READY_S) + b"\n" == exchange.READY:
            return None
        return Trouble(why=f"torch was not imported within {READY_S:.0f} s, or its process ended", is_own=True)

    def meet(self, meet: Meet, seat: Seat) -> Met:
        """Let it exchange data with another host's. The seat, which has the secret, goes through a pipe."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(msgspec.json.encode(exchange.Task(meet=meet, seat=seat)) + b"\n")
            self._child.stdin.flush()
            return msgspec.json.decode(self._read(MOST_S), type=Met)
        except (OSError, msgspec.DecodeError):
            return Met(timed=[], trouble=Trouble(why="the process that exchanges data has ended", is_own=True))

    def _read(self, seconds: float) -> bytes:
        """Return the next line without its end; what there is of it where time is up or the process has ended."""
        return read_until(self._answers, time.monotonic() + seconds, end=b"\n")[0].removesuffix(b"\n")
