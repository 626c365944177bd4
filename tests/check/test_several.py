"""`bash launch.sh check` on several hosts: what hosts that are not there mean beside each other."""

import sys
from itertools import chain, count
from typing import Any

import pytest
from msgspec.structs import replace

from ddpbench.check import comparing, exchange, gathered, leading, network, overview
from ddpbench.check.exchanger import Exchanger
from ddpbench.check.facts import LARGE_BYTES, SMALL_BYTES, Cores, Data, Folder, Gpus
from ddpbench.check.gathered import (
    SIZES,
    Clock,
    Gathered,
    Host,
    Interface,
    Meet,
    Met,
    OnHost,
    Pair,
    Timed,
    Trouble,
    Way,
)
from ddpbench.notes import Seat
from tests.check.test_check import FINE, LOAD

DOCKER = Interface(name="docker0", addresses=["172.17.0.1/16"], mtu=1500)


def host(index: int, **changed: Any) -> Host:
    """Return a host on which all is fine."""
    address = f"10.0.0.{index + 1}"
    seen = OnHost(
        facts=FINE,
        interfaces=[Interface(name="eth0", addresses=[f"{address}/24"], mtu=1500)],
        way=Way(interface="eth0", address=address, family="IPv4", mtu=1500),
    )
    clock = Clock(offset_s=1e-4, within_s=2e-4, times=10) if index else None
    words = {"version": "1", "code": "c0de", "python": "3.12", "torch": "2.12.0", "words": ["check"], "count": 2}
    return Host(**{"index": index, "clock": clock, "seen": seen, **words, **changed})


def pair(one: int, other: int, large_s: float = 0.25) -> Pair:
    """Return what two hosts have exchanged, at so many seconds for the largest."""
    timed = [Timed(size_bytes=size, seconds=[3e-4 + large_s * size / LARGE_BYTES] * 3) for size in SIZES]
    return Pair(hosts=(one, other), comm="gloo", ranks=1, timed=timed)


def of(*hosts: Host, **changed: Any) -> Gathered:
    """Return what was found on hosts, which have all exchanged data."""
    given = [replace(each, count=len(hosts)) if each.count == 2 else each for each in hosts]
    pairs = [pair(*each) for each in leading.pairs_of(range(len(hosts)))]
    told = {"count": len(hosts), "source": "flags", "address": "10.0.0.1", "pairs": pairs}
    return Gathered(**{**told, "hosts": given, **changed})


def seen(index: int, facts: dict[str, Any] | None = None, way: dict[str, Any] | None = None, *more: Interface) -> Host:
    """Return a host with something changed of what it sees."""
    whole = host(index)
    assert whole.seen is not None
    return replace(
        whole,
        seen=OnHost(
            facts=replace(whole.seen.facts, **(facts or {})),
            interfaces=[*whole.seen.interfaces, *more],
            way=replace(whole.seen.way, **(way or {})),
        ),
    )


def stuck(passed: int, **trouble: Any) -> list[Pair]:
    """Return two hosts that got so far with sizes."""
    whole = pair(0, 1)
    return [replace(whole, timed=whole.timed[:passed], trouble=Trouble(**trouble))]


def test_hosts_with_nothing_wrong_are_ready_and_fit_a_screen() -> None:
    made = overview.make(of(host(0), host(1), link="results/link.json"), 12.0)
    screen = [*overview.lines(made)]

    assert {finding.level for finding in made.findings} == {"ok"}
    assert made.exit_code == 0
    assert overview.last_line(made) == "ready (exit code 0); 2 hosts; 12 s"
    assert len(screen) <= 16
    assert max(map(len, screen)) <= 96


LATE = Trouble(why="64 KiB did not come within 11 s", is_late=True)
OFF = Clock(offset_s=-3.0, within_s=2e-4, times=10)
NO_WAY = {"interface": None, "address": None, "family": None, "mtu": None, "problem": "no such interface"}
T4S = {"gpus": Gpus(models=["T4", "T4"])}
SHARED = Interface(name="eth1", addresses=["10.0.0.9/16"], mtu=1500)


