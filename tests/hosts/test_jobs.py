"""A job on two hosts from its start over failures and a preemption to its end: nothing is lost, and nothing differs.

Its host 0 has the higher address, interfaces have other names on each host, the name of one host is its own loopback,
that of the other has no address at all, and a bridge has the same address on both.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.launching import Ended, wait_for
from tests.hosts import network
from tests.hosts.jobs import ENDS_WITHIN_S, TRAIN, job, reached, text
from tests.hosts.network import Host, Network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(network.missing()), reason=network.missing() or "hosts can be made"),
]
BOTH = (*TRAIN, "--ranks", "1")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Sequence[Host]]:
    """Two hosts; the first leads."""
    with Network(2) as net:
        known = tmp_path / "hosts"
        known.write_text("127.0.0.1 localhost\n127.0.1.1 host-0\n")
        for host in net.hosts:
            host.know(known)
            host.run("ip", "link", "add", "docker0", "type", "bridge")
            host.run("ip", "address", "add", "172.17.0.1/16", "dev", "docker0")
            host.run("ip", "link", "set", "docker0", "up")
        rename(net.hosts[0], "eno1")
        yield net.hosts[::-1]


def rename(host: Host, name: str) -> None:
    """Give the interface of a host another name."""
    for words in (("eth0", "down"), ("eth0", "name", name), (name, "up")):
        host.run("ip", "link", "set", *words)


def test_nothing_is_lost_by_failures_a_signal_to_another_host_and_another_folder(
    hosts: Sequence[Host],
    tmp_path: Path,
    clean: Ended,
) -> None:
    with job(hosts, tmp_path / "a") as made:
        faults = ("--restarts", "3", "--hook", "tests/hooks/faults.py:kill=1@30,kill=0@60#1")
        for index in (0, 1):
            made.start(index, *BOTH, *faults)
        wait_for(lambda: reached(made.results(0)) > 100, 120)
        for host in hosts:
            assert {address for address, _ in host.listening()} == {host.address}, "nothing else is listened to"
        made.tell(1, 15)
        began = time.monotonic()
        ended = made.end()
        took_s = time.monotonic() - began
    assert ended.codes == [75, 75], ended
    assert took_s < ENDS_WITHIN_S
    assert ended.last[0] == ended.last[1]
    assert "the same command with --resume goes on from there" in ended.last[0]
    assert "rank 1" in ended.first.err
    assert "start 3 of 4 goes on from its newest checkpoint" in text(ended.first), "attempts of both hosts are counted"
    assert not made.results(1).exists(), "host 0 alone writes"

    (tmp_path / "a/0").rename(tmp_path / "0")  # host 1 has another folder than before
    with job(hosts, tmp_path) as made:
        for index in (0, 1):
            made.start(index, *BOTH, "--resume")
        ended = made.end()
    assert ended.codes == [0, 0], ended
    assert ended.first.weights == clean.weights, "two hosts learn what two ranks of one host learn, to the bit"
    assert ended.first.learnt == clean.learnt
    assert ended.first.record.attempts == 4
    assert "the job is complete; its results are on host 0 (10.77.0.2)" in ended.last[1]
