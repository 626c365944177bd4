"""The hosts of a study beside host 0: whether they are the same machine, and as fast.

In launches over several hosts the first rank of each takes the steps of every single process, all at the same time and
without a word to each other. Host 0's are the arm's own figures; against them the others are compared, round by round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ddpbench.judge import fairness, stats
from ddpbench.judge.outcome import ERROR_OF_A_LOOK, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.judge.study import Study
from ddpbench.record import Environment, Record
from ddpbench.turns import Launch


@dataclass(frozen=True, slots=True)
class OtherHost:
    """A host beside host 0."""

    number: int  # from 1
    machine: Environment
    times_as_long: Estimate | None  # for the same steps as host 0; None: not measured
    differences: dict[str, list[str]]  # of its machine from host 0's, the values of host 0 first

    def doubts(self, margin: float) -> list[str]:
        """Return in what it is not like host 0, and what to do. A difference of `margin` in speed does not matter."""
        doubts, found = list[str](), self.times_as_long
        if self.differences:
            what = fairness.describe(self.differences)
            doubts.append(f"host {self.number} is another machine than host 0: {what}; use equal ones")
        is_shown = outcome_of(found, margin) in ("faster", "slower")
        if found is not None and is_shown and abs(math.log(found.value)) > math.log1p(margin):
            times = f"{found.value:.2f}x ({found.low:.2f} - {found.high:.2f})"
            cure = f"look at what else runs on host {self.number if found.value > 1 else 0}, or replace it"
            why = f"host {self.number} takes {times} as long as host 0 for the same steps, and all wait for the slower"
            doubts.append(f"{why}; {cure}")
        return doubts


def others(study: Study) -> list[OtherHost]:
    """Return the other hosts of a study's newest launch, or of its newest run over several hosts."""
    measured: list[Record | Launch] = [*study.records, *study.launches]
    newest = next((each for each in reversed(measured) if each.others), None)
    if newest is None:
        return []
    return [
        OtherHost(
            number=number,
            machine=machine,
            times_as_long=_times_as_long(study.launches, number),
            differences=fairness.machine_differences(newest.environment, machine),
        )
        for number, machine in enumerate(newest.others, 1)
    ]


def _times_as_long(launches: Sequence[Launch], host: int) -> Estimate | None:
    """Estimate how many times as long a host takes as host 0, from launches that both were in."""
    by_launch = [
        [
            math.log(hosts_s[host] / hosts_s[0])
            for visits in launch.visits
            for hosts_s in visits.hosts_s or ()
            if host < len(hosts_s)
        ]
        for launch in launches
    ]
    logs = [stats.centre(rounds) for rounds in by_launch if rounds]
    return stats.ratio(logs, ERROR_OF_A_LOOK) if logs else None