@pytest.mark.parametrize(
    ("found", "name", "level", "words"),
    [
        (of(host(0), host(1, torch="2.11.0")), "torch", "problem", "host 1: 2.11.0; host 0: 2.12.0; install the same"),
        (of(host(0), host(1, code="0bad")), "code", "problem", "the same commit"),
        (of(host(0), host(1, words=["check", "--json"])), "command", "problem", "host 1: check --json"),
        (of(host(0), host(1, count=3)), "NNODES", "problem", "host 1: 3; host 0: 2"),
        (
            of(host(0), host(1), host(2, clock=OFF)),
            "clocks",
            "warning",
            "host 2's is 3.0 s behind host 0's (+-0.2 ms, best of 10",
        ),
        (of(host(0), seen(1, None, {"mtu": 9000})), "MTU", "warning", "host 1: 9000 bytes; large packets may be lost"),
        (of(host(0), seen(1, None, {"mtu": None})), "MTU", "unknown", "host 0: 1500 bytes; not measured on host 1"),
        (of(seen(0, None, NO_WAY), seen(1, None, NO_WAY)), "MTU", "unknown", "not measured on hosts 0, 1"),
        (
            of(host(0), seen(1, None, {"mtu": 9000}), seen(2, None, NO_WAY)),
            "MTU",
            "warning",
            "host 1: 9000 bytes; not measured on host 2; large packets may be lost: ip link set dev NAME mtu 1500",
        ),
        (of(seen(0, T4S), seen(1, T4S)), "each host", "ok", "GPUs"),
        (of(seen(0, T4S), host(1)), "GPUs", "problem", "host 0: 2 x T4; host 1: none; ranks need the same kind"),
        (of(host(0), seen(1, T4S), seen(2, T4S)), "GPUs", "problem", "hosts 1, 2: 2 x T4; ranks need the same kind"),
        (
            of(seen(0, T4S), seen(1, {"gpus": Gpus(models=["T4"])})),
            "GPUs",
            "warning",
            "host 0: 2 x T4; host 1: 1 x T4; 1 on each at most can train: --layouts 2x1, or --device cpu",
        ),
        (
            of(seen(0, T4S), seen(1, {"gpus": Gpus(models=["T4", "A10"])})),
            "GPUs",
            "warning",
            "1 x A10, 1 x T4; the slow",
        ),
        (of(host(0), seen(1, None, {"family": "IPv6"})), "route", "problem", "IPv6 on host 1"),
        (of(host(0), seen(1, None, {"problem": "no route"})), "route", "problem", "host 1: no route"),
        (of(host(0), seen(1, None, {"interface": "eno1"})), "route", "ok", "host 0: eth0; host 1: eno1"),
        (of(seen(0, None, None, DOCKER), seen(1, None, None, DOCKER)), "unusable", "ok", "172.17.0.1 (on hosts 0, 1)"),
        (of(host(0), seen(1, None, None, SHARED)), "networks", "warning", "host 1: eth0 and eth1 share 10.0.0.0/16"),
        (
            of(host(0), seen(1, {"cores": Cores(usable=3, affinity=3, logical=4, physical=2)})),
            "cores",
            "warning",
            "3 us",
        ),
        (
            of(host(0), seen(1, {"data": Data(folder="d", missing=[], wrong=["b"])})),
            "data",
            "problem",
            "host 1: b is not",
        ),
        (of(seen(0, {"load": None}), host(1)), "load", "unknown", "host 0: not measured"),
        (of(host(0), host(1), pairs=stuck(2, why=LATE.why, is_late=True)), "gloo", "problem", "4 KiB took 0.34 ms, 64"),
        (of(host(0), host(1), pairs=stuck(2, why=LATE.why, is_late=True)), "gloo", "problem", "NAME mtu 1500"),
        (of(host(0), host(1), pairs=stuck(6, why="25 MiB did not come", is_late=True)), "gloo", "problem", "the cable"),
        (
            of(host(0), host(1), pairs=stuck(0, why="did not meet", is_late=True)),
            "gloo",
            "problem",
            "look at firewalls",
        ),
        (of(host(0), host(1), pairs=stuck(1, why="is not right", is_wrong=True)), "gloo", "problem", "report it"),
        (
            of(host(0), host(1), pairs=stuck(len(SIZES), why="it did not end", is_late=True)),
            "gloo",
            "problem",
            "all sizes",
        ),
        (of(host(0), host(1), pairs=stuck(0, why="no processes", is_own=True)), "gloo", "problem", "ulimit -u"),
        (of(host(0), host(1), pairs=[pair(0, 1, 21.0)]), "gloo", "warning", "n 3): 10 Mbit/s; below 100 Mbit/s"),
        (
            of(host(0), host(1), host(2), pairs=[pair(0, 1), pair(0, 2), pair(1, 2, 2.0)]),
            "gloo",
            "warning",
            "hosts 1 and 2:",
        ),
        (
            of(host(0), host(1), host(2), pairs=[pair(0, 1), pair(0, 2, 2), pair(1, 2, 2)]),
            "gloo",
            "warning",
            "; host 2: ",
        ),
        (of(host(0), host(1), link_problem="disk full"), "link", "warning", "disk full"),
        (of(host(0), host(1), notices=["a stranger"]), "line", "warning", "a stranger"),
    ],
)
def test_each_finding_says_what_was_found_and_what_to_do(found: Gathered, name: str, level: str, words: str) -> None:
    finding = next(each for each in comparing.judge(found) if each.name == name)

    assert finding.level == level
    assert words in f"{finding.found}; {finding.cure}"
    assert (finding.cure is not None) == (level in {"warning", "problem"})
    assert len(finding.cure or "") <= overview.MOST_COLUMNS - 9  # the screen cuts what is longer


