"""`bash launch.sh check` on several hosts: real ones, in namespaces, with what goes wrong between hosts."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from ddpbench import link, processes
from ddpbench.check.overview import HostsReport
from ddpbench.check.pairs import HostsFinding
from tests.conftest import PROJECT
from tests.hosts import network
from tests.hosts.network import Host, Network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(network.missing() != "", reason=network.missing() or "hosts can be made"),
]
SECRET = "a secret of this test"
DOCKER = ("ip link add docker0 type bridge", "ip address add 172.17.0.1/16 dev docker0", "ip link set docker0 up")


def start(host: Host, count: int, *words: str | Path, **variables: str) -> "subprocess.Popen[str]":
    told = {"NNODES": str(count), "NODE_RANK": str(host.index), "MASTER_ADDR": network.address_of(0)}
    return host.start("bash", "launch.sh", "check", *words, env={**told, "DDPBENCH_SECRET": SECRET, **variables})


def do(host: Host, line: str) -> None:
    """Run a line on a host."""
    host.run(*line.split())


def check(
    net: Network, folder: Path, words: Mapping[int, Sequence[str | Path]] | None = None, **variables: str
) -> tuple[HostsReport, dict[str, HostsFinding]]:
    """Let all hosts check, and return host 0's report and its findings by name. All end alike."""
    started = [
        start(
            host,
            net.size,
            "--json",
            "--results",
            folder / str(host.index),
            *(words or {}).get(host.index, ()),
            **variables,
        )
        for host in net.hosts
    ]
    said = [process.communicate(timeout=300) for process in started]
    made = msgspec.json.decode(said[0][0], type=HostsReport)

    assert {process.returncode for process in started} == {made.exit_code}, said
    assert len({errors.splitlines()[-1] for _, errors in said}) == 1
    assert [output for output, _ in said[1:]] == [""] * (net.size - 1)
    return made, {finding.name: finding for finding in made.findings}


def damaged_data(folder: Path) -> Path:
    """Return a folder with a file of MNIST that has another content."""
    file = folder / "MNIST/raw/t10k-labels-idx1-ubyte"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"?" * 10_008)
    return folder


def test_two_hosts_are_told_what_each_has_what_repeats_and_how_fast_they_exchange_data(tmp_path: Path) -> None:
    with Network(2) as net:
        for host in net.hosts:
            for line in DOCKER:
                do(host, line)
        made, findings = check(net, tmp_path, {1: ("--data-dir", damaged_data(tmp_path / "data"))})

    assert [host.index for host in made.hosts] == [0, 1]
    ways = [host.seen.way for host in made.hosts if host.seen is not None]
    assert [(way.interface, way.address, way.family, way.mtu) for way in ways] == [
        ("eth0", "10.77.0.1", "IPv4", 1500),
        ("eth0", "10.77.0.2", "IPv4", 1500),
    ]
    assert {name for name in ("hosts", "same", "route", "MTU", "clocks") if findings[name].level != "ok"} == set()
    assert "docker0 172.17.0.1 (on hosts 0, 1)" in findings["unusable"].found
    assert (findings["data"].level, findings["data"].hosts) == ("problem", [1])
    assert made.exit_code == 30
    assert [(pair.hosts, pair.comm, pair.trouble) for pair in made.pairs][:1] == [((0, 1), "gloo", None)]
    measured = link.read(tmp_path / "0/link.json")
    assert {each.size_bytes for each in measured.exchanges} >= {4 * 2**10, 25 * 2**20}
    assert {(each.hosts, each.ranks_per_host) for each in measured.exchanges if each.comm == "gloo"} == {(2, 1)}
    assert not (tmp_path / "1").exists()


def test_a_host_with_other_code_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text((PROJECT / "ddpbench/words.py").read_text() + "# changed\n")
    with Network(2) as net:
        net.hosts[1].run("mount", "--bind", tmp_path / "words.py", "ddpbench/words.py")
        made, findings = check(net, tmp_path)

    assert made.exit_code == 30
    assert (findings["code"].level, findings["code"].hosts) == ("problem", [1])
    assert made.pairs == []


