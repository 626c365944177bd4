"""Ranks on two hosts that a person starts by torchrun, without a supervisor."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ddpbench.record import read_record
from tests.conftest import PROJECT
from tests.faults.launching import SHORT, wait_for
from tests.hosts.network import TORCHRUN, Network, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
ONE_RANK = (*TORCHRUN, "--nproc-per-node=1", "--master-port=29511", "--nnodes=2", "--master-addr=10.77.0.1")
TRAIN = ("ddp_train.py", *SHORT, "--precision", "fp64", "--comm", "gloo", "--threads", "1", "--timeout-s", "20")


@pytest.fixture
def network() -> Iterator[Network]:
    if why := missing():
        pytest.skip(why)
    with Network(2) as made:
        yield made


def start(network: Network, host: int, *flags: str, **env: str) -> "subprocess.Popen[str]":
    """Start torchrun on a host."""
    return network.hosts[host].start(*ONE_RANK, f"--node-rank={host}", *TRAIN, *flags, env=env)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit code of torchrun, and the lines of ours that it ended with."""
    _, err = process.communicate(timeout=120)
    return process.returncode, "\n".join(line for line in err.splitlines() if line.startswith("ddp_train.py: "))


def test_two_hosts_find_each_other_and_learn_what_two_ranks_of_one_host_learn(network: Network, tmp_path: Path) -> None:
    apart = [start(network, host, "--results", str(tmp_path / str(host))) for host in (0, 1)]
    assert [ended(process) for process in apart] == [(0, ""), (0, "")]
    together = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", *TRAIN, "--results", str(tmp_path / "together")],
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


@pytest.mark.long
def test_a_host_that_is_lost_is_named_and_a_wrong_interface_is_refused(network: Network, tmp_path: Path) -> None:
    first, second = (start(network, host, "--epochs", "400", "--results", str(tmp_path / str(host))) for host in (0, 1))
    wait_for(lambda: any((tmp_path / "0").glob("*.json")) or first.poll() is not None)
    began = time.monotonic()
    for pid in network.hosts[1].pids():  # its kernel lives, and closes their connections
        os.kill(pid, 9)
    code, said = ended(first)
    second.communicate()

    assert code == 1, "torchrun's own; that of the rank is 4"
    assert "the host 10.77.0.2 closed its connection over eth0: a rank there has ended" in said
    assert time.monotonic() - began < 40, "torchrun's agent waits, too"

    wrong = start(network, 0, "--results", str(tmp_path / "wrong"), GLOO_SOCKET_IFNAME="right")
    other = start(network, 1, "--results", str(tmp_path / "other"), GLOO_SOCKET_IFNAME="lo")
    assert "GLOO_SOCKET_IFNAME=right: this machine has no such interface" in ended(wrong)[1]
    assert "GLOO_SOCKET_IFNAME=lo is loopback" in ended(other)[1]
