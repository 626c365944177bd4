"""What the facts of several hosts mean, beside each other, and what to do about it. Pure functions."""

import ipaddress
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from ddpbench.check import judging, pairs
from ddpbench.check.gathered import Gathered, Host, Interface, OnHost
from ddpbench.check.judging import Level
from ddpbench.check.pairs import HostsFinding, finding, hosts_in_words
from ddpbench.hosts.joining import SAME

CLOCK_S = 2.0  # clocks that are further apart are worth a word
OF_HOST_0 = ("results",)  # findings that matter on host 0 alone: the others send there


def judge(gathered: Gathered) -> list[HostsFinding]:
    """Return a finding for each thing, in the order of the screen."""
    findings = [*_here(gathered), *_same(gathered.hosts)]
    seen = {host.index: host.seen for host in gathered.hosts if host.seen is not None}
    if len(seen) < gathered.count:
        return [*findings, finding("the rest", "unknown", "not measured: the check ended before")]
    findings += [*_routes(seen), *_packets(seen), *_addresses(seen), _clocks(gathered.hosts)]
    compared = [_cores(seen), *_gpus(seen)]
    differing = {each.name for each in compared if each.level != "ok"}
    findings += [*compared, *_each(seen, differing), *pairs.judge(gathered.pairs)]
    if gathered.link_problem:
        cure = "choose a folder that takes files: --results DIR"
        findings.append(finding("link", "warning", f"it was not kept: {gathered.link_problem}", cure))
    elif gathered.link:
        findings.append(finding("link", "ok", f"kept in {gathered.link}, for the command predict"))
    return findings


def _here(gathered: Gathered) -> Iterator[HostsFinding]:
    """Judge who is here. What was refused meanwhile may be the host that is missing: then waiting does not help."""
    if gathered.lost is None:
        yield finding("hosts", "ok", f"{gathered.count} of {gathered.count} are here ({gathered.source})")
    else:
        cure = "start it with the same line, or look why it ended; then check again"
        passes = not gathered.notices
        yield finding("hosts", "problem", gathered.lost, cure if passes else "look at the lines below", passes=passes)
    for notice in dict.fromkeys(gathered.notices):
        yield finding("line", "warning", notice, "give each host its own NODE_RANK and all the same DDPBENCH_SECRET")


def _same(hosts: Sequence[Host]) -> Iterator[HostsFinding]:
    """Judge what must be the same on all hosts."""
    first, *others = hosts
    is_same = True
    for name, cure in SAME.items():
        own = getattr(first, name)
        differing = [host for host in others if getattr(host, name) != own]
        if differing:
            is_same = False
            label = "command" if name == "words" else "NNODES" if name == "count" else name
            theirs = getattr(differing[0], name)
            who = hosts_in_words([host.index for host in differing])
            said = f"{who}: {_shown(theirs)}; host 0: {_shown(own)}"
            yield finding(label, "problem", said, cure, [host.index for host in differing])
    if is_same:
        versions = f"ddpbench {first.version} ({first.code}), Python {first.python}, torch {first.torch}"
        yield finding("same", "ok", f"{versions}, command line")


def _routes(seen: Mapping[int, OnHost]) -> Iterator[HostsFinding]:
    """Judge the interface of each host by which it meets the others."""
    repeated = repeated_addresses({index: each.interfaces for index, each in seen.items()})
    is_good = True
    for (why, cure), hosts in _grouped(seen, lambda each: _bad_way(each, repeated)).items():
        is_good = False
        yield finding("route", "problem", f"{hosts_in_words(hosts)}: {why}", cure, hosts)
    families = _grouped(seen, lambda each: each.way.family)
    names = _grouped(seen, lambda each: f"{each.way.interface}{' (as given)' if each.way.is_given else ''}")
    if is_good and len(families) > 1:
        said = ", ".join(f"{family} on {hosts_in_words(hosts)}" for family, hosts in families.items())
        yield finding("route", "problem", said, "give MASTER_ADDR an address of a family that all hosts have")
    elif is_good:
        over = ", ".join(names) if len(names) == 1 else _by_hosts(names)
        yield finding("route", "ok", f"{next(iter(families))} over {over}")