def test_what_differs_between_hosts_is_not_called_good_on_each() -> None:
    found = comparing.judge(of(seen(0, T4S), host(1)))

    assert [each.level for each in found if each.name == "GPUs"] == ["problem"]
    assert "GPUs" not in next(each.found for each in found if each.name == "each host").split(", ")


def test_gpus_that_do_not_work_are_named_once() -> None:
    """They are that host's own problem, and no difference between hosts beside it."""
    broken = {"gpus": Gpus(models=["K80"], problem="no kernel image")}
    found = [each for each in comparing.judge(of(seen(0, T4S), seen(1, broken))) if each.name == "GPUs"]

    assert [(each.level, each.hosts) for each in found] == [("problem", [1])]


def test_a_way_over_an_address_that_repeats_is_a_problem() -> None:
    bridge = {"interface": "docker0", "address": "172.17.0.1"}
    found = of(seen(0, None, bridge, DOCKER), seen(1, None, bridge, DOCKER))
    route = next(each for each in comparing.judge(found) if each.name == "route")

    assert (route.level, route.hosts) == ("problem", [0, 1])
    assert "docker0 has 172.17.0.1, as other hosts have" in route.found


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (of(host(0), host(1, clock=OFF)), 10),
        (of(seen(0, {"load": replace(LOAD, busy_cores=3.0)}), host(1)), 20),
        (of(host(0), count=2, pairs=[], lost="host 1 did not come within 600 s"), 20),
        (of(host(0), count=2, pairs=[], lost="host 1 did not come within 600 s", notices=["host 0 came twice"]), 30),
        (of(host(0), host(1, code="0bad"), pairs=[]), 30),
    ],
)
def test_the_exit_code_says_whether_waiting_helps(found: Gathered, code: int) -> None:
    made = overview.make(found, 1.0)

    assert made.exit_code == code
    assert f"(exit code {code})" in overview.last_line(made)
    assert len(overview.last_line(made)) <= 96


def test_only_host_0_needs_a_folder_of_results() -> None:
    bad = {"results": Folder(path="r", problem="Read-only file system")}

    assert overview.make(of(host(0), seen(1, bad)), 1.0).exit_code == 0
    assert overview.make(of(seen(0, bad), host(1)), 1.0).exit_code == 30


def test_the_last_line_names_the_problem_that_waiting_does_not_end() -> None:
    busy = {"load": replace(LOAD, busy_cores=3.0), "data": Data(folder="d", missing=[], wrong=["b"])}

    assert "problems: data: host 1: b is not" in overview.last_line(overview.make(of(host(0), seen(1, busy)), 1.0))


