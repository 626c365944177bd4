"""What a user may require of a study: what matters, and limits that make compare.py end with exit code 1."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ddpbench import flags
from ddpbench.command import COMPARE_NAME
from ddpbench.errors import DdpbenchError, GateFailedError, UserError
from ddpbench.judge import learning
from ddpbench.judge.change import Change
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria
from ddpbench.judge.stats import Estimate


class Gates(Protocol):
    """The values of the flags. A gate of None requires nothing."""

    margin: float | None  # of the metric, in its unit; None: the task's own
    margin_speed: str  # percent
    price_per_hour: str | None
    fail_below_speedup: float | None
    fail_below_efficiency: float | None  # 0 to 1
    fail_if_accuracy_lost: float | None  # in the unit of the metric: points of accuracy
    fail_if_slower: bool


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags that `Gates` holds."""
    add = parser.add_argument
    add("--margin", type=float, metavar="POINTS", help="accuracy loss that matters (default: the task's; mnist: 0.3)")
    add("--margin-speed", default="3%", metavar="P%", help="difference in speed that matters (default: 3%%)")
    add("--price-per-hour", metavar="X", help="of one worker: say what an epoch costs, and whether it pays")
    add("--fail-below-speedup", type=float, metavar="X", help="exit with 1 if the speed is below X times the reference")
    add("--fail-below-efficiency", type=float, metavar="X", help="exit with 1 if the efficiency, 0 to 1, is below X")
    add("--fail-if-accuracy-lost", type=float, metavar="POINTS", help="exit with 1 if more accuracy is lost than this")
    add("--fail-if-slower", action="store_true", help="OLD NEW: exit with 1 if a step of NEW certainly takes longer")


def criteria(gates: Gates) -> Criteria:
    """Return what matters to the user. Raises UserError for a value out of bounds."""
    margin = gates.margin
    if margin is not None and not 0 < margin < 100:
        raise UserError(f"--margin must be between 0 and 100, got {margin:g}")
    speed = flags.percentage("--margin-speed", gates.margin_speed)
    return Criteria(margin=margin, speed=speed, price_per_hour=flags.price(gates.price_per_hour))


@contextmanager
def enforced(judgements: Sequence[Judgement], changed: Change | None, gates: Gates) -> Iterator[None]:
    """Raise GateFailedError at the end of the block if a study fails a gate, for the first that fails.

    Of two studies that are compared, `changed`, the new one must pass.

    An error in the block does not hide the failed gate: bad input and full disks are appended to its message. A bug of
    ours is raised as it is, after the gate's message was printed.
    """
    judged = judgements if changed is None else [changed.new]
    failure = next((line for each in judged if (line := find_failure(each, gates))), None)
    if failure is None and gates.fail_if_slower and changed is not None and changed.outcome == "slower":
        failure = f"gate failed: a step takes {1 / changed.fastest.times_as_fast.value:.2f} times as long as before"
    try:
        yield
    except DdpbenchError as error:
        if failure:
            raise GateFailedError(f"{failure}; also: {error}") from error
        raise
    except Exception:
        if failure:
            print(f"{COMPARE_NAME}: {failure}", file=sys.stderr)
        raise
    if failure:
        raise GateFailedError(failure)


def find_failure(judgement: Judgement, gates: Gates) -> str | None:
    """Return, in one line, the first gate that a study fails; None if it passes all.

    A gate compares the value and not the interval, so that a study of one seed can pass. What was not measured fails.
    """
    parallel = judgement.parallel
    table: Sequence[tuple[str, Estimate | None, float | None]] = (
        ("speedup", parallel.speed if parallel else None, gates.fail_below_speedup),
        ("efficiency", parallel.efficiency if parallel else None, gates.fail_below_efficiency),
    )
    for name, estimate, limit in table:
        if limit is not None and (estimate is None or estimate.value < limit):
            return f"gate failed: {name} is {_value(estimate)}, required at least {limit:g}"
    return None if gates.fail_if_accuracy_lost is None else _lost(judgement, gates.fail_if_accuracy_lost)


def _lost(judgement: Judgement, limit: float) -> str | None:
    """Return a line if more of the metric was lost than `limit`, in its unit; None if not."""
    metric, comparison = judgement.study.metric, judgement.comparison
    difference = comparison.learnt.difference if comparison and comparison.learnt else None
    name = metric.name if metric else "accuracy"
    unit = learning.difference_unit(metric) if metric else "points"
    where = f"{name} difference{f' in {unit}' if unit else ''} is {_value(difference)}"
    if metric is not None and metric.lower_is_better:
        if difference is None or difference.value > limit:
            return f"gate failed: {where}, required at most {limit:g}"
    elif difference is None or difference.value < -limit:
        return f"gate failed: {where}, required at least {-limit:g}"
    return None


def _value(estimate: Estimate | None) -> str:
    return "not measured" if estimate is None else f"{estimate.value:.4g}"
