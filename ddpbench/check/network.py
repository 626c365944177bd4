"""The network as a host sees it: its interfaces, and the way to host 0."""

import ipaddress
from collections.abc import Mapping

import psutil

from ddpbench.check.gathered import Interface, Way
from ddpbench.comm import links
from ddpbench.errors import UserError

GIVEN = "GLOO_SOCKET_IFNAME"
Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def interfaces() -> list[Interface]:
    """Return the interfaces of this host that are up, without loopback."""
    found, states = [], psutil.net_if_stats()
    for name, every in psutil.net_if_addrs().items():
        parsed = [address for each in every if (address := address_of(each.address, each.netmask)) is not None]
        state = states.get(name)
        if parsed and not any(each.ip.is_loopback for each in parsed) and (state is None or state.isup):
            mtu = state.mtu if state is not None and state.mtu > 0 else None
            found.append(Interface(name=name, addresses=[str(each) for each in parsed], mtu=mtu))
    return found


def way_to(host_0: str, variables: Mapping[str, str]) -> Way:
    """Return how ranks of this host would reach host 0."""
    given = variables.get(GIVEN)
    try:
        name = links.require(given) if given else links.interface_to(host_0)
    except UserError as problem:
        return Way(is_given=bool(given), problem=str(problem))
    there = {each.name: each for each in interfaces()}.get(name)
    addresses = [] if there is None else [ipaddress.ip_interface(each).ip for each in there.addresses]
    if there is None or not addresses:
        return Way(interface=name, is_given=bool(given), problem=f"{name} has no address")
    chosen = addresses[0]
    if not given:
        own = ipaddress.ip_address(links.own_address(host_0))
        chosen = next((each for each in addresses if each == own), chosen)
    return Way(
        interface=name,
        address=str(chosen),
        family="IPv4" if chosen.version == 4 else "IPv6",
        mtu=there.mtu,
        is_given=bool(given),
    )


def address_of(text: str, netmask: str | None) -> Address | None:
    """Return an address with its network; None for one of another kind, such as that of Ethernet."""
    plain = text.partition("%")[0]
    try:
        if netmask is None or ":" not in plain:
            return ipaddress.ip_interface(f"{plain}/{netmask}" if netmask else plain)
        bits = bin(int(ipaddress.IPv6Address(netmask))).count("1")  # ipaddress takes no netmask for IPv6
        return ipaddress.ip_interface(f"{plain}/{bits}")
    except ValueError:
        return None
