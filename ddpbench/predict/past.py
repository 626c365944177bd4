"""Predictions that were made before, beside what was measured later. One that was tested stays, right or wrong.

What predictions were wrong by is the error of the model in later bands:

    spread^2 = (5 prior^2 + sum of log(measured / foretold)^2) / (5 + tested)

So the prior counts as five predictions, and a miss widens the next band at once. A result that is many times off was
measured under other conditions, such as beside other programs: it is told as it is, and counts as three times off.

The priors are what is published: about 8 % of a step's time where the network was measured (Srifty, MLSys 2022), and
about 15 % where it was not (vTrain, MICRO 2024); a spread is 1.25 times a mean absolute error.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.errors import UserError, one_line
from ddpbench.fields import Count, Duration, Part, Text
from ddpbench.files import write_whole
from ddpbench.judge import files, timing
from ddpbench.judge.timing import Timing
from ddpbench.record import read_record
from ddpbench.settings import Settings
from ddpbench.turns import read_launch

NAME = "predictions.json"
VERSION = 1
PRIOR: dict[str, float] = {"measured": 0.10, "given": 0.19}  # by where the link is from
PRIOR_COUNTS = 5  # predictions that the prior is worth
MOST_MISS = math.log(3)


class Result(Part, frozen=True):
    """What was measured after a prediction was made."""

    study: Text
    started_at: Text
    step_s: Duration
    n: Count  # launches or seeds


class Prediction(Part, frozen=True):
    """One number of hosts, as it was foretold."""

    made_at: Text
    link: Literal["measured", "given"]
    settings: Settings  # with the global batch of these hosts
    arm: Arm
    step_s: Duration
    low_80_s: Duration
    high_80_s: Duration
    low_95_s: Duration
    high_95_s: Duration
    result: Result | None = None

    @property
    def miss(self) -> float | None:
        """The logarithm of measured / foretold; None where it was not run."""
        return None if self.result is None else math.log(self.result.step_s / self.step_s)

    @property
    def held(self) -> bool:
        """Whether the 95 % band had the result in it."""
        return self.result is not None and self.low_95_s <= self.result.step_s <= self.high_95_s

    def is_alike(self, other: "Prediction") -> bool:
        """Whether another one is of the same layout and settings, from the same kind of link."""
        return (self.arm, self.link, _same(self.settings)) == (other.arm, other.link, _same(other.settings))


class Past(Part, frozen=True):
    """The file of all predictions. No name in it is one of a run's record, which it could be taken for."""

    predictions_version: int
    predictions: list[Prediction]


class Error(NamedTuple):
    """What the predictions of a kind are wrong by."""

    spread: float  # of the logarithm of measured / foretold
    freedom: int  # of Student's t
    tested: int
    held: int  # of these: within their 95 % bands


def read(results: Path) -> list[Prediction]:
    """Return the predictions of a folder of results. Raises UserError where their file is damaged."""
    path = results / NAME
    try:
        past = msgspec.json.decode(path.read_bytes(), type=Past)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
        why = one_line(str(problem)[:200])
        raise UserError(f"{path} is not a whole file of predictions: {why}; move it away") from problem
    if past.predictions_version != VERSION:
        raise UserError(f"{path} has version {past.predictions_version}, this program reads {VERSION}; move it away")
    return past.predictions


def write(results: Path, predictions: Sequence[Prediction]) -> None:
    """Keep predictions. Raises DiskError where the disk refuses."""
    past = Past(predictions_version=VERSION, predictions=list(predictions))
    write_whole(results / NAME, msgspec.json.format(msgspec.json.encode(past), indent=1) + b"\n")


def added(before: Sequence[Prediction], new: Sequence[Prediction]) -> list[Prediction]:
    """Return all predictions. A new one replaces one of the same layout that was not run yet, and no other."""
    kept = [each for each in before if each.result is not None or not any(each.is_alike(other) for other in new)]
    return [*kept, *new]


def with_results(predictions: Sequence[Prediction], results: Path) -> list[Prediction]:
    """Return predictions with what was measured since they were made: by the first study of that layout."""
    if all(each.result is not None for each in predictions):
        return list(predictions)
    measured = sorted(_measured(results), key=lambda found: found[1].started_at)
    return [
        each if each.result is not None else replace(each, result=_result_of(each, measured)) for each in predictions
    ]


def error(predictions: Sequence[Prediction], link: str) -> Error:
    """Return what predictions from this kind of link are wrong by."""
    tested = [each for each in predictions if each.link == link and each.miss is not None]
    squares = math.fsum(min(abs(each.miss), MOST_MISS) ** 2 for each in tested if each.miss is not None)
    freedom = PRIOR_COUNTS + len(tested)
    spread = math.sqrt((PRIOR_COUNTS * PRIOR[link] ** 2 + squares) / freedom)
    return Error(spread, freedom, len(tested), sum(each.held for each in tested))


def _result_of(prediction: Prediction, measured: Sequence[tuple[Settings, Result, Arm]]) -> Result | None:
    return next(
        (
            result
            for settings, result, arm in measured
            if arm == prediction.arm
            and _same(settings) == _same(prediction.settings)
            and result.started_at > prediction.made_at
        ),
        None,
    )


def _same(settings: Settings) -> Settings:
    """Return settings without what does not change how long a step takes."""
    return replace(settings, epochs=1, target_accuracy=None, lr=None)


def _measured(results: Path) -> Iterator[tuple[Settings, Result, Arm]]:
    """Yield what was measured on several hosts. Files that cannot be read are left to compare.py, which names them."""
    for folder in sorted({results, *(path for path in results.iterdir() if path.is_dir())}):
        found = files.split_folder(folder)
        try:
            launches = [read_launch(path) for path in found.turns]
            records = [record for path in found.records if (record := read_record(path)).status == "complete"]
        except UserError:
            continue
        injected = [*(each.injected for each in launches), *(each.injected for each in records)]
        if any(hook is not None for hook in injected):
            continue
        if launches and any(each.hosts > 1 for each in launches):
            first = min(launches, key=lambda each: each.started_at)
            yield from _of_timing(timing.of_launches(launches), folder.name, first.started_at, first.settings)
        several = [each for each in records if each.hosts > 1]
        if several and not launches:
            first_run = min(several, key=lambda each: each.started_at)
            yield from _of_timing(timing.of_runs(several), folder.name, first_run.started_at, first_run.settings)


def _of_timing(
    timed: Timing, study: str, started_at: str, settings: Settings
) -> Iterator[tuple[Settings, Result, Arm]]:
    for turn in timed.turns:
        if turn.arm.hosts > 1 and not turn.is_control:
            step_s = timed.step_s(turn)
            result = Result(study=one_line(study), started_at=started_at, step_s=step_s.value, n=step_s.n)
            yield replace(settings, global_batch=turn.global_batch), result, turn.arm
