"""Host 0 of a job on several hosts: it waits for the others, starts ranks on all hosts, and ends all of them together.

An attempt on all hosts looks like one child process to `runner.supervise`: so one supervisor decides on restarts, for
the job. The other hosts do as they are told (`follow`). What their ranks note comes over the line.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import msgspec
from msgspec.structs import replace
from typing_extensions import Self

from ddpbench import notes
from ddpbench.errors import FAULT, DdpbenchError, TrainingError, UserError
from ddpbench.hosts import joining
from ddpbench.hosts.messages import AnyMessage, Ended, Hello, Noted, Order, Over, Signal, Start
from ddpbench.hosts.place import Place
from ddpbench.hosts.server import Member, Server
from ddpbench.hosts.waiting import LOOK_S, wait_for_all
from ddpbench.notes import AnyNote, Launch, Seat
from ddpbench.study.runner import Child, Program, Spawn, Stop, Stopped
from ddpbench.study.screen import Screen

OTHERS_END_S = 3.0  # ranks notice by themselves that one has failed, and name it
SAVE_S = 15.0  # from SIGTERM on: then SIGKILL follows
GOODBYE_S = 5.0
AGENT = ("-m", "ddpbench.train.agent")


class Lead:
    """Host 0. Use it as a context: it begins when all hosts are here."""

    def __init__(self, place: Place, secret: bytes, hello: Hello, screen: Screen, stop: Stop) -> None:
        """Open the line. Raises UserError where host 0's address is not this machine's, or its port is taken."""
        self.place, self.screen, self.stop = place, screen, stop
        self._hello, self._secret = hello, secret
        self._server = Server(place, secret)
        self._is_over = self._are_all_here = False
        self._came_again: str | None = None  # which host, in a line

    def __enter__(self) -> Self:
        """Wait for all hosts. Raises UserError where one does not fit, TrainingError where one does not come."""
        self._server.__enter__()
        try:
            self._gather()
        except BaseException as problem:
            self.__exit__(type(problem), problem, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all hosts, as this one ends."""
        if isinstance(error, DdpbenchError):
            self.end(error.exit_code, str(error))
        elif isinstance(error, Stopped):
            self.end(self.stop.exit_code(0), "stopped before all hosts were here")
        elif error is not None:
            self.end(FAULT, f"host 0 ended by {type(error).__name__}; its output says why")
        self._server.__exit__(None, None, None)

    def end(self, code: int, why: str = "") -> int:
        """Tell all hosts that the job is over, by which exit code, and why. Returns the code."""
        if self._is_over:
            return code
        self._is_over = True
        self._server.send(Over(code=code, why=why))
        until = time.monotonic() + GOODBYE_S
        while time.monotonic() < until and not all(each.is_gone for each in self._server.members.values()):
            time.sleep(LOOK_S)
        return code

    def spawn(self, spawn: Callable[[Program], Spawn]) -> Callable[[Program], Spawn]:
        """Return what starts a program here by `spawn` and, where it has ranks, on all hosts."""

        def of_program(program: Program) -> Spawn:
            order, hosts = order_of(program), program.hosts or self.place.count

            def start(launch: Launch) -> Everywhere:
                job = self._server.begin_job()
                if order is None or hosts == 1:
                    return Everywhere(self, spawn(program)(launch), launch, job, {})
                told = replace(launch, seat=seat_of(self.place, self._secret, job, hosts, order.ranks))
                begin = Start(
                    job=job,
                    order=order,
                    hosts=hosts,
                    attempt=launch.attempt,
                    begun=launch.begun,
                    failure=launch.failure,
                )
                others = {index: member for index, member in self._server.members.items() if index < hosts}
                for member in others.values():
                    member.send(begin)
                return Everywhere(self, spawn(program)(told), launch, job, dict.fromkeys(others))

            return start

        return of_program

    def next_messages(self) -> list[tuple[Member, AnyMessage]]:
        """Return what other hosts have said. A signal to one of them is a signal to this job."""
        while not self._server.notices.empty():
            self.screen.warn(self._server.notices.get())
        found: list[tuple[Member, AnyMessage]] = []
        while not self._server.events.empty():
            member, message = self._server.events.get()
            if isinstance(message, Signal):
                self.stop.hear(message.number)
            elif isinstance(message, Hello) and self._are_all_here:
                self._came_again = f"{member.name} is lost: its command was started again"
            else:
                found.append((member, message))
        return found

    def lost(self) -> str | None:
        """Return which host is lost, and why, in a line; None where none is."""
        return self._came_again or next(filter(None, (each.lost() for each in self._server.members.values())), None)

    def send(self, index: int, message: object) -> None:
        """Send a message to one host."""
        self._server.members[index].send(message)

    def _gather(self) -> None:
        wait_for_all(self._server, self.place, self.screen.warn, self._compare)
        self._are_all_here = True
        said = f"{self.place.count} hosts are here ({self.place.source})"
        self.screen.warn(f"{said}; program, torch and command line are the same")

    def _compare(self) -> None:
        """Raise UserError where a host does not fit to this one, Stopped after a signal."""
        if self.stop.signal is not None:
            raise Stopped
        for member, message in self.next_messages():
            different = joining.difference(self._hello, message) if isinstance(message, Hello) else None
            if different:
                raise UserError(different)
            if isinstance(message, Hello) and message.cores != self._hello.cores:
                cores = f"{member.name} has {message.cores} cores, and host 0 {self._hello.cores}"
                self.screen.warn(f"caution: {cores}; the slowest host sets the pace")
        if (lost := self.lost()) is not None:
            raise TrainingError(lost)