def test_a_host_that_is_late_is_worth_another_try(tmp_path: Path) -> None:
    with Network(2) as net:
        alone = [start(host, 3, "--join-s", "2", "--results", tmp_path) for host in net.hosts[:1]]
        alone.append(start(net.hosts[1], 3, "--join-s", "2", MASTER_ADDR="10.77.0.9"))
        said = [(*process.communicate(timeout=60), process.returncode) for process in alone]

    assert [code for _, _, code in said] == [20, 20]
    assert "hosts 1, 2 did not come within 2 s" in said[0][0]
    assert "host 0 at 10.77.0.9 port 29400 did not come within 2 s" in said[1][0]


@pytest.mark.long
def test_large_packets_that_are_lost_are_told_from_a_slow_network(tmp_path: Path) -> None:
    """Hosts send packets of 9,000 bytes, and the switch drops those above 1,500 without a word."""
    with Network(2) as net:
        for host in net.hosts:
            do(host, "ip link set dev eth0 mtu 9000 gso_max_segs 1 gso_max_size 9000")
        made, findings = check(net, tmp_path)

    assert findings["gloo"].level == "problem"
    assert re.search(
        r"\d KiB took [\d.]+ ms, (\d+ KiB did not come within 1\d s|the connection broke at)", findings["gloo"].found
    )
    assert "mtu" in (findings["gloo"].cure or "")
    assert made.exit_code == 30
    assert not (tmp_path / "0/link.json").exists()


@pytest.mark.long
def test_hosts_with_different_mtu_are_named(tmp_path: Path) -> None:
    with Network(2) as net:
        do(net.hosts[1], "ip link set dev eth0 mtu 9000")
        _, findings = check(net, tmp_path)

    assert findings["MTU"].level == "warning"
    assert "host 1: 9000 bytes" in findings["MTU"].found


@pytest.mark.long
def test_the_slowest_pair_and_the_host_with_another_flag_are_named(tmp_path: Path) -> None:
    with Network(3) as net:
        net.shape(net.hosts[2], "port2", "10mbit")
        made, findings = check(net, tmp_path, {2: ("--json",)})

    assert findings["gloo"].level == "warning"
    assert "host 2" in (findings["gloo"].cure or "")
    assert findings["command"].hosts == [2]
    assert len([pair for pair in made.pairs if pair.comm == "gloo"]) == 3


@pytest.mark.long
def test_a_check_that_is_interrupted_on_host_0_ends_on_all_hosts(tmp_path: Path) -> None:
    with Network(2) as net:
        first, second = (start(host, 2, "--results", tmp_path / str(host.index)) for host in net.hosts)
        time.sleep(8)  # they look at themselves, or exchange data
        net.hosts[0].tell(first, signal.SIGINT)
        output = second.communicate(timeout=15)[0]
        first.communicate(timeout=15)
        time.sleep(1)
        # The first process of such a host takes no notice of others that have ended.
        left = [pid for host in net.hosts for pid in host.pids() if processes.state(pid) != "ended"]

    assert (first.returncode, second.returncode) == (130, 20)
    assert "ended on host 0" in output
    assert left == []


@pytest.mark.long
def test_two_interfaces_in_one_network_and_a_clock_that_is_off_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; real = time.time; time.time = lambda: real() + 3\n")
    with Network(2) as net:
        do(net.hosts[1], "ip link add eth1 type bridge")
        do(net.hosts[1], "ip address add 10.77.0.200/24 dev eth1")
        do(net.hosts[1], "ip link set eth1 up")
        words = ("--json", "--results", tmp_path / "results")
        first = start(net.hosts[0], 2, *words)
        second = start(net.hosts[1], 2, *words, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        output = first.communicate(timeout=120)[0]
        second.communicate(timeout=60)
    findings = {each.name: each for each in msgspec.json.decode(output, type=HostsReport).findings}

    assert findings["networks"].hosts == [1]
    assert "eth0 and eth1 share 10.77.0.0/24" in findings["networks"].found
    assert findings["clocks"].hosts == [1]
    assert "3.0 s ahead of host 0's" in findings["clocks"].found