def _bad_way(seen: OnHost, repeated: Mapping[str, Sequence[int]]) -> tuple[str, str] | None:
    """Return why a host cannot meet others by its way to host 0, and what to do; None where it can."""
    way = seen.way
    if way.problem is not None:
        return way.problem, "name the interface between the hosts: GLOO_SOCKET_IFNAME=NAME"
    if way.address in repeated:
        why = f"{way.interface} has {way.address}, as other hosts have"
        return why, "name an interface between the hosts: GLOO_SOCKET_IFNAME=NAME, and MASTER_ADDR there"
    return None


def _packets(seen: Mapping[int, OnHost]) -> Iterator[HostsFinding]:
    mtus: dict[int, list[int]] = _grouped(seen, lambda each: each.way.mtu)
    unknown = [index for index, each in seen.items() if each.way.mtu is None]
    said = [_by_hosts({f"{mtu} bytes": hosts for mtu, hosts in mtus.items()})] if mtus else []
    if unknown:
        said.append(f"not measured on {hosts_in_words(unknown)}")
    if len(mtus) > 1:
        cure = f"large packets may be lost: ip link set dev NAME mtu {min(mtus)} on all hosts"
        yield finding("MTU", "warning", "; ".join(said), cure)
    elif unknown:
        yield finding("MTU", "unknown", "; ".join(said), hosts=unknown)
    else:
        yield finding("MTU", "ok", f"{next(iter(mtus)):,} bytes")


def _gpus(seen: Mapping[int, OnHost]) -> Iterator[HostsFinding]:
    """Judge whether hosts have the same GPUs. A host whose GPUs do not work, or are not known, is judged by itself."""
    working = {
        index: each.facts.gpus
        for index, each in seen.items()
        if each.facts.gpus is not None
        and any((one.name, one.level) == ("GPUs", "ok") for one in judging.judge(each.facts))
    }
    found, counts = dict[str, list[int]](), {len(gpus.models) for gpus in working.values()}
    for index, gpus in working.items():
        found.setdefault(gpus.in_words or "none", []).append(index)
    if len(found) < 2:
        return
    if 0 in counts:
        cure = "ranks need the same kind of device: --device cpu, or GPUs on every host"
        yield finding("GPUs", "problem", _by_hosts(found), cure)
    elif len(counts) > 1:
        cure = f"{min(counts)} on each at most can train: --layouts {len(seen)}x{min(counts)}, or --device cpu"
        yield finding("GPUs", "warning", _by_hosts(found), cure)
    else:
        yield finding("GPUs", "warning", _by_hosts(found), "the slowest GPU sets the pace: give each host the same")


def _addresses(seen: Mapping[int, OnHost]) -> Iterator[HostsFinding]:
    """Judge the other interfaces: what repeats on several hosts leads nowhere, and two in one network compete."""
    repeated = repeated_addresses({index: each.interfaces for index, each in seen.items()})
    names = {
        address: next(i.name for i in seen[hosts[0]].interfaces if _has(i, address))
        for address, hosts in repeated.items()
    }
    if repeated:
        said = ", ".join(f"{names[each]} {each} (on {hosts_in_words(hosts)})" for each, hosts in repeated.items())
        yield finding("unusable", "ok", f"{said}: the same address leads to no other host")
    for said, hosts in _grouped(seen, lambda each: shared_networks(each.interfaces) or None).items():
        cure = "packets may leave by either: keep one up, or name it: GLOO_SOCKET_IFNAME=NAME"
        yield finding("networks", "warning", f"{hosts_in_words(hosts)}: {said}", cure, hosts)


