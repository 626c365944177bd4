"""Over which interface ranks of several hosts meet, and what is said where they do not."""

import socket
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from ddpbench.comm import links
from ddpbench.errors import UserError

THERE = {
    "lo": [SimpleNamespace(address="127.0.0.1"), SimpleNamespace(address="::1")],
    "eth0": [SimpleNamespace(address="02:42:ac:11:00:02"), SimpleNamespace(address="192.0.2.7")],
    "ib0": [SimpleNamespace(address="fe80::1%ib0")],
}


@pytest.fixture(autouse=True)
def interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: THERE)


@pytest.mark.parametrize(("own", "name"), [("192.0.2.7", "eth0"), ("fe80::1", "ib0")])
def test_it_is_the_interface_from_whose_address_this_machine_would_send(
    own: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "own_address", lambda _: own)

    assert links.interface_to("host-0") == name


def test_a_route_that_ends_on_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian gives a machine's own name the address 127.0.1.1."""
    with pytest.raises(UserError, match=r"MASTER_ADDR 127\.0\.1\.1 leads to 127\.\d\.\d\.1 on this machine, which no"):
        links.interface_to("127.0.1.1")
    monkeypatch.setattr(links, "own_address", lambda _: "198.51.100.1")
    with pytest.raises(UserError, match=r"no interface of this machine has the address 198\.51\.100\.1"):
        links.interface_to("host-0")


def test_a_host_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        UserError, match=r"MASTER_ADDR 'host-9' cannot be reached from here: .*Name or service not known"
    ):
        links.interface_to("host-9")


def test_loopback_counts_only_where_a_host_has_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /etc/hosts has both 127.0.1.1 and another address for the name of this machine."""
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, 1)) for address in ("127.0.1.1", "192.0.2.7")]

    class Probe(socket.socket):
        def connect(self, address: Any) -> None:
            self.own = address

        def getsockname(self) -> Any:
            return self.own

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", Probe)
    assert links.interface_to("host-0") == "eth0"
    del found[1]
    with pytest.raises(UserError, match=r"MASTER_ADDR host-0 leads to 127\.0\.1\.1"):
        links.interface_to("host-0")


def test_a_name_that_is_given_must_be_one_interface_that_others_reach() -> None:
    assert links.require("eth0") == "eth0"
    with pytest.raises(
        UserError, match=r"GLOO_SOCKET_IFNAME=\^lo: this machine has no such .* there are lo, eth0, ib0"
    ):
        links.require("^lo")
    with pytest.raises(UserError, match="GLOO_SOCKET_IFNAME=lo is loopback, which no other host reaches"):
        links.require("lo")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Gloo connectFullMesh failed with [gloo/transport/tcp/pair.cc:152] timed out connecting: SO_ERROR: "
            "Connection refused, remote=[192.0.2.8]:22449$1",
            "the host 192.0.2.8 cannot be reached over eth0; ranks of several hosts need the ports",
        ),
        (
            "[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 20000ms for recv operation to complete",
            "another host did not answer in time over eth0",
        ),
        (
            "[gloo/transport/tcp/pair.cc:545] Read error [10.77.0.2]:47775: Connection reset by peer.",
            "the host 10.77.0.2 closed its connection over eth0: a rank there has ended",
        ),
        (
            "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [fe80::2]:7",
            "the host fe80::2 closed its connection over eth0",
        ),
    ],
)
def test_an_error_of_gloo_names_the_host_and_what_to_look_at(text: str, said: str) -> None:
    assert links.why_apart(RuntimeError(text), "eth0")[0].startswith(said)
