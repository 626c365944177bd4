"""Every other host of a job on several: it starts ranks when host 0 says so, and ends as host 0 ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from ddpbench.errors import TrainingError
from ddpbench.hosts import joining
from ddpbench.hosts.channel import Channel
from ddpbench.hosts.ear import Ear
from ddpbench.hosts.messages import AnyMessage, Ended, Hello, Noted, Order, Over, Signal, Start
from ddpbench.hosts.place import Place
from ddpbench.notes import Launch
from ddpbench.study import commands
from ddpbench.study.lead import AGENT, OTHERS_END_S, seat_of
from ddpbench.study.runner import Child, Notebook, Program, Stop
from ddpbench.study.screen import Screen
from ddpbench.study.warm import Server
from ddpbench.turns import Question

LOOK_S = 0.05


@dataclass
class Job:
    """The ranks of one attempt on this host."""

    number: int
    child: Child
    notebook: Notebook


@dataclass
class Follower:
    """This host, as long as the job lasts."""

    place: Place
    secret: bytes
    words: Sequence[str]  # of its command line
    screen: Screen
    stop: Stop
    _server: Server = field(default_factory=Server)
    _job: Job | None = None
    _is_stop_told: bool = False

    def follow(self, hello: Hello) -> int:
        """Take part until the job is over. Returns host 0's exit code.

        Raises UserError where host 0 cannot be joined, TrainingError where it is lost or does not come.
        """
        try:
            line = joining.join(self.place, self.secret, lambda: self.stop.signal is not None, self.screen.warn)
        except InterruptedError:
            self.screen.warn("stopped before host 0 was here")
            return self.stop.exit_code(0)
        try:
            line.send(hello)
            over = self._obey(line)
        except OSError as problem:
            raise TrainingError(f"host 0 ({self.place.address}) is lost: {problem}; --resume goes on") from problem
        finally:
            self._end_job()
            line.close()
        self.screen.warn(over.why or f"the job is complete; its results are on host 0 ({self.place.address})")
        return over.code

    def _obey(self, line: "Channel[AnyMessage]") -> Over:
        """Do what host 0 says until the job is over."""
        ear = Ear(line)
        while True:
            message = ear.next(LOOK_S)
            if isinstance(message, Over):
                return message
            if isinstance(message, Start):
                self._start(message)
            if isinstance(message, Signal) and self._job is not None:
                _send(self._job.child, message.number)
            if self.stop.signal is not None and not self._is_stop_told:
                line.send(Signal(number=self.stop.signal))
                self._is_stop_told = True
            self._look_at_job(line)

    def _start(self, start: Start) -> None:
        self._end_job()
        notebook = Notebook()
        seat = seat_of(self.place, self.secret, start.job, start.hosts, start.order.ranks)
        launch = Launch(
            parent=os.getpid(),
            attempt=start.attempt,
            notes=notebook.path,
            begun=start.begun,
            failure=start.failure,
            seat=seat,
        )
        program = program_of(start.order, self.words)
        spawn = self._server.spawn(program) if start.order.program == "turns" else program.start
        try:
            self._job = Job(start.job, spawn(launch), notebook)
        except OSError as problem:
            notebook.__exit__()
            raise TrainingError(f"this host cannot start ranks: {problem.strerror or problem}") from problem

    def _look_at_job(self, line: "Channel[AnyMessage]") -> None:
        """Pass on what the ranks have noted, and that they have ended."""
        job = self._job
        if job is None:
            return
        try:
            code = job.child.wait(timeout=0)
        except subprocess.TimeoutExpired:
            code = None
        for note in job.notebook.read_new():
            line.send(Noted(job=job.number, note=msgspec.Raw(msgspec.json.encode(note))))
        if code is not None:
            line.send(Ended(job=job.number, code=code))
            self._end_job()

    def _end_job(self) -> None:
        """End the ranks that are left: by SIGTERM, and soon by SIGKILL."""
        job, self._job = self._job, None
        if job is None:
            return
        try:
            job.child.wait(timeout=0)
        except subprocess.TimeoutExpired:
            job.child.send_signal(signal.SIGTERM)
            try:
                job.child.wait(timeout=OTHERS_END_S)
            except subprocess.TimeoutExpired:
                job.child.kill()
                job.child.wait()
        job.notebook.__exit__()


def program_of(order: Order, words: Sequence[str]) -> Program:
    """Return the program that carries an order out on this host, whose own command line has these words."""
    own = _own_flags(words)
    if order.program == "ddp_train":
        command = commands.supervised(order.ranks, [*order.words, *own])
    else:
        question = msgspec.json.decode(order.words[0], type=Question)
        told = msgspec.structs.replace(question, flags=[*question.flags, *own])
        text = msgspec.json.encode(told).decode()
        command = [sys.executable, *AGENT, str(order.ranks), "-m", "ddpbench.train.turns", text]
    return Program(command, variables=order.variables)


def _own_flags(words: Sequence[str]) -> list[str]:
    """Return the flags that each host has for itself: where its data lies."""
    found, left = list[str](), iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        if flag == "--data-dir":
            found = [flag, value if equals else next(left, "")]
    return found


def _send(child: Child, number: int) -> None:
    if number == signal.SIGKILL:
        child.kill()
    else:
        child.send_signal(signal.SIGTERM)