def repeated_addresses(interfaces: Mapping[int, Sequence[Interface]]) -> dict[str, list[int]]:
    """Return the addresses that several hosts have, with these hosts. Bridges of containers have one everywhere."""
    found: dict[str, list[int]] = {}
    for index, every in interfaces.items():
        for address in {str(ipaddress.ip_interface(text).ip) for each in every for text in each.addresses}:
            found.setdefault(address, []).append(index)
    return {address: hosts for address, hosts in sorted(found.items()) if len(hosts) > 1}


def shared_networks(interfaces: Sequence[Interface]) -> str:
    """Return which two interfaces are in one network, in words; "" where none are."""
    networks = [
        (each.name, network)
        for each in interfaces
        for network in {ipaddress.ip_interface(text).network for text in each.addresses}
        if not network.is_link_local and network.prefixlen < network.max_prefixlen
    ]
    for (one, first), (other, second) in itertools.combinations(networks, 2):
        if one != other and first.version == second.version and first.overlaps(second):
            return f"{one} and {other} share {min(first, second, key=lambda each: each.prefixlen)}"
    return ""


def _clocks(hosts: Sequence[Host]) -> HostsFinding:
    clocks = [(host.index, host.clock) for host in hosts if host.clock is not None]
    if not clocks:
        return finding("clocks", "unknown", "not measured")
    index, worst = max(clocks, key=lambda each: abs(each[1].offset_s))
    how = "behind" if worst.offset_s < 0 else "ahead of"
    said = (
        f"host {index}'s is {_seconds(abs(worst.offset_s))} {how} host 0's "
        f"(+-{_seconds(worst.within_s)}, best of {worst.times})"
    )
    if abs(worst.offset_s) <= CLOCK_S:
        return finding("clocks", "ok", said)
    return finding("clocks", "warning", said, "set clocks by NTP: logs and certificates compare them", [index])


def _cores(seen: Mapping[int, OnHost]) -> HostsFinding:
    found = _grouped(seen, lambda each: f"{each.facts.cores.usable} usable, {each.facts.cores.physical} physical")
    if len(found) == 1:
        return finding("cores", "ok", f"{next(iter(found))} on each host")
    return finding("cores", "warning", _by_hosts(found), "the slowest host sets the pace: give each as many")


def _each(seen: Mapping[int, OnHost], differing: Set[str]) -> Iterator[HostsFinding]:
    """Judge each host by itself, and say in one line what is good on all, but for what differs between them."""
    found: dict[tuple[str, Level, str | None, bool], list[tuple[int, str]]] = {}
    names: dict[str, bool] = {}
    for index, each in seen.items():
        for one in judging.judge(each.facts):
            if index and one.name in OF_HOST_0:
                continue
            names[one.name] = names.get(one.name, True) and one.level == "ok"
            if one.level != "ok":
                found.setdefault((one.name, one.level, one.cure, one.passes), []).append((index, one.found))
    good = [name for name, is_good in names.items() if is_good and name not in differing]
    if good:
        yield finding("each host", "ok", ", ".join(good))
    for (name, level, cure, passes), hosts in found.items():
        indices = [index for index, _ in hosts]
        said = f"{hosts_in_words(indices)}: {hosts[0][1]}"
        yield finding(name, level, said, cure, indices, passes=passes)


def _grouped(seen: Mapping[int, OnHost], value_of: Callable[[OnHost], Any]) -> dict[Any, list[int]]:
    """Return the hosts by a value of theirs. Those without one are left out."""
    found: dict[Any, list[int]] = {}
    for index, each in seen.items():
        value = value_of(each)
        if value is not None:
            found.setdefault(value, []).append(index)
    return found


def _by_hosts(values: Mapping[str, Iterable[int]]) -> str:
    return "; ".join(f"{hosts_in_words([*hosts])}: {value}" for value, hosts in values.items())


def _has(interface: Interface, address: str) -> bool:
    return any(str(ipaddress.ip_interface(text).ip) == address for text in interface.addresses)


def _shown(value: object) -> str:
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 0.1 else f"{seconds * 1e3:.2g} ms"
