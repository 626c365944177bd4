"""A step on several hosts: computing, waiting for the slowest rank, and the exchange that backward does not hide.

    step = slowest of all ranks, at the batch of a rank, + exposed exchange

"Measured" means: hosts that exchanged gradients, by the link or by a launch; batches of one rank alone; bytes of one
exchange. Beyond four times what was measured nothing is foretold. A link given by hand counts as two hosts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ddpbench.command import COMMAND
from ddpbench.errors import UserError
from ddpbench.predict import buckets
from ddpbench.predict.draws import Dice, Values
from ddpbench.predict.measured import Measured, slowest_of
from ddpbench.predict.network import Network

BEYOND = 4  # times what was measured
KNEE = 0.5  # of one host: a further host that adds less is not worth it


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be trained, however many hosts there are."""

    gradient_bytes: float  # as they are computed: DDP makes its buckets of these
    parts: int  # of a rank's batch that are computed one after the other
    samples: int  # of an epoch
    startup_s: float  # of a run, as a share of each epoch
    is_weak: bool  # whether every rank keeps its batch, so that the global batch grows
    sent: float = 1.0  # bytes that are sent / bytes of gradients: below 1 where ranks round them first

    @property
    def sizes(self) -> list[float]:
        """The bytes of each exchange of a step."""
        return [self.sent * size for size in buckets.sizes(self.gradient_bytes)]


@dataclass(frozen=True, slots=True)
class Layout:
    """One number of hosts, in draws."""

    hosts: int
    rank_batch: int
    global_batch: int
    computing_s: Values  # of a step of the mean rank
    waiting_s: Values  # until the slowest rank is ready
    sent: list[buckets.Sent]
    step_s: Values  # with the error of the model
    epoch_s: Values
    efficiency: Values

    @property
    def exposed_s(self) -> Values:
        """The exchange that costs time."""
        return sum((each.exposed_s for each in self.sent), np.zeros_like(self.step_s))


