"""Hosts on one machine: namespaces with a network, processes, a name and a /dev/shm of their own, joined by a switch.

A `Network` has a switch, which is a bridge in a namespace of its own, and hosts at 10.77.0.1, 10.77.0.2 and so on. Each
host has an interface `eth0`, loopback, a host name, and one core where that is asked for. The kernel's token bucket
filter (tc-tbf(8)) limits the rate in both directions. Nothing of it is in the machine's own namespaces, and all of it
ends with the `with` block, however that ends.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from tests.conftest import PROJECT

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
KINDS = ("--net", "--pid", "--uts", "--ipc", "--mount")  # of namespaces
HOLD = "mount -t tmpfs none /dev/shm && ip link set lo up && hostname {name} && echo made && exec sleep infinity"


@cache
def missing() -> str:
    """Return why hosts cannot be made here; "" where they can."""
    try:
        with Network(1):
            return ""
    except (OSError, subprocess.CalledProcessError):
        return "only root, with ip and tc of iproute2, can make hosts in namespaces"


@dataclass(frozen=True)
class Host:
    """One host: what is started on it ends with it."""

    index: int
    init: "subprocess.Popen[str]"  # unshare, whose child is process 1 of the host
    cores: str | None = None  # that its processes may use, as taskset names them; None: all

    @property
    def name(self) -> str:
        """Its host name."""
        return f"host-{self.index}"

    @property
    def address(self) -> str:
        """Its address on the network."""
        return address_of(self.index)

    @property
    def pid(self) -> int:
        """The process that is number 1 on the host, as this machine numbers it."""
        return int(Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()[0])

    def command(self, *words: str | Path) -> list[str]:
        """Return the command that runs `words` on this host, in the project's folder."""
        bound = [] if self.cores is None else ["taskset", "--cpu-list", self.cores]
        enter = ["nsenter", "--target", str(self.pid), *KINDS, f"--wd={PROJECT}", "--"]
        return [*bound, *enter, *map(str, words)]

    def start(self, *words: str | Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a program on this host. What it prints is kept."""
        return subprocess.Popen(
            self.command(*words),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str | Path, check: bool = True) -> str:
        """Run a program on this host to its end. Returns what it prints."""
        return subprocess.run(self.command(*words), check=check, capture_output=True, text=True).stdout

    def pids(self) -> list[int]:
        """Return the processes that run on this host, as this machine numbers them."""
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "ns/pid").readlink() == own and int(process.name) != self.pid:
                    found.append(int(process.name))
            except OSError:  # it has just ended
                continue
        return found

    def tell(self, process: "subprocess.Popen[str]", number: int) -> None:
        """Send a signal to a program that was started here. Its parent, nsenter, would keep it for itself."""
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), number)

    def know(self, path: Path) -> None:
        """Let this file be /etc/hosts of this host. What is written into it later counts at once."""
        self.run("mount", "--bind", path, "/etc/hosts")

    def listening(self) -> set[tuple[str, int]]:
        """Return the addresses and ports at which programs of this host listen."""
        lines = self.run("ss", "--tcp", "--listening", "--numeric", "--no-header").splitlines()
        found = [line.split()[3].rpartition(":") for line in lines]
        return {(address.partition("%")[0].strip("[]"), int(port)) for address, _, port in found}

    def kill(self) -> None:
        """Lose this host at once: its power is gone. No process says good-bye, and no packet leaves any more."""
        self.run("ip", "link", "set", "eth0", "down")
        os.kill(self.pid, 9)  # the kernel ends all others with it
        self.init.wait()

    def end(self) -> None:
        """End all that runs on this host."""
        self.init.kill()
        self.init.communicate()


@dataclass
class Network:
    """Hosts that a switch joins. `rate` is that of every link, as tc names it: 1gbit. None: no limit."""

    size: int
    rate: str | None = None
    cores: Sequence[str] | None = None  # of each host; None: all of this machine's
    hosts: list[Host] = field(default_factory=list)

    def __enter__(self) -> Self:
        try:
            self._switch = _made("switch")
            self._on_switch("ip", "link", "add", "bridge", "type", "bridge")
            self._on_switch("ip", "link", "set", "bridge", "up")
            for index in range(self.size):
                self.add(index)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in [*self.hosts, *filter(None, [getattr(self, "_switch", None)])]:
            host.end()

    def add(self, index: int) -> Host:
        """Connect another host; in the place of one that was killed, where the index is not new."""
        made = _made(f"host-{index}", index, None if self.cores is None else self.cores[index])
        for before in [each for each in self.hosts if each.index == index]:
            before.end()
            self.hosts.remove(before)
            self._on_switch("ip", "link", "delete", f"port{index}", check=False)  # the kernel is slower than a test
        self.hosts.insert(index, made)
        port = f"port{index}"
        pids = (str(self._switch.pid), str(made.pid))
        peer = ("peer", "name", "eth0", "netns", pids[1])
        self._on_switch("ip", "link", "add", port, "type", "veth", *peer)
        self._on_switch("ip", "link", "set", port, "master", "bridge", "up")
        made.run("ip", "address", "add", f"{made.address}/24", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        if self.rate is not None:
            self.shape(made, port, self.rate)
        return made

    def shape(self, host: Host, port: str, rate: str) -> None:
        """Limit the rate of a host's link in both directions."""
        limit = ("root", "tbf", "rate", rate, "burst", "128kb", "latency", "50ms")
        host.run("tc", "qdisc", "replace", "dev", "eth0", *limit)
        self._on_switch("tc", "qdisc", "replace", "dev", port, *limit)

    def part(self, host: Host) -> None:
        """Cut a host off: packets are lost in both directions, and nobody is told."""
        self._set_port(host, "down")

    def join(self, host: Host) -> None:
        """Connect a host again that was cut off."""
        self._set_port(host, "up")

    def _set_port(self, host: Host, how: str) -> None:
        self._on_switch("ip", "link", "set", f"port{host.index}", how)

    def _on_switch(self, *words: str, check: bool = True) -> None:
        """Run a command that sees the switch's network, and this machine's processes: hosts are named by theirs."""
        subprocess.run(["nsenter", "--target", str(self._switch.pid), "--net", "--", *words], check=check)


def address_of(index: int) -> str:
    """Return the address of a host on its network."""
    return f"10.77.0.{index + 1}"


def names(folder: Path, size: int) -> Path:
    """Return a file as /etc/hosts, with the names and addresses of so many hosts."""
    path = folder / "hosts"
    path.write_text("".join(f"{address_of(each)} host-{each}\n" for each in range(size)) + "127.0.0.1 localhost\n")
    return path


def _made(name: str, index: int = 0, cores: str | None = None) -> Host:
    with tempfile.TemporaryFile("w+") as errors:
        init = subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "unshare",
                *KINDS,
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                HOLD.format(name=name),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert init.stdout is not None
        if init.stdout.readline() != "made\n":
            init.kill()
            init.communicate()
            errors.seek(0)
            raise OSError(errors.read())
    return Host(index, init, cores)
