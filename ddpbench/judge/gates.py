"""What a user may require of a study: what matters, and limits that make compare.py end with exit code 1."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ddpbench.errors import DdpbenchError, GateFailedError, UserError
from ddpbench.judge.change import Change
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria
from ddpbench.judge.stats import Estimate


class Gates(Protocol):
    """The values of the flags. A gate of None requires nothing."""

    margin: float  # points of accuracy
    margin_speed: str  # percent
    price_per_hour: float | None
    fail_below_speedup: float | None
    fail_below_efficiency: float | None  # 0 to 1
    fail_if_accuracy_lost: float | None  # points
    fail_if_slower: bool


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags that `Gates` holds."""
    add = parser.add_argument
    add("--margin", type=float, default=0.3, metavar="POINTS", help="accuracy loss that matters (default: 0.3)")
    add("--margin-speed", default="3%", metavar="P%", help="difference in speed that matters (default: 3%%)")
    add("--price-per-hour", type=float, metavar="X", help="of one worker: say what an epoch costs, and whether it pays")
    add("--fail-below-speedup", type=float, metavar="X", help="exit with 1 if the speed is below X times the reference")
    add("--fail-below-efficiency", type=float, metavar="X", help="exit with 1 if the efficiency, 0 to 1, is below X")
    add("--fail-if-accuracy-lost", type=float, metavar="POINTS", help="exit with 1 if more accuracy is lost than this")
    add("--fail-if-slower", action="store_true", help="OLD NEW: exit with 1 if a step of NEW certainly takes longer")


def criteria(flags: Gates) -> Criteria:
    """Return what matters to the user. Raises UserError for a value out of bounds."""
    price = flags.price_per_hour
    if price is not None and not 0 < price < 1e9:
        raise UserError(f"--price-per-hour must be above 0, got {price:g}")
    try:
        percent = float(flags.margin_speed.strip().removesuffix("%"))
    except ValueError:
        percent = 0.0
    for flag, value, shown in (
        ("--margin", flags.margin, f"{flags.margin:g}"),
        ("--margin-speed", percent, flags.margin_speed),
    ):
        if not 0 < value < 100:
            raise UserError(f"{flag} must be between 0 and 100, got {shown}")
    return Criteria(accuracy=flags.margin / 100, speed=percent / 100, price_per_hour=price)


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
        failure = f"gate failed: a step takes {1 / changed.arms[0].times_as_fast.value:.2f} times as long as before"
    try:
        yield
    except DdpbenchError as error:
        if failure:
            raise GateFailedError(f"{failure}; also: {error}") from error
        raise
    except Exception:
        if failure:
            print(f"compare.py: {failure}", file=sys.stderr)
        raise
    if failure:
        raise GateFailedError(failure)


def find_failure(judgement: Judgement, gates: Gates) -> str | None:
    """Return, in one line, the first gate that a study fails; None if it passes all.

    A gate compares the value and not the interval, so that a study of one seed can pass. What was not measured fails.
    """
    parallel, comparison = judgement.parallel, judgement.comparison
    gain = comparison.accuracy.difference.scaled(100) if comparison and comparison.accuracy else None
    lost = gates.fail_if_accuracy_lost
    table: Sequence[tuple[str, Estimate | None, float | None]] = (
        ("speedup", parallel.speed if parallel else None, gates.fail_below_speedup),
        ("efficiency", parallel.efficiency if parallel else None, gates.fail_below_efficiency),
        ("accuracy difference in points", gain, None if lost is None else -lost),
    )
    for name, estimate, limit in table:
        if limit is not None and (estimate is None or estimate.value < limit):
            value = "not measured" if estimate is None else f"{estimate.value:.4g}"
            return f"gate failed: {name} is {value}, required at least {limit:g}"
    return None
