"""What a user may require of a study: the margin of accuracy, and limits that make compare.py end with exit code 1."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ddpbench.errors import DdpbenchError, GateFailedError, UserError
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Estimate


class Gates(Protocol):
    """The limits, as compare.py's flags give them. None requires nothing."""

    fail_below_speedup: float | None
    fail_below_efficiency: float | None  # 0 to 1
    fail_if_accuracy_lost: float | None  # points


def margin(points: float) -> float:
    """Return a margin of accuracy, 0 to 1, from points. Raises UserError if it is not between 0 and 100 points."""
    if not 0 < points < 100:
        raise UserError(f"--margin must be between 0 and 100 points, got {points:g}")
    return points / 100


@contextmanager
def enforced(judgements: Sequence[Judgement], gates: Gates) -> Iterator[None]:
    """Raise GateFailedError at the end of the block if a study fails a gate, for the first that fails.

    An error in the block does not hide the failed gate: bad input and full disks are appended to its message. A bug of
    ours is raised as it is, after the gate's message was printed.
    """
    failure = next((line for each in judgements if (line := find_failure(each, gates))), None)
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
        ("speedup", parallel.speedup if parallel else None, gates.fail_below_speedup),
        ("efficiency", parallel.efficiency if parallel else None, gates.fail_below_efficiency),
        ("accuracy difference in points", gain, None if lost is None else -lost),
    )
    for name, estimate, limit in table:
        if limit is not None and (estimate is None or estimate.value < limit):
            value = "not measured" if estimate is None else f"{estimate.value:.4g}"
            return f"gate failed: {name} is {value}, required at least {limit:g}"
    return None
