"""Jobs among strangers, behind a firewall, over IPv6 alone, on one shared folder, on three hosts and on eight.

Each takes half a minute or more: all are long.
"""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.launching import Ended, wait_for
from tests.hosts import network
from tests.hosts.jobs import ENDS_WITHIN_S, TRAIN, job, reached, text
from tests.hosts.network import Network

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(500),
    pytest.mark.skipif(bool(network.missing()), reason=network.missing() or "hosts can be made"),
]
BOTH = (*TRAIN, "--ranks", "1", "--restarts", "1")
SLOW = ("--hook", "tests/hooks/slow.py:0.05")
# It says to every port: a pickle that makes a file, a message of torch's store, and much that means nothing.
STRANGER = """
import os, socket, sys, time
folder, *ports = sys.argv[1:]
said = [f"cos\\nsystem\\n(S'touch {folder}/run'\\ntR.".encode(), b"\\x00\\x01\\x00key", os.urandom(4096), bytes(64)]
held, refused = [], 0
for number in range(400):
    address, _, port = ports[number % len(ports)].rpartition(":")
    try:
        held.append(socket.create_connection((address, int(port)), 1))
        held[-1].sendall(said[number // len(ports) % len(said)])
    except OSError:
        refused += 1
    time.sleep(0.005)
print(len(held), "connections,", refused, "were not taken")
"""


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(3) as made:
        yield made


def test_a_stranger_on_the_network_cannot_join_nor_run_code(net: Network, tmp_path: Path, clean: Ended) -> None:
    hosts, stranger = net.hosts[:2], net.hosts[2]
    with job(hosts, tmp_path / "results") as made:
        for index in (0, 1):
            made.start(index, *BOTH, *SLOW)
        wait_for(lambda: reached(made.results(0)) > 20, 120)
        heard = [f"{address}:{port}" for host in hosts for address, port in host.listening()]
        assert "10.77.0.1:29400" in heard
        assert {each.rpartition(":")[0] for each in heard} <= {"10.77.0.1", "10.77.0.2"}, "and no other address"
        said = stranger.run(sys.executable, "-c", STRANGER, str(tmp_path), *heard)
        assert "connections" in said
        ended = made.end()
    assert ended.codes == [0, 0], ended
    assert ended.first.weights == clean.weights
    assert not (tmp_path / "run").exists(), "nothing that a stranger has sent is run"
    assert "what connected from 10.77.0.3 does not know DDPBENCH_SECRET, and was refused" in text(ended.first)
    assert ended.first.record.world_size == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("^lo", "GLOO_SOCKET_IFNAME=^lo: this machine has no such interface, and gloo takes one exact name"),
        ("eth9", "GLOO_SOCKET_IFNAME=eth9: this machine has no such interface"),
        ("lo", "GLOO_SOCKET_IFNAME=lo is loopback, which no other host reaches"),
    ],
)
def test_an_interface_that_is_not_there_is_named_on_both_hosts(
    net: Network, tmp_path: Path, given: str, said: str
) -> None:
    with job(net.hosts[:2], tmp_path) as made:
        made.start(0, *BOTH)
        made.start(1, *BOTH, GLOO_SOCKET_IFNAME=given)
        ended = made.end()
    assert ended.codes == [2, 2], ended
    assert ended.last[0] == ended.last[1]
    assert said in text(ended.first)


def test_a_firewall_that_leaves_one_port_open_is_told_from_a_host_that_is_lost(net: Network, tmp_path: Path) -> None:
    drop = ("iptables", "--append", "INPUT", "--protocol", "tcp", "--syn", "!", "--dport", "29400")
    for host in net.hosts[:2]:
        host.run(*drop, "--jump", "REJECT", "--reject-with", "tcp-reset")
    with job(net.hosts[:2], tmp_path) as made:
        for index in (0, 1):
            made.start(index, *BOTH)
        ended = made.end()
    assert ended.codes == [4, 4], ended
    assert ended.last[0] == ended.last[1]
    assert "need the ports that the kernel gives (ip_local_port_range) open between them" in text(ended.first)


def test_hosts_that_have_ipv6_alone_train(net: Network, tmp_path: Path, clean: Ended) -> None:
    for index, host in enumerate(net.hosts[:2]):
        host.run("ip", "address", "flush", "dev", "eth0")
        host.run("ip", "address", "add", f"fd77::{index + 1}/64", "dev", "eth0", "nodad")
    with job(net.hosts[:2], tmp_path, address="fd77::1") as made:
        for index in (0, 1):
            made.start(index, *BOTH)
        ended = made.end()
    assert ended.codes == [0, 0], ended
    assert ended.first.weights == clean.weights


def test_a_folder_that_hosts_share_has_one_writer(net: Network, tmp_path: Path, clean: Ended) -> None:
    for words in (SLOW, ("--resume",)):
        with job(net.hosts[:2], tmp_path, share=True) as made:
            for index in (0, 1):
                made.start(index, *BOTH, *words)
            if words == SLOW:
                wait_for(lambda: reached(made.results(1)) > 60, 120)
                made.tell(1, signal.SIGTERM)
            ended = made.end()
        assert ended.codes == ([75, 75] if words == SLOW else [0, 0]), ended
    assert len([*(tmp_path / "0").glob("*.json")]) == 1
    assert ended.first.weights == clean.weights


def test_three_hosts_all_say_which_one_is_lost(net: Network, tmp_path: Path) -> None:
    with job(net.hosts[:], tmp_path) as made:
        for index in range(3):
            made.start(index, *BOTH, *SLOW, "--global-batch", "66")
        wait_for(lambda: reached(made.results(0)) > 20, 150)
        began = time.monotonic()
        net.hosts[1].kill()
        made.processes[1].kill()
        for index in (0, 2):
            made.processes[index].wait(ENDS_WITHIN_S + 10)
        assert time.monotonic() - began < ENDS_WITHIN_S
        ended = made.end()
    assert (ended.codes[0], ended.codes[2]) == (4, 4)
    assert ended.last[0] == ended.last[2]
    assert "host 1 (10.77.0.2) is lost: " in text(ended.hosts[2])


def test_eight_hosts_that_sleep_where_others_compute_learn_the_same(tmp_path: Path) -> None:
    """Their sockets are real. The ranks themselves compare their weights at every checkpoint."""
    with Network(8) as net, job(net.hosts[:], tmp_path) as made:
        for index in range(8):
            made.start(index, *TRAIN, "--timeout-s", "60", "--ranks", "1", "--hook", "tests/hooks/slow.py:0.02")
        ended = made.end(400)
    assert ended.codes == [0] * 8, ended
    record = ended.first.record
    assert (record.world_size, record.hosts) == (8, 8)
    assert all("the job is complete" in last for last in ended.last[1:])
