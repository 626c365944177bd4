"""Predictions that were made before, beside what was measured later. One that was tested stays, right or wrong.

What predictions were wrong by is the error of the model in later bands:

    spread^2 = (5 prior^2 + sum of log(measured / foretold)^2) / (5 + tested)

So the prior counts as five predictions, and a miss widens the next band at once. A result that is many times off was
measured under other conditions, such as beside other programs: it is told as it is, and counts as three times off.

The priors are what is published: about 8 % of a step's time where the network was measured (Srifty, MLSys 2022), and
about 15 % where it was not (vTrain, MICRO 2024); a spread is 1.25 times a mean absolute error.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from ddpbench.arm import Arm, arm_of
from ddpbench.errors import UserError, one_line
from ddpbench.fields import Count, Duration, Part, Text
from ddpbench.files import write_whole
from ddpbench.judge import files, timing
from ddpbench.record import Record, read_record
from ddpbench.settings import Settings
from ddpbench.turns import Launch, TurnArm, read_launch

T = TypeVar("T")
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
    """Return predictions with what was measured since they were made: by the first study or runs of that layout."""
    if all(each.result is not None for each in predictions):
        return list(predictions)
    folders = list(_folders(results))
    return [
        each if each.result is not None else replace(each, result=_result_of(each, folders)) for each in predictions
    ]


def error(predictions: Sequence[Prediction], link: str) -> Error:
    """Return what predictions from this kind of link are wrong by."""
    tested = [each for each in predictions if each.link == link and each.miss is not None]
    squares = math.fsum(min(abs(each.miss), MOST_MISS) ** 2 for each in tested if each.miss is not None)
    freedom = PRIOR_COUNTS + len(tested)
    spread = math.sqrt((PRIOR_COUNTS * PRIOR[link] ** 2 + squares) / freedom)
    return Error(spread, freedom, len(tested), sum(each.held for each in tested))


class _Folder(NamedTuple):
    """What a folder holds: the launches or else the whole runs of a study, or single runs that need not be alike."""

    name: str
    launches: list[Launch]
    runs: list[Record]


def _result_of(prediction: Prediction, folders: Sequence[_Folder]) -> Result | None:
    results = [result for each in folders if (result := _result_in(each, prediction)) is not None]
    return min(results, key=lambda each: each.started_at, default=None)


def _result_in(folder: _Folder, prediction: Prediction) -> Result | None:
    """Return what was measured in a folder after a prediction, of its layout and settings; None without any."""
    turn = TurnArm(arm=prediction.arm, global_batch=prediction.settings.global_batch)

    def tests(each: Launch | Record, turns: Sequence[TurnArm]) -> bool:
        settings = replace(each.settings, global_batch=turn.global_batch)
        is_alike = turn in turns and _same(settings) == _same(prediction.settings)
        return is_alike and each.started_at > prediction.made_at

    launches = [each for each in folder.launches if tests(each, [visits.turn for visits in each.visits])]
    runs = [each for each in folder.runs if tests(each, [_turn_of(each)])]
    begun = [each.started_at for each in launches] + [each.started_at for each in runs]
    if not begun:
        return None
    step_s = (timing.of_launches(launches) if launches else timing.of_runs(runs)).step_s(turn)
    return Result(study=one_line(folder.name), started_at=min(begun), step_s=step_s.value, n=step_s.n)


def _turn_of(run: Record) -> TurnArm:
    return TurnArm(arm=arm_of(run), global_batch=run.settings.global_batch)


def _same(settings: Settings) -> Settings:
    """Return settings without what does not change how long a step takes."""
    return replace(settings, epochs=1, target_accuracy=None, lr=None)


def _folders(results: Path) -> Iterator[_Folder]:
    """Yield what was measured on several hosts, without what a hook disturbed."""
    for path in sorted({results, *(path for path in results.iterdir() if path.is_dir())}):
        try:
            found = files.split_folder(path)
        except UserError:
            continue
        launches = [each for each in _readable(found.turns, read_launch) if each.hosts > 1 and each.injected is None]
        records = [] if found.turns else _readable(found.records, read_record)
        runs = [each for each in records if each.hosts > 1 and each.injected is None and each.status == "complete"]
        yield _Folder(path.name, launches, runs)


def _readable(paths: Sequence[Path], read_one: Callable[[Path], T]) -> Iterator[T]:
    """Yield what can be read. Files that cannot are left to compare.py, which names them."""
    for path in paths:
        try:
            yield read_one(path)
        except UserError:
            continue