@dataclass
class Everywhere:
    """One attempt on all hosts: a runner.Child. It has ended when its processes on all hosts have."""

    lead: Lead
    local: Child
    launch: Launch
    job: int
    codes: dict[int, int | None]  # of the other hosts that take part; None: it has not ended
    _local_code: int | None = None
    _ends_s: list[float] = field(default_factory=list)  # when SIGTERM and SIGKILL are due; empty: nothing has failed
    _is_lost: bool = False

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code: 0, or that of a host that failed. Raises TimeoutExpired after so many seconds."""
        until = time.monotonic() + (timeout or 0.0)
        while True:
            self._look()
            codes = [self._local_code, *self.codes.values()]
            if None not in codes:
                return next((code for code in codes if code), 0)
            left_s = until - time.monotonic()
            if timeout is not None and left_s <= 0:
                raise subprocess.TimeoutExpired("the ranks of all hosts", timeout)
            self._pass(min(LOOK_S, max(0.001, left_s)))

    def send_signal(self, sig: int) -> None:
        """Send a signal to the processes on all hosts."""
        for index, code in self.codes.items():
            if code is None:
                self.lead.send(index, Signal(number=sig))
        if self._local_code is None:
            self.local.kill() if sig == signal.SIGKILL else self.local.send_signal(sig)

    def kill(self) -> None:
        """End the processes on all hosts at once."""
        self.send_signal(signal.SIGKILL)

    def _pass(self, seconds: float) -> None:
        if self._local_code is not None:
            time.sleep(seconds)
            return
        try:
            self._local_code = self.local.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return

    def _look(self) -> None:
        """Hear what other hosts say, and end what is left of an attempt that has failed on one of them."""
        for member, message in self.lead.next_messages():
            if isinstance(message, Noted) and message.job == self.job:
                note = replace(msgspec.json.decode(message.note, type=AnyNote), time_ns=time.monotonic_ns())
                notes.append(self.launch.notes, note)
            elif isinstance(message, Ended) and message.job == self.job:
                self.codes[member.hello.index] = message.code
        lost = self.lead.lost()
        if lost is not None and not self._is_lost:
            self._is_lost = True
            failed = notes.Failed(why=lost, code=TrainingError.exit_code, is_final=True)
            notes.append(self.launch.notes, replace(failed, rank=notes.NO_RANK, attempt=self.launch.attempt))
            self.codes = {index: code or -signal.SIGKILL for index, code in self.codes.items()}
        has_failed = self._is_lost or any([self._local_code, *self.codes.values()])
        now = time.monotonic()
        if has_failed and not self._ends_s:
            first_s = now if self._is_lost else now + OTHERS_END_S
            self._ends_s = [first_s, first_s + (OTHERS_END_S if self._is_lost else SAVE_S)]
        if self._ends_s and now > self._ends_s[0]:
            self.send_signal(signal.SIGTERM if len(self._ends_s) == 2 else signal.SIGKILL)
            self._ends_s = self._ends_s[1:] or [now + SAVE_S]


def seat_of(place: Place, secret: bytes, job: int, hosts: int, ranks: int) -> Seat:
    """Return where the ranks of a host are, with so many on each of so many hosts."""
    return Seat(
        host=place.index,
        hosts=hosts,
        first_rank=place.index * ranks,
        address=place.address,
        port=place.port,
        job=job,
        secret=secret.decode(),
    )


def order_of(program: Program) -> Order | None:
    """Return what other hosts are to do, where a program has ranks; None for one process."""
    executable, *words = program.command
    if executable != sys.executable or tuple(words[:2]) != AGENT:
        return None
    ranks, first, *rest = words[2:]
    is_turns = first == "-m"
    order = rest[1:] if is_turns else rest
    return Order(
        program="turns" if is_turns else "ddp_train", ranks=int(ranks), words=order, variables=dict(program.variables)
    )
