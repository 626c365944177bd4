"""What a check of several hosts has found: typed values, a list by host. null: not measured."""

import statistics
from typing import Literal

import msgspec
from msgspec.structs import replace

from ddpbench.check.facts import LARGE_BYTES, SMALL_BYTES, Facts

TINY_BYTES = 2**10  # one packet on every network
# What two hosts exchange, one size after the other. `predict` fits a line through these times.
SIZES = (TINY_BYTES, SMALL_BYTES, 2**16, 2**18, 2**20, 4 * 2**20, LARGE_BYTES)
Comm = Literal["gloo", "shm+gloo", "nccl"]


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface of a host that is up."""

    name: str
    addresses: list[str]  # with their networks: 10.0.0.2/24
    mtu: int | None  # bytes of the largest packet


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How a host reaches host 0; host 0: by which address others reach it."""

    interface: str | None = None
    address: str | None = None  # of this host
    family: Literal["IPv4", "IPv6"] | None = None
    mtu: int | None = None
    is_given: bool = False  # by GLOO_SOCKET_IFNAME, and not found by the route
    problem: str | None = None  # why there is none


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """A host's wall clock against host 0's. It is off by `offset_s`, give or take `within_s`."""

    offset_s: float
    within_s: float  # half of the shortest round trip
    times: int  # that the hosts asked each other


class OnHost(msgspec.Struct, frozen=True, kw_only=True):
    """What a host sees of itself."""

    facts: Facts
    interfaces: list[Interface]
    way: Way


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host of the job."""

    index: int
    version: str  # of ddpbench
    code: str  # a digest of its files
    python: str
    torch: str
    words: list[str]  # of its command line, without those that may differ
    count: int  # of hosts, as it was told
    clock: Clock | None = None
    seen: OnHost | None = None


class Timed(msgspec.Struct, frozen=True, kw_only=True, tag="timed"):
    """All-reduces of one size between two hosts. Those that warm up do not count, unless one takes seconds."""

    size_bytes: int
    seconds: list[float]


class Trouble(msgspec.Struct, frozen=True, kw_only=True, tag="trouble"):
    """Why two hosts do not go on exchanging data."""

    why: str
    is_late: bool = False  # nothing came within the limit
    is_wrong: bool = False  # what came is not the sum
    is_own: bool = False  # the host that says it could not go on by itself, whatever the network does


class Meet(msgspec.Struct, frozen=True, kw_only=True, tag="meet"):
    """A host is to exchange data with another one. Others may read this on its way: the secret is not in it."""

    job: int  # the number of this meeting over all that host 0 has seen
    place: int  # of this host among the two: 0 or 1
    comm: Comm
    ranks: int  # on each of the two hosts
    size_s: float  # how long all-reduces of one size are repeated


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    timed: list[Timed]
    trouble: Trouble | None = None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What two hosts have exchanged. Of each repetition the time of the slowest rank counts."""

    hosts: tuple[int, int]
    comm: Comm
    ranks: int  # on each of the two
    timed: list[Timed]
    trouble: Trouble | None = None

    def seconds(self, size_bytes: int) -> list[float]:
        """Return how long exchanges of one size took. Raises StopIteration where it was not measured."""
        return next(each.seconds for each in self.timed if each.size_bytes == size_bytes)

    @property
    def large_s(self) -> float:
        """How long the largest exchange takes."""
        return statistics.median(self.seconds(LARGE_BYTES))


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """All that a check of several hosts has found."""

    count: int  # of hosts that there should be
    source: str  # which flags or variables say so
    address: str  # of host 0
    hosts: list[Host]  # those that are here
    pairs: list[Pair]
    lost: str | None = None  # why the check ended before it was complete
    notices: list[str] = []  # what else came over the line
    link: str | None = None  # where the measured link was written
    link_problem: str | None = None  # why it was not


def merge(hosts: tuple[int, int], asked: Meet, first: Met, second: Met) -> Pair:
    """Return what two hosts have exchanged, from what each of them says."""
    timed = min(first.timed, second.timed, key=len)  # both say the same of what both have
    troubles = {host: met.trouble for host, met in zip(hosts, (first, second), strict=True) if met.trouble is not None}
    # A host that gives up closes its connection, and the other one then says no more than that.
    said = sorted(troubles.values(), key=lambda each: (not each.is_own, not each.is_wrong, not each.is_late))
    trouble = said[0] if said else None
    if trouble is not None and trouble.is_own:
        own = [host for host, each in troubles.items() if each.is_own]
        trouble = replace(trouble, why="; ".join(f"host {host}: {troubles[host].why}" for host in own))
    elif len({each.why for each in said}) > 1 and not (said[0].is_wrong or said[0].is_late):
        trouble = Trouble(why="; ".join(f"host {host}: {each.why}" for host, each in troubles.items()))
    return Pair(hosts=hosts, comm=asked.comm, ranks=asked.ranks, timed=timed, trouble=trouble)
