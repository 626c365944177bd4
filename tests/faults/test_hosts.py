"""Ranks on two hosts: network namespaces that virtual interfaces join, each with torchrun started by hand."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ddpbench.record import read_record
from tests.conftest import PROJECT
from tests.faults.launching import SHORT, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", "--master-port=29511")
TRAIN = ("ddp_train.py", *SHORT, "--precision", "fp64", "--comm", "gloo", "--threads", "1", "--timeout-s", "20")


@dataclass(frozen=True)
class Hosts:
    """Two hosts, at 10.77.0.1 and 10.77.0.2, whose interfaces have different names."""

    names: tuple[str, str]

    def start(self, host: int, *flags: str, nodes: int = 2, **env: str) -> "subprocess.Popen[str]":
        """Start torchrun on a host."""
        shape = (f"--nnodes={nodes}", f"--node-rank={host}", "--master-addr=10.77.0.1")
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[host], *TORCHRUN, *shape, *TRAIN, *flags],
            cwd=PROJECT,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, host: int) -> None:
        """Kill all that runs on a host."""
        pids = subprocess.run(["ip", "netns", "pids", self.names[host]], capture_output=True, text=True).stdout.split()
        for pid in pids:
            os.kill(int(pid), 9)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made, names = [], (f"ddp-a-{os.getpid()}", f"ddp-b-{os.getpid()}")
    if shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", names[0]], capture_output=True).returncode:
        pytest.skip("only root, with ip of iproute2, can make network namespaces")
    made.append(names[0])
    try:
        subprocess.run(["ip", "netns", "add", names[1]], check=True)
        made.append(names[1])
        both = ("ip", "link", "add", "left", "netns", names[0], "type", "veth", "peer", "right", "netns", names[1])
        subprocess.run(both, check=True)
        for name, link, address in zip(names, ("left", "right"), ("10.77.0.1/24", "10.77.0.2/24"), strict=True):
            for words in (
                ("addr", "add", address, "dev", link),
                ("link", "set", "lo", "up"),
                ("link", "set", link, "up"),
            ):
                subprocess.run(["ip", "-n", name, *words], check=True)
        yield Hosts(names)
    finally:
        for host, name in enumerate(made):
            Hosts(names).end(host)
            subprocess.run(["ip", "netns", "del", name], check=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit code of torchrun, and the lines of ours that it ended with."""
    _, err = process.communicate(timeout=120)
    return process.returncode, "\n".join(line for line in err.splitlines() if line.startswith("ddp_train.py: "))


def test_two_hosts_find_each_other_and_learn_what_two_ranks_of_one_host_learn(hosts: Hosts, tmp_path: Path) -> None:
    apart = [hosts.start(host, "--results", str(tmp_path / str(host))) for host in (0, 1)]
    assert [ended(process) for process in apart] == [(0, ""), (0, "")]
    together = subprocess.run(
        [*TORCHRUN[:-2], "--nproc-per-node=2", *TRAIN, "--results", str(tmp_path / "together")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert together.returncode == 0, together.stderr

    (two,), (one,) = ([*(tmp_path / name).glob("*.safetensors")] for name in ("0", "together"))
    record = read_record(next((tmp_path / "0").glob("*.json")))
    assert (record.world_size, record.comm) == (2, "gloo")
    assert [*(tmp_path / "1").glob("*")] == [], "host 0 writes"
    weights, alone = load_file(two), load_file(one)
    assert max(float((weights[name] - alone[name]).abs().max()) for name in alone) < 1e-10


def test_a_host_that_is_lost_is_named_and_a_wrong_interface_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    first, second = (hosts.start(host, "--epochs", "400", "--results", str(tmp_path / str(host))) for host in (0, 1))
    wait_for(lambda: any((tmp_path / "0").glob("*.json")) or first.poll() is not None)
    began = time.monotonic()
    hosts.end(1)
    code, said = ended(first)
    second.communicate()

    assert code == 1, "torchrun's own; that of the rank is 4"
    assert "the host 10.77.0.2 closed its connection over left: a rank there has ended" in said
    assert time.monotonic() - began < 40, "torchrun's agent waits, too"

    wrong = hosts.start(0, "--results", str(tmp_path / "wrong"), GLOO_SOCKET_IFNAME="right")
    other = hosts.start(1, "--results", str(tmp_path / "other"), GLOO_SOCKET_IFNAME="lo")
    assert "GLOO_SOCKET_IFNAME=right: this machine has no such interface" in ended(wrong)[1]
    assert "GLOO_SOCKET_IFNAME=lo is loopback" in ended(other)[1]
