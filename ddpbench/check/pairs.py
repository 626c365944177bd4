"""What it means how long two hosts take to exchange data. Pure functions."""

import statistics
from collections.abc import Iterator, Sequence

from ddpbench.check import exchange
from ddpbench.check.facts import LARGE_BYTES, SMALL_BYTES
from ddpbench.check.gathered import SIZES, Comm, Pair
from ddpbench.check.judging import Finding, Level, in_time

UP_TO_A_PACKET = 2**16  # what gets stuck up to here is lost by its packets' size, and not by its own
TIMES_AS_LONG = 3.0  # a pair that takes so many times as long as the fastest one is worth a word
SLOW_SMALL_S, SLOW_LARGE_S = 0.02, 2.1  # a long way, and 100 Mbit/s
PORTS = "ranks need the ports of ip_local_port_range open between hosts: look at firewalls"


class HostsFinding(Finding, frozen=True, kw_only=True):
    """A finding of several hosts."""

    hosts: list[int]  # whom it is about; empty: all of them


def finding(
    name: str, level: Level, found: str, cure: str | None = None, hosts: Sequence[int] = (), *, passes: bool = False
) -> HostsFinding:
    """Return a finding of several hosts."""
    return HostsFinding(name=name, level=level, found=found, cure=cure, hosts=[*hosts], passes=passes)


def hosts_in_words(hosts: Sequence[int]) -> str:
    """Return `host 1`, or `hosts 1, 2`, or `hosts 1, 2 and 30 more`."""
    some = ", ".join(map(str, hosts[:4]))
    return f"host{'s' if len(hosts) > 1 else ''} {some}" + (f" and {len(hosts) - 4} more" if len(hosts) > 4 else "")


def judge(pairs: Sequence[Pair]) -> Iterator[HostsFinding]:
    """Judge each way to exchange data, over all pairs."""
    comms: list[Comm] = [*dict.fromkeys(pair.comm for pair in pairs)]
    for comm in comms:
        of_comm = [pair for pair in pairs if pair.comm == comm]
        yield from _troubles(comm, [pair for pair in of_comm if pair.trouble is not None])
        whole = [pair for pair in of_comm if pair.trouble is None]
        if whole:
            yield _speeds(comm, whole)


def _troubles(comm: str, pairs: Sequence[Pair]) -> Iterator[HostsFinding]:
    said: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        said.setdefault(_trouble(pair), []).append(pair)
    for (why, cure), alike in said.items():
        hosts = sorted({host for pair in alike for host in pair.hosts})
        more = f" and {len(alike) - 1} pairs more" if len(alike) > 1 else ""
        yield finding(comm, "problem", f"{_names(alike[0])}{more}: {why}", cure, hosts)


def _trouble(pair: Pair) -> tuple[str, str]:
    """Return why two hosts do not exchange data, and what to do."""
    trouble = pair.trouble
    assert trouble is not None
    if trouble.is_wrong:
        return trouble.why, "do not train over this way, and please report it"
    if trouble.is_own:
        return trouble.why, "look at the other lines about that host, its ulimit -u, ulimit -n and free memory"
    if not pair.timed:
        return trouble.why, PORTS
    if len(pair.timed) == len(SIZES):
        return f"all sizes were exchanged, {trouble.why}", "check again; if it stays so, please report it"
    last, size_bytes = pair.timed[-1], SIZES[len(pair.timed)]
    if size_bytes > UP_TO_A_PACKET:
        return trouble.why, "look at the cable, the switch and what else uses them"
    passed = f"{exchange.name_of(last.size_bytes)} took {in_time(statistics.median(last.seconds))}"
    if not trouble.is_late:  # seen too where packets are lost: both ranks say that the other one has gone
        passed += f", the connection broke at {exchange.name_of(size_bytes)}"
    return (
        f"{passed}, {trouble.why}",
        "large packets are lost on the way: one MTU everywhere: ip link set dev NAME mtu 1500",
    )


def _speeds(comm: str, pairs: Sequence[Pair]) -> HostsFinding:
    slowest, fastest = max(pairs, key=lambda pair: pair.large_s), min(pairs, key=lambda pair: pair.large_s)
    slowest_s, fastest_s = slowest.large_s, fastest.large_s
    small_s = max(statistics.median(pair.seconds(SMALL_BYTES)) for pair in pairs)
    seconds = slowest.seconds(LARGE_BYTES)
    spread = f"{in_time(min(seconds))} to {in_time(max(seconds))}, n {len(seconds)}" if len(seconds) > 1 else "n 1"
    rate = f"{8 * LARGE_BYTES / slowest_s / 1e6:,.0f} Mbit/s"
    found = f"4 KiB in {in_time(small_s)}, 25 MiB in {in_time(slowest_s)} ({spread}): {rate}"
    if len(pairs) > 1:
        who = f"{_names(slowest)}, slowest of {len(pairs)} pairs"
        found = f"{who}: 25 MiB in {in_time(slowest_s)} ({spread}), fastest {in_time(fastest_s)}"
    if slowest_s > TIMES_AS_LONG * fastest_s:
        slow = [pair for pair in pairs if pair.large_s > TIMES_AS_LONG * fastest_s]
        common = set(slow[0].hosts).intersection(*(pair.hosts for pair in slow))
        who = f"host {common.pop()}" if len(slow) > 1 and len(common) == 1 else _names(slowest)
        cure = f"{who}: look at the cable, the switch and the interface, GLOO_SOCKET_IFNAME"
        return finding(comm, "warning", found, cure, sorted(slowest.hosts))
    if slowest_s > SLOW_LARGE_S:
        cure = "below 100 Mbit/s ranks mostly wait: is there a faster one? GLOO_SOCKET_IFNAME=NAME"
        return finding(comm, "warning", found, cure, sorted(slowest.hosts))
    if small_s > SLOW_SMALL_S:
        return finding(comm, "warning", found, "these hosts are far apart: take hosts of one place")
    return finding(comm, "ok", found)


def _names(pair: Pair) -> str:
    return f"hosts {pair.hosts[0]} and {pair.hosts[1]}"
