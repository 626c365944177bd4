"""Jobs on hosts that a test has made: how they are started, what they say, and what must hold after each."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.launching import SHORT, Ended, answers, environment, nothing_left
from tests.hosts.network import Host

SECRET = "a secret of this test"
SAVING = ("--checkpoint-every", "10", "--timeout-s", "8")
STEPS = 279  # of a run
TRAIN = ("run", "--comm", "gloo", "--threads", "1", *SHORT, *SAVING)
ENDS_WITHIN_S = 20.0


@dataclass(frozen=True)
class End:
    """How a job ended on each of its hosts."""

    hosts: list[Ended]
    took_s: float  # to wait for it

    @property
    def codes(self) -> list[int]:
        """The exit codes."""
        return [each.code for each in self.hosts]

    @property
    def last(self) -> list[str]:
        """The last line on each host."""
        return [each.cause for each in self.hosts]

    @property
    def first(self) -> Ended:
        """What host 0 has."""
        return self.hosts[0]


@dataclass
class Job:
    """A job whose host 0 is the first of `hosts`, started by the same line on all of them.

    Results of host i go to a folder i below `folder`, unless all `share` the first.
    """

    hosts: Sequence[Host]
    folder: Path
    mark: str
    port: int = 29400
    address: str = ""  # of host 0; "": that of the first host
    share: bool = False
    processes: "list[subprocess.Popen[str]]" = field(default_factory=list)
    _heard: dict[int, str] = field(default_factory=dict)  # of stderr, by host, before the end

    def start(self, index: int, *words: str, **env: str) -> None:
        """Start the command on the next host, as host `index`."""
        shape = {"NNODES": str(len(self.hosts)), "NODE_RANK": str(index), "MASTER_PORT": str(self.port)}
        who = {"MASTER_ADDR": self.address or self.hosts[0].address, "DDPBENCH_SECRET": SECRET}
        host = self.hosts[len(self.processes)]
        command = [sys.executable, "-m", "ddpbench", *words, "--results", str(self.results(len(self.processes)))]
        self.processes.append(host.start(*command, env={**environment(self.mark), **shape, **who, **env}))

    def results(self, index: int) -> Path:
        """The folder of results of a host."""
        return self.folder / ("0" if self.share else str(index))

    def tell(self, index: int, number: int) -> None:
        """Send a signal to the command on a host."""
        self.hosts[index].tell(self.processes[index], number)

    def hear(self, index: int, words: str) -> None:
        """Wait until a host says a line with these words on stderr."""
        stderr, heard = self.processes[index].stderr, ""
        assert stderr is not None
        while words not in heard:
            some = os.read(stderr.fileno(), 4096).decode()  # what a reader of lines keeps, `end` would not get
            assert some, f"host {index} never said {words}: {heard}"
            heard += some
        self._heard[index] = self._heard.get(index, "") + heard

    def ranks(self, index: int, script: str = "ddp_train.py") -> list[psutil.Process]:
        """Return the ranks that train on a host."""
        return [each for each in self._with_word(index, script) if "ddpbench.train.agent" not in each.cmdline()]

    def agent(self, index: int) -> list[psutil.Process]:
        """Return torchrun's agent on a host."""
        return self._with_word(index, "ddpbench.train.agent")

    def _with_word(self, index: int, word: str) -> list[psutil.Process]:
        """Return the processes on a host of which a word ends so. A rank's watchdog is none of them."""
        found = []
        for pid in self.hosts[index].pids():
            with contextlib.suppress(psutil.Error):  # it has just ended
                process = psutil.Process(pid)
                is_one = process.name() != "watchdog" and any(each.endswith(word) for each in process.cmdline())
                found += [process] if is_one else []
        return found

    def end(self, timeout_s: float = 150) -> End:
        """Wait until it has ended on all hosts that still are there."""
        began, ended = time.monotonic(), []
        for index, process in enumerate(self.processes):
            out, err = process.communicate(timeout=max(1.0, began + timeout_s - time.monotonic()))
            ended.append(Ended.of(process.returncode, out, self._heard.get(index, "") + err, self.results(index)))
        return End(ended, time.monotonic() - began)


@contextmanager
def job(
    hosts: Sequence[Host], folder: Path, port: int = 29400, address: str = "", *, share: bool = False
) -> Iterator[Job]:
    """Make a job. In the end nothing of it may be left: no process, no shared memory, no half-written file."""
    with nothing_left(folder, within_s=10) as mark:
        made = Job(hosts, folder, mark, port, address, share)
        try:
            yield made
        finally:
            for process in made.processes:
                if process.returncode is None:
                    answers(psutil.Process(process.pid).children(recursive=True), psutil.Process.kill)
                    print(*process.communicate(), sep="\n")  # of a test that has failed: pytest shows it
    for host in hosts:
        if host.init.poll() is None:
            assert host.run("ls", "-A", "/dev/shm") == ""


def reached(results: Path) -> int:
    """Return the steps that the newest checkpoint has."""
    names = sorted(path.name for path in results.glob("*.checkpoint/[0-9]*"))
    if not names:
        return 0
    epoch, step = map(int, names[-1].partition(".")[0].split("-"))
    return (epoch - 1) * (STEPS // 3) + step


def text(ended: Ended) -> str:
    """Return all that a host has said, without line breaks: long lines are broken where a terminal ends."""
    return " ".join((ended.out + ended.err).split())
