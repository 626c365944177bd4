"""Over which network interface the ranks of several hosts meet: the one that leads to host 0."""

import ipaddress
import re
import socket

import psutil

from ddpbench.errors import UserError


def interface_to(host: str) -> str:
    """Return the name of the interface by which this machine reaches a host, which may be this machine itself.

    No packet is sent: a UDP socket that connects asks the kernel for the route alone (udp(7)). Raises UserError where
    the host has no address, where no route leads to it, and where the route ends on this machine's loopback.
    """
    own = own_address(host)
    if ipaddress.ip_address(own).is_loopback:
        raise UserError(
            f"MASTER_ADDR {host} leads to {own} on this machine, which no other host reaches; give torchrun "
            "--master-addr an address of host 0 that every host reaches"
        )
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == own for each in addresses):
            return str(name)
    raise UserError(f"no interface of this machine has the address {own}; name one: GLOO_SOCKET_IFNAME=eth0")


def require(name: str) -> str:
    """Return the name of an interface. Raises UserError where this machine has none, or where it is loopback."""
    there = psutil.net_if_addrs()
    if name not in there:
        raise UserError(
            f"GLOO_SOCKET_IFNAME={name}: this machine has no such interface, and gloo takes one exact name; "
            f"there are {', '.join(there)}"
        )
    if any(each.address in ("127.0.0.1", "::1") for each in there[name]):
        raise UserError(f"GLOO_SOCKET_IFNAME={name} is loopback, which no other host reaches; leave it unset")
    return name


def why_apart(problem: Exception, interface: str) -> tuple[str, bool]:
    """Return why ranks of several hosts do not meet, or no longer, in one line, and whether one is only late.

    It is read from an error of gloo or of a store.
    """
    text = str(problem)
    addresses = re.findall(r"\[([\da-fA-F.:]+)\]:\d+", text)  # of gloo's messages the last is the other host's
    host = f"the host {addresses[-1]}" if addresses else "another host"
    if "connectFullMesh" in text or "onnection refused" in text:
        return (
            f"{host} cannot be reached over {interface}; ranks of several hosts need the ports that the kernel gives "
            "(ip_local_port_range) open between them, beside that of host 0",
            False,
        )
    if "Timed out" in text or "timeout" in text.lower():
        return f"{host} did not answer in time over {interface}; look whether its ranks run (--timeout-s)", True
    return f"{host} closed its connection over {interface}: a rank there has ended, and its last lines say why", False


def own_address(host: str) -> str:
    """Return the address that this machine would send from. Raises UserError where the host cannot be reached.

    Loopback counts only where a host has no other address: /etc/hosts may have 127.0.1.1 for its own name.
    """
    problem: OSError | None = None
    own = list[str]()
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.connect(address)
                    own.append(str(probe.getsockname()[0]).partition("%")[0])
            except OSError as why:
                problem = why
    except OSError as why:
        problem = why
    if own:
        return next((each for each in own if not ipaddress.ip_address(each).is_loopback), own[0])
    raise UserError(f"MASTER_ADDR {host!r} cannot be reached from here: {problem}; look at the name and the route")
