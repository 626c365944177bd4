"""How long a study will take: its launches until they are precise enough, and its whole runs."""

from collections.abc import Sequence
from typing import NamedTuple

from ddpbench.arm import Arm
from ddpbench.questions import Machine
from ddpbench.settings import Settings
from ddpbench.study.plan import Job
from ddpbench.turns import FIRST_LOOK, Pair

ROUNDS_S = 8.0  # of a launch: more launches narrow the interval more than longer ones do
START_SHARE = 0.8  # of `start_s`, in which Python, torch and the data start: a launch is forked with torch imported
LAUNCHES_IN_BUDGET = 8  # at least: a small budget makes launches shorter, down to a few rounds
JUDGE_S = 8.0  # to judge a study and draw its charts


def rounds_s(budget_s: float) -> float:
    """Return the seconds of rounds of a launch, where all launches may take `budget_s`."""
    return min(ROUNDS_S, budget_s / LAUNCHES_IN_BUDGET)


def start_s(machine: Machine) -> float:
    """Estimate the seconds from the start of a launch until its first round."""
    return START_SHARE * machine.start_s


def launch_s(budget_s: float, machine: Machine) -> float:
    """Estimate the seconds of a launch: its ranks have torch from their start, read the data and build every arm."""
    return rounds_s(budget_s) + start_s(machine)


def run_s(arm: Arm, step_s: float, settings: Settings, machine: Machine) -> float:
    """Estimate the seconds of a whole run, start-up and evaluation included."""
    steps = machine.num_train // settings.global_batch
    test_s = step_s / 3 * machine.num_test / settings.global_batch  # forward only
    # torchrun imports torch, and then every rank does. More ranks than cores take turns.
    imports = 1 + max(1.0, arm.ranks_per_host / machine.environment.cores) if arm.kind == "ddp" else 1.0
    return imports * machine.start_s + settings.epochs * (step_s * steps + test_s)


def job_estimates_s(jobs: Sequence[Job], pair: Pair, settings: Settings, machine: Machine) -> dict[Job, float]:
    """Estimate the seconds of whole runs from the steps of the two arms that the launches have chosen."""
    step_s = {pair.parallel.arm: pair.parallel_step_s}
    return {job: run_s(job.arm, step_s.get(job.arm, pair.reference_step_s), settings, machine) for job in jobs}


class Left(NamedTuple):
    """The time that is left."""

    seconds: float
    is_most: bool  # whether it is the most that it can be, and not what is expected

    def words(self, elapsed_s: float = 0.0) -> str:
        """Return what is left after so many seconds in words."""
        return f"{'at most' if self.is_most else 'about'} {minutes(max(1.0, self.seconds - elapsed_s))} left"


class Rule(NamedTuple):
    """When the launches of a study are enough."""

    least: int  # launches, those that were there before among them
    budget_s: float

    def is_enough(self, count: int, pairs: Sequence[Pair], spent_s: float, next_s: float) -> bool:
        """Whether no launch follows `count` of them, of which this study has spent seconds; another takes `next_s`."""
        is_known = bool(pairs) and all(pair.is_known for pair in pairs)
        return count >= self.least and (is_known or spent_s + next_s > self.budget_s)

    def left(self, count: int, pairs: Sequence[Pair], spent_s: float, next_s: float) -> Left:
        """Estimate the seconds of the launches that follow: an interval narrows with the square root of their number.

        That is at least until the first look, and at most the budget, which is all there is to say before an interval.
        """
        least_s = max(0, self.least - count) * next_s
        most_s = max(least_s, self.budget_s - spent_s)
        widths = [width / pair.enough for pair in pairs if (width := half_width(pair)) is not None]
        if not widths or count < FIRST_LOOK:
            return Left(most_s, is_most=True)
        needed = max(1, round(count * max(widths) ** 2) - count)
        return Left(min(most_s, max(least_s, needed * next_s)), is_most=False)


def half_width(pair: Pair) -> float | None:
    """Return half the width of the interval that another launch is to narrow; None where there is none."""
    if pair.low is None or pair.high is None or pair.is_known:
        return None
    return (pair.high - pair.low) / (2 * pair.speed)


class Forecast:
    """The time that is left of the whole runs and of judging, in seconds."""

    def __init__(self) -> None:
        self._estimates_s: dict[Job, float] = {}
        self._took_s: dict[Job, float] = {}

    def expect(self, estimates_s: dict[Job, float]) -> None:
        """Add jobs with their first estimates."""
        self._estimates_s |= estimates_s

    def took(self, job: Job, seconds: float) -> None:
        """Note how long a run took, over all its attempts."""
        self._took_s[job] = seconds

    def job_s(self, job: Job) -> float:
        """Estimate the seconds of a run: the mean of the runs of its arm.

        Without one, the first estimate, times the ratio of measured to estimated seconds of all runs so far.
        """
        alike = [seconds for other, seconds in self._took_s.items() if other.arm == job.arm]
        if alike:
            return sum(alike) / len(alike)
        expected_s = sum(self._estimates_s[other] for other in self._took_s)
        return self._estimates_s[job] * (sum(self._took_s.values()) / expected_s if expected_s else 1.0)

    def left_s(self, todo: Sequence[Job], elapsed_s: float = 0.0) -> float:
        """Estimate the seconds until the study is judged. The first of the jobs `todo` has run for `elapsed_s`."""
        first_s = max(0.0, self.job_s(todo[0]) - elapsed_s) if todo else 0.0
        return first_s + sum(map(self.job_s, todo[1:])) + JUDGE_S


def minutes(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 4 min."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