class Model:
    """One host and a network, from which any number of hosts is foretold."""

    def __init__(self, measured: Measured, network: Network, work: Work, error: Values, dice: Dice) -> None:
        """`error` has draws of what such predictions were wrong by: factors."""
        self._measured, self._network, self._work = measured, network, work
        self._error, self._dice = error, dice
        self._alone_s = {size: dice.around(values) for size, values in measured.alone_s.items()}
        self._misfit = dice.factor(_misfit(self._alone_s), max(1, len(self._alone_s) - 2))
        self._sharing, self._spread = dice.around(measured.sharing), dice.around(measured.spread)
        self._one_host_s = dice.around(measured.one_host_s)

    def require(self, hosts: Sequence[int], measured_hosts: int) -> None:
        """Raise UserError for the first number of hosts that is beyond four times what was measured."""
        most, batches = BEYOND * max(measured_hosts, self._network.most_hosts), [*self._alone_s]
        largest = max(self._work.sizes)
        for count in hosts:
            if count > most:
                raise UserError(
                    f"--hosts {count} is beyond {BEYOND} times the {most // BEYOND} hosts that were measured: at most "
                    f"{most}; run {COMMAND} check on more hosts"
                )
            batch = self._rank_batch(count)
            if count > 1 and not min(batches) / BEYOND <= batch <= max(batches) * BEYOND:
                raise UserError(
                    f"{count} hosts need batches of {batch} samples a rank, and one rank alone was measured from "
                    f"{min(batches)} to {max(batches)}: not beyond {BEYOND} times that; run: {COMMAND} sweep "
                    f"--batches {' '.join(map(str, _ladder(batch, batches)))}"
                )
            if count > 1 and largest > BEYOND * self._network.most_bytes:
                raise UserError(
                    f"gradients are sent in parts of {largest:,.0f} bytes, and the link was measured up to "
                    f"{self._network.most_bytes:,.0f}: not beyond {BEYOND} times that; measure larger exchanges"
                )

    def layout(self, hosts: int) -> Layout:
        """Foretell one number of hosts. One host is as it was measured: its fastest arm."""
        batch = self._rank_batch(hosts)
        if hosts == 1:
            none = self._dice.exactly(0.0)
            return self._laid_out(1, batch, (self._one_host_s, none, []), self._one_host_s)
        per_host = self._measured.rank.per_host
        bookkeeping_s = max(0.0, math.fsum(self._measured.bookkeeping_s) / max(1, len(self._measured.bookkeeping_s)))
        computing_s = self.alone_s(batch) * self._sharing + bookkeeping_s
        waiting_s = computing_s * self._spread * slowest_of(hosts * per_host)
        sent = buckets.send(
            self._work.sizes,
            computing_s + waiting_s,
            lambda size: self._network.seconds(size, hosts, per_host),
            self._work.parts,
        )
        step_s = (computing_s + waiting_s + sum(each.exposed_s for each in sent)) * self._error
        return self._laid_out(hosts, batch, (computing_s, waiting_s, sent), step_s)

    def alone_s(self, batch: int) -> Values:
        """Return the seconds of a step of one rank alone: between measured batches, or on the line through all."""
        sizes = [*self._alone_s]
        if batch in self._alone_s:
            return self._alone_s[batch]
        if sizes[0] < batch < sizes[-1]:
            after = next(index for index, size in enumerate(sizes) if size > batch)
            low, high = sizes[after - 1], sizes[after]
            share = (batch - low) / (high - low)
            return self._alone_s[low] * (1 - share) + self._alone_s[high] * share
        a_s, c_s = line(self._alone_s)
        on_line = (a_s + c_s * batch) * self._misfit
        if batch > sizes[-1]:
            return on_line
        # A smaller batch never takes less time for a sample, and never more time in all.
        return np.clip(on_line, self._alone_s[sizes[0]] * batch / sizes[0], self._alone_s[sizes[0]])

    def _rank_batch(self, hosts: int) -> int:
        """Return the samples of a step of the rank that has most."""
        ranks = self._measured.rank.per_host * (1 if self._work.is_weak else hosts)
        if self._measured.global_batch < ranks:
            raise UserError(
                f"--hosts {hosts}: {ranks} ranks cannot share a batch of {self._measured.global_batch}; give --weak, "
                "or a larger --global-batch"
            )
        return -(-self._measured.global_batch // ranks)

    def _laid_out(
        self, hosts: int, batch: int, parts: tuple[Values, Values, list[buckets.Sent]], step_s: Values
    ) -> Layout:
        global_batch = self._measured.global_batch * (hosts if self._work.is_weak else 1)
        steps = max(1, self._work.samples // global_batch)
        speed = self._one_host_s / step_s * (hosts if self._work.is_weak else 1)
        epoch_s = steps * step_s + self._work.startup_s
        return Layout(hosts, batch, global_batch, *parts, step_s=step_s, epoch_s=epoch_s, efficiency=speed / hosts)


def line(alone_s: Mapping[int, Values]) -> tuple[Values, Values]:
    """Fit t = a + c * batch draw by draw: least squares of relative errors."""
    took_s = np.array([*alone_s.values()])
    sizes = np.array([*alone_s], dtype=float)[:, None]
    weights = 1 / took_s**2
    total, at, of = weights.sum(0), (weights * sizes).sum(0), (weights * took_s).sum(0)
    c_s = ((weights * sizes * took_s).sum(0) * total - at * of) / ((weights * sizes**2).sum(0) * total - at**2)
    return (of - c_s * at) / total, c_s


def knee(layouts: Sequence[Layout]) -> Layout | None:
    """Return the number of hosts beyond which another one adds less than half a host's speed; None if all add more."""
    for before, after in pairwise(layouts):
        gained = float(after.efficiency[0]) * after.hosts - float(before.efficiency[0]) * before.hosts
        if gained < KNEE * (after.hosts - before.hosts):
            return before
    return None


def _misfit(alone_s: Mapping[int, Values]) -> float:
    """Return how far, as the logarithm of a factor, measured steps lie from the line through them."""
    a_s, c_s = line(alone_s)
    left = [math.log(max(float(a_s[0] + c_s[0] * size), 1e-12) / float(s[0])) for size, s in alone_s.items()]
    return math.sqrt(math.fsum(each**2 for each in left) / (len(left) - 2)) if len(left) > 2 else 0.0


def _ladder(batch: int, batches: Sequence[int]) -> list[int]:
    """Return batches for a sweep that include this one."""
    return sorted({batch, *batches})
