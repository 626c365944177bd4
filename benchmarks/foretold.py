"""What `predict` foretells for 2, 4 and 8 hosts against what they take, over links of 50 Mbit/s to 1 Gbit/s.

python -m benchmarks.foretold                   every link: some five minutes
python -m benchmarks.foretold 200mbit           one link

Hosts are namespaces of this machine, and their links are shaped (tests/hosts/network.py; only root can make them). A
rank's computing is a sleep, which takes no core: drawn from the steps of one process that the sweep in
docs/example-sweep measured at the batch of the rank. Its reductions are real: gloo's, in DDP's buckets, over the links.
What is foretold rests on that sweep and on exchanges between two hosts alone. Cases in which this machine's cores were
busy are counted apart: there one host waits for another's core.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from benchmarks.rounds import Report
from ddpbench import link
from ddpbench.link import Exchange, Link
from ddpbench.predict import network, past
from ddpbench.predict.draws import Band, Dice, band
from ddpbench.predict.measured import Measured, measure
from ddpbench.predict.model import Model, Work
from ddpbench.turns import Launch, read_launches
from tests.hosts.network import Host, missing
from tests.hosts.sleeping import Case, Shaped, together

SWEEP = Path(__file__).parents[1] / "docs/example-sweep"
RATES, HOSTS = ("50mbit", "200mbit", "1gbit"), (2, 4, 8)
GLOBAL_BATCH = 1_024  # the largest of the sweep
GRADIENTS = (227_304, 4_000_000)  # bytes: of the small network of the sweep, in one bucket, and in two
SIZES = (4_096, 65_536, 262_144, 1_048_576, 4_194_304)  # of the exchanges that measure a link
ROUND_S, LEAST_STEPS, MOST_STEPS = 3.0, 5, 60
MOST_BUSY = 0.85  # share of this machine's cores: beyond it hosts wait for cores, which real hosts do not share


@dataclass(frozen=True)
class Outcome:
    """A prediction and what came of it."""

    rate: str
    hosts: int
    gradient_bytes: int
    foretold_ms: Band
    rounds_ms: list[float]
    busy: float

    @property
    def measured_ms(self) -> float:
        """The middle of the rounds."""
        return median(self.rounds_ms)

    @property
    def error_percent(self) -> float:
        """By how much the prediction was wrong, whichever way."""
        return 100 * abs(self.measured_ms / self.foretold_ms.value - 1)

    @property
    def is_held(self) -> bool:
        """Whether the 95 % band has the result in it."""
        return self.foretold_ms.low_95 <= self.measured_ms <= self.foretold_ms.high_95

    def __str__(self) -> str:
        foretold = self.foretold_ms
        return (
            f"{self.rate:>8} {self.hosts:5} {self.gradient_bytes / 1e6:8.2f} {foretold.value:9.1f} "
            f"({foretold.low_95:6.1f} - {foretold.high_95:6.1f}) {self.measured_ms:9.1f} {self.error_percent:6.1f} % "
            f"{'inside ' if self.is_held else 'OUTSIDE'} {100 * self.busy:7.0f} %"
        )


def main() -> None:
    """Foretell and measure every case, and report."""
    if why := missing():
        print(f"not run: {why}")
        return
    launches = read_launches(SWEEP)
    outcomes = [each for rate in sys.argv[1:] or RATES for each in on_link(rate, launches)]
    report = Report("foretold")
    for rate in dict.fromkeys(each.rate for each in outcomes):
        report.section(f"links of {rate}")
        for each in outcomes:
            if each.rate == rate:
                name = f"{each.hosts} hosts, {each.gradient_bytes / 1e6:.2f} MB: measured / foretold"
                report.figure(name, [took / each.foretold_ms.value for took in each.rounds_ms], "times")
    print("\n    link hosts       MB  foretold ms (95 %)          measured   error            cores busy")
    print(*outcomes, sep="\n")
    tell(report, "all cases", outcomes)
    tell(report, f"cores less than {100 * MOST_BUSY:.0f} % busy", [each for each in outcomes if each.busy < MOST_BUSY])
    report.write()


def tell(report: Report, title: str, outcomes: Sequence[Outcome]) -> None:
    """Add how wrong predictions were."""
    report.section(f"{title}: {len(outcomes)}")
    if outcomes:
        report.figure("error of a prediction", [each.error_percent for each in outcomes], "%")
        report.figure("results inside their 95 % band", [100 * fmean(each.is_held for each in outcomes)], "%")


def on_link(rate: str, launches: Sequence[Launch]) -> list[Outcome]:
    """Measure the link between two hosts, foretell every case from it, and then run them."""
    dice = Dice()
    one_host = measure(launches, 1, GLOBAL_BATCH, on_gpu=False)
    with Shaped(max(HOSTS), rate) as net:
        found = together(net.hosts[:2], [*SIZES], [])
        measured = Link(
            link_version=link.VERSION,
            measured_at="",
            exchanges=[
                Exchange(comm="gloo", hosts=2, ranks_per_host=1, size_bytes=size, seconds=seconds)
                for size, seconds in zip(SIZES, found.exchanges_s, strict=True)
            ],
        )
        line = network.fitted(measured, "gloo", 1, dice)
        print(
            f"{rate}: {1e3 * line.alpha_s[0]:.3f} ms a step of the ring, {1e-6 / line.byte_s[0]:.1f} MB/s", flush=True
        )
        error = past.error([], "measured")
        outcomes = []
        for hosts in HOSTS:
            foretold = {}
            for size in GRADIENTS:
                work = Work(size, 1, 60_000, 0.0, False)
                model = Model(one_host, line, work, dice.factor(error.spread, error.freedom), dice)
                model.require([hosts], 2)
                foretold[size] = band(1e3 * model.layout(hosts).step_s)
            outcomes += run(rate, net.hosts[:hosts], foretold, drawn_from(launches, one_host, GLOBAL_BATCH // hosts))
    return outcomes


def run(rate: str, hosts: Sequence[Host], foretold: Mapping[int, Band], computing_s: list[float]) -> list[Outcome]:
    """Run what was foretold on these hosts."""
    cases = [
        Case(size, computing_s, max(LEAST_STEPS, min(MOST_STEPS, round(1e3 * ROUND_S / each.value))))
        for size, each in foretold.items()
    ]
    found = together(hosts, [], cases)
    outcomes = [
        Outcome(
            rate=rate,
            hosts=len(hosts),
            gradient_bytes=case.gradient_bytes,
            foretold_ms=foretold[case.gradient_bytes],
            rounds_ms=[1e3 * took for took in rounds],
            busy=median(busy),
        )
        for case, rounds, busy in zip(cases, found.steps_s, found.busy, strict=True)
    ]
    print(*outcomes, sep="\n", flush=True)
    return outcomes


def drawn_from(launches: Sequence[Launch], one_host: Measured, rank_batch: int) -> list[float]:
    """Return the steps of one process at a batch, in seconds: the means of all blocks of all launches."""
    return [
        ranks_s[0] / each.steps
        for launch in launches
        for each in launch.visits
        if each.turn.arm.kind == "baseline"
        and (each.turn.arm.threads_per_rank, each.turn.global_batch) == (one_host.rank.threads, rank_batch)
        for ranks_s in each.block_s
    ]


if __name__ == "__main__":
    main()
