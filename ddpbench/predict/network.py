"""An exchange of gradients between hosts: a line fitted to what the link measured, or given by hand.

No network lies on its line everywhere. So the line says how an exchange grows with the ring, and the measured sizes on
both sides of a size say how far from the line it is.

A ring is as fast as its slowest link. So where several pairs of hosts were measured, the slowest of them counts.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from ddpbench.errors import UserError
from ddpbench.link import HIERARCHICAL, Exchange, Link, members, terms
from ddpbench.predict.draws import Dice, Values

GIVEN_HOSTS = 2  # a rate and a latency by hand stand for a link between two hosts
UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
MOST_BANDWIDTH, MOST_LATENCY_MS = 1e13, 1e4


@dataclass(frozen=True)
class Network:
    """How long exchanges between hosts take: seconds of a ring's step, and seconds of a byte."""

    comm: str
    alpha_s: Values
    byte_s: Values
    sizes: list[int]  # bytes that were measured, ascending; empty where the link was given
    off_line: list[Values]  # of each: the logarithm of measured / line
    source: Literal["measured", "given"]
    most_hosts: int  # between which it was measured
    most_bytes: float  # of one exchange that was measured
    n: int  # exchanges that were timed; 0 where it was given
    ranks: int = 1  # the most on each host between which it was measured
    pairs: int = 1  # of hosts that were measured; those of the slowest are the n exchanges

    def seconds(self, size_bytes: float, hosts: int, ranks_per_host: int) -> Values:
        """Return the seconds of one all-reduce between these ranks."""
        steps, parts = terms(members(self.comm, hosts, ranks_per_host))
        on_line: Values = steps * self.alpha_s + parts * size_bytes * self.byte_s
        return on_line * np.exp(self._off_line(size_bytes)) if self.sizes else on_line

    def _off_line(self, size_bytes: float) -> Values:
        """Return how far from the line a size is: between its neighbours, or as the nearest one."""
        after = next((index for index, size in enumerate(self.sizes) if size >= size_bytes), len(self.sizes) - 1)
        before = max(0, after - 1)
        if size_bytes >= self.sizes[after] or after == before:
            return self.off_line[after]
        share = math.log(size_bytes / self.sizes[before]) / math.log(self.sizes[after] / self.sizes[before])
        return self.off_line[before] * (1 - share) + self.off_line[after] * share


def fitted(link: Link, comm: str, ranks_per_host: int, dice: Dice) -> Network:
    """Fit the line to the medians of exchanges: least squares of relative errors, neither part below zero.

    Exchanges between as many ranks a host count where there are any, else those between one rank a host. A ring of
    hosts has one member a host, however many ranks that has, so there all of its exchanges count. Raises UserError
    where too little was measured.
    """
    of_comm = [each for each in link.exchanges if each.comm == comm]
    others = [each for each in of_comm if each.ranks_per_host == 1 or comm == HIERARCHICAL]
    found = [each for each in of_comm if each.ranks_per_host == ranks_per_host] or others
    if len({each.size_bytes for each in found}) < 2:
        raise UserError(
            f"the link has no exchanges of two sizes by {comm} between {ranks_per_host} or 1 ranks a host, but of "
            f"{', '.join(link.comms)}; measure it again, or give --comm"
        )
    pairs = _require_all_pairs(link, comm)
    exchanges = [max(alike, key=lambda each: median(each.seconds)) for alike in _alike(found)]
    took_s = np.array([dice.medians(each.seconds) for each in exchanges])
    steps, parts = _terms(exchanges)
    alpha_s, byte_s = _solve(steps[:, None] / took_s, parts[:, None] / took_s)
    left = np.log(took_s / (steps[:, None] * alpha_s + parts[:, None] * byte_s))
    sizes = sorted({each.size_bytes for each in exchanges})
    return Network(
        comm=comm,
        alpha_s=alpha_s,
        byte_s=byte_s,
        sizes=sizes,
        off_line=[left[[each.size_bytes == size for each in exchanges]].mean(axis=0) for size in sizes],
        source="measured",
        most_hosts=max(each.hosts for each in exchanges),
        most_bytes=max(each.size_bytes for each in exchanges),
        n=sum(len(each.seconds) for each in exchanges),
        ranks=max(each.ranks_per_host for each in exchanges),
        pairs=pairs,
    )


def given(bits_per_s: float, latency_s: float, comm: str, dice: Dice) -> Network:
    """Return a link as it was given by hand."""
    alpha_s, byte_s = dice.exactly(latency_s), dice.exactly(8 / bits_per_s)
    return Network(comm, alpha_s, byte_s, [], [], "given", GIVEN_HOSTS, math.inf, 0)


def bandwidth(text: str) -> float:
    """Read `1gbit` as tc(8) writes it: bits a second. Raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg])bit", text.strip().lower())
    value = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < value <= MOST_BANDWIDTH:
        raise UserError(f"--bandwidth must be a rate like 1gbit or 200mbit; got {text!r}")
    return value


def _alike(exchanges: Sequence[Exchange]) -> list[list[Exchange]]:
    """Return exchanges that differ in the pair of hosts alone, side by side."""
    found: dict[tuple[str, int, int, int], list[Exchange]] = {}
    for each in exchanges:
        found.setdefault((each.comm, each.hosts, each.ranks_per_host, each.size_bytes), []).append(each)
    return [*found.values()]


def _require_all_pairs(link: Link, comm: str) -> int:
    """Return how many pairs of hosts exchanged by `comm`. Raises UserError where others were measured by another comm.

    `check` tries no further comm on a pair that is slow, and keeps none that failed: the slowest pair is missing then.
    """
    counts = {
        name: max(map(len, _alike([each for each in link.exchanges if each.comm == name]))) for name in link.comms
    }
    most = max(counts, key=lambda name: counts[name])
    if counts[comm] < counts[most]:
        raise UserError(
            f"the link has {counts[comm]} pairs of hosts by {comm} and {counts[most]} by {most}, so the slowest may be "
            f"missing; give --comm {most}, or the slowest by hand: --bandwidth 200mbit --latency-ms 0.2"
        )
    return counts[comm]


def _terms(exchanges: list[Exchange]) -> tuple[Values, Values]:
    """Return what multiplies the two unknowns in each exchange: steps, and bytes over every link."""
    rings = [terms(members(each.comm, each.hosts, each.ranks_per_host)) for each in exchanges]
    steps = np.array([float(steps) for steps, _ in rings])
    return steps, np.array([parts * each.size_bytes for (_, parts), each in zip(rings, exchanges, strict=True)])


def _solve(steps: Values, sent: Values) -> tuple[Values, Values]:
    """Return, draw by draw, the two unknowns that make steps * alpha + sent * byte nearest to 1 in every row."""
    a, b, c = (steps**2).sum(0), (steps * sent).sum(0), (sent**2).sum(0)
    p, q = steps.sum(0), sent.sum(0)
    determinant = a * c - b**2
    alpha_s, byte_s = (p * c - q * b) / determinant, (q * a - p * b) / determinant
    # Noise may make one of them negative, which no network is: the other then explains all.
    none = np.zeros_like(p)
    return (
        np.where(alpha_s < 0, none, np.where(byte_s < 0, p / a, alpha_s)),
        np.where(byte_s < 0, none, np.where(alpha_s < 0, q / c, byte_s)),
    )
