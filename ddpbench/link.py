"""The network between hosts as it was measured: how long all-reduces of several sizes took. `check` writes it.

A ring of m members passes gradients on in 2 (m - 1) steps, and sends 2 (m - 1) / m of their bytes over every link:

    t(S) = 2 (m - 1) alpha + 2 (m - 1) / m * S / B      alpha: seconds of a step; B: bytes a second
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ddpbench.errors import UserError, one_line
from ddpbench.fields import Count, Duration, Part, Text
from ddpbench.files import write_whole

NAME = "link.json"  # of the file, in the folder of results
VERSION = 1
MAX_BYTES = 2**20
LEAST_SIZES = 2  # a latency and a rate are two unknowns
HIERARCHICAL = "shm+gloo"  # its ring has one member a host; that of others has every rank


class Exchange(Part, frozen=True):
    """All-reduces of one size, one after the other, between some hosts. Every pair of hosts has its own."""

    comm: Text  # how gradients were combined: gloo, nccl or shm+gloo
    hosts: Count
    ranks_per_host: Count
    size_bytes: Count
    seconds: list[Duration]  # of each repetition, by the slowest rank; without those that warm up


class Link(Part, frozen=True):
    """The network between hosts. No name in it is one of a run's record, which it could be taken for."""

    link_version: int  # readers refuse other numbers than their own
    measured_at: Text  # wall clock, UTC: a label
    exchanges: list[Exchange]

    @property
    def comms(self) -> list[str]:
        """The ways to combine gradients that were measured."""
        return list(dict.fromkeys(each.comm for each in self.exchanges))


def terms(members: int) -> tuple[int, float]:
    """Return the steps of a ring, and how many times its bytes go over every link."""
    return 2 * (members - 1), 2 * (members - 1) / members


def members(comm: str, hosts: int, ranks_per_host: int) -> int:
    """Return how many members the ring between these ranks has."""
    return hosts if comm == HIERARCHICAL else hosts * ranks_per_host


def path_in(results: Path) -> Path:
    """Return the path of the measured link in a folder of results."""
    return results / NAME


def write(path: Path, link: Link) -> None:
    """Keep a measured link. Raises DiskError where the disk refuses."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(link), indent=1) + b"\n")


def read(path: Path) -> Link:
    """Read and validate a measured link. Raises UserError naming the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES)
        version = msgspec.json.decode(content, type=_Version).link_version
        if version != VERSION:
            raise UserError(f"{path} has version {version}, this program reads {VERSION}: measure the link again")
        link = msgspec.json.decode(content, type=Link)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
        why = one_line(str(problem)[:200])
        raise UserError(f"{path} is not a whole measurement of a link: {why}; measure it again") from problem
    if wrong := next(_wrong(link.exchanges), None):
        raise UserError(f"{path}: {wrong}; measure the link again")
    return link


class _Version(msgspec.Struct):
    link_version: int


def _wrong(exchanges: Sequence[Exchange]) -> Iterator[str]:
    """Yield what no measurement between hosts produces."""
    for comm in dict.fromkeys(each.comm for each in exchanges) or [""]:
        if len({each.size_bytes for each in exchanges if each.comm == comm}) < LEAST_SIZES:
            yield f"a latency and a rate need exchanges of at least {LEAST_SIZES} sizes"
    for index, each in enumerate(exchanges):
        if each.hosts < 2 or each.ranks_per_host < 1 or each.size_bytes < 1 or not each.seconds:
            yield f"exchanges[{index}] holds a value that no measurement between hosts produces"