def test_of_many_hosts_the_screen_shows_those_that_differ() -> None:
    hosts = [host(index) for index in range(63)]
    made = overview.make(of(*hosts, seen(63, None, {"mtu": 9000})), 30.0)
    screen = [*overview.lines(made)]

    assert len(screen) <= 24
    assert max(map(len, screen)) <= 96
    assert [line.split()[0] for line in screen[1:3]] == ["0", "63"]
    assert screen[3] == "62 more as host 0"


def test_few_hosts_meet_all_others_and_many_meet_host_0() -> None:
    assert len(leading.pairs_of(range(8))) == 28
    assert leading.pairs_of(range(9)) == [(0, other) for other in range(1, 9)]


def test_the_shortest_round_trip_tells_the_clock() -> None:
    """A host that is 5 s ahead answers from the middle of the way once, and late at other times."""
    ours = iter([0.0, 10.0, 20.0, 20.5, *range(30, 46)])
    theirs = (each + 5 for each in chain([0.5, 20.25], count(30.9)))
    clock = leading.clock_of(lambda: next(theirs), lambda: next(ours))

    assert (clock.offset_s, clock.within_s, clock.times) == (5.0, 0.25, 10)


def test_a_host_that_waits_in_vain_knows_more_than_one_whose_connection_ended() -> None:
    meet = Meet(job=0, place=0, comm="gloo", ranks=1, size_s=1.0)
    timed = [Timed(size_bytes=SMALL_BYTES, seconds=[1.0])]
    ended = Met(timed=[], trouble=Trouble(why="closed"))

    assert gathered.merge((0, 1), meet, ended, Met(timed=timed, trouble=LATE)).trouble == LATE
    both = gathered.merge((0, 1), meet, ended, Met(timed=timed, trouble=Trouble(why="refused")))
    assert both.trouble == Trouble(why="host 0: closed; host 1: refused")
    assert gathered.merge((0, 1), meet, Met(timed=timed), Met(timed=timed)).timed == timed
    own = Met(timed=[], trouble=Trouble(why="no more processes", is_own=True))
    told = gathered.merge((0, 1), meet, Met(timed=[], trouble=LATE), own).trouble
    assert told == Trouble(why="host 1: no more processes", is_own=True), (
        "what a host knows of itself explains the rest"
    )


def test_a_slow_network_gets_the_time_that_it_needs() -> None:
    """At 10 Mbit/s 25 MiB take 21 s, which 4 MiB foretell."""
    timed = [Timed(size_bytes=size, seconds=[8 * size / 1e7]) for size in SIZES[:-1]]

    assert exchange.limit_s([], 1.0) == 1.0 + exchange.LEAST_LIMIT_S
    assert exchange.limit_s(timed[:1], 1.0) == 1.0 + exchange.LEAST_LIMIT_S
    assert exchange.limit_s(timed, 1.0) > 2 * 8 * LARGE_BYTES / 1e7


def test_a_process_that_cannot_exchange_data_is_known_by_its_end() -> None:
    seat = Seat(host=0, hosts=2, first_rank=0, address="a", port=1, job=0, secret="s")
    with Exchanger("lo", {}, (sys.executable, "-S", "-c", "raise SystemExit(3)")) as exchanger:
        trouble = exchanger.wait()
        met = exchanger.meet(Meet(job=0, place=0, comm="gloo", ranks=1, size_s=1.0), seat)

    assert trouble is not None
    assert met.trouble is not None
    assert met.trouble.is_own


@pytest.mark.parametrize(
    ("address", "netmask", "expected"),
    [
        ("10.0.0.2", "255.255.255.0", "10.0.0.2/24"),
        ("fe80::1%eth0", "ffff:ffff:ffff:ffff::", "fe80::1/64"),
        ("02:42:ac:11:00:02", None, "None"),
    ],
)
def test_addresses_are_told_from_what_ethernet_has(address: str, netmask: str | None, expected: str) -> None:
    assert str(network.address_of(address, netmask)) == expected
