"""The record of a run while it trains: the main rank writes it after every epoch, and says how training goes on."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType

from msgspec.structs import replace
from safetensors.torch import save as to_safetensors
from typing_extensions import Self

from ddpbench import notes
from ddpbench.arm import arm_of
from ddpbench.config import TrainConfig
from ddpbench.errors import DiskError, Preempted, TrainingError, UnsafeResumeError, UserError
from ddpbench.files import write_whole
from ddpbench.lease import Lease
from ddpbench.record import Kind, Record, Target, write_record
from ddpbench.train import entries, one_set, progress
from ddpbench.train.batches import Batches
from ddpbench.train.state import TrainState, own_state
from ddpbench.train.timers import RankEpoch
from ddpbench.train.world import World


class Recorder:
    """Every rank makes one and gives it the same values; only the main rank's writes and prints."""

    def __init__(self, state: TrainState, batches: Batches, cfg: TrainConfig, here: World, kind: Kind) -> None:
        self.record = record = entries.first(state.bare_net, batches, cfg, here, kind)
        self._here, self._batches, self._cfg, folder = here, batches, cfg, cfg.results
        started = datetime.fromisoformat(record.started_at)
        name = f"{started:%Y%m%d-%H%M%S}-{arm_of(record).slug}-seed{record.seed}"
        self.path = _unused(folder, name) if here.is_main else folder / f"{name}.json"
        self._lease = Lease(folder) if here.is_main and here.hosts > 1 else None
        self._is_resumed = False  # whether the next epoch was begun by an earlier attempt
        self._is_complete = False  # whether all is written

    def continue_as(self, path: Path, attempts: int, earlier: Record | None) -> None:
        """Be another attempt of the run with this record: with the epochs of `earlier`, or from its start."""
        self.path = path
        self.record = replace(self.record, attempts=attempts)
        if earlier is not None:
            kept = {name: getattr(earlier, name) for name in ("started_at", "epochs", "target", "ranks", "metric")}
            self.record, self._is_resumed = replace(self.record, **kept), True

    def require_right_to_write(self) -> None:
        """Raise UnsafeResumeError where another job has taken the folder of this run."""
        if self._lease:
            self._lease.require()

    @property
    def target_is_reached(self) -> bool:
        """Whether training has reached --target-accuracy."""
        return self.record.target is not None

    def __enter__(self) -> Self:
        one_set.require(self._batches, self._here)
        process = self._here.process
        process.startup.reached("build")
        came_with_torchrun = self._here.comm is not None and process.attempt == 0
        parts_s = [*process.startup.parts_s(with_parent=came_with_torchrun).values()]
        total_s, *parts_s = max(self._here.gather([sum(parts_s), *parts_s]))
        if self._here.is_main:
            process.tell(notes.Begun(self.path.stem))
        begun = replace(self.record, startup_s=total_s, startup=entries.startup(parts_s))
        # Nothing is trained that cannot be recorded; but a run that has a record already may wait for room on the disk.
        if self.record.attempts == 1:
            self._write(begun)
        else:
            self._try_to_write(begun)
        if self._here.is_main:
            progress.say_start(self.record)
        return self

    def add_epoch(self, state: TrainState, ranks: Sequence[RankEpoch]) -> None:
        """Add the epoch that all ranks trained and evaluated. Raises NumericalError for a loss that is not finite."""
        figures = entries.figures_of(self._batches.task, self._cfg, ranks)
        record = entries.with_epoch(
            self.record, state.epoch, self._batches.samples, ranks, figures, resumed=self._is_resumed
        )
        self._is_resumed = False
        goal, epoch = record.settings.target_accuracy, record.epochs[-1]
        if goal is not None and record.metric.unit != "%":
            raise UserError(f"--target-accuracy is a share, and the task measures {record.metric.name}; leave it out")
        if goal is not None and epoch.metric >= goal:
            train_s, eval_s = (sum(getattr(each, name) for each in record.epochs) for name in ("train_s", "eval_s"))
            alive_s = state.earlier_alive_s + self._here.process.alive_s(with_torchrun=self._here.comm is not None)
            target = Target(epoch=len(record.epochs), train_s=train_s, train_eval_s=train_s + eval_s, process_s=alive_s)
            record = replace(record, target=target)
        self._try_to_write(record)
        if self._here.is_main:
            epochs = record.settings.epochs
            self._here.process.tell(
                notes.EpochDone(epoch.epoch, epochs, epoch.train_s, record.metric.text(epoch.metric))
            )
            progress.say_epoch(record)

    def complete(self, state: TrainState) -> None:
        """Save the weights, mark the record complete, and say how the run went."""
        weights = self.path.with_suffix(".safetensors")
        try:
            if self._here.is_main:
                self.require_right_to_write()
                tensors = {name: value.contiguous() for name, value in own_state(state.bare_net).items()}
                write_whole(weights, to_safetensors(tensors))
            self._write(replace(self.record, status="complete", weights=weights.name))
        except DiskError as problem:
            raise TrainingError(f"{problem}; all is trained: mend that, and finish with --resume") from problem
        self._is_complete = True
        if self._here.is_main:
            self._here.process.tell(notes.Complete())
            self._end_lease()
            progress.say_finish(self.record, self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Record how the run ended. A run that is complete stays so, and a signal has nothing left to stop."""
        if kind is not None and not self._is_complete:
            self._try_to_write(replace(self.record, status="preempted" if kind is Preempted else "failed"))
        return self._is_complete and kind is Preempted

    def _end_lease(self) -> None:
        """Give the folder back. Where that fails, print a caution: the run is complete all the same."""
        try:
            if self._lease:
                self._lease.end()
        except (DiskError, UnsafeResumeError, OSError) as problem:
            progress.say(f"caution: {problem}", sys.stderr)

    def _write(self, record: Record) -> None:
        self.record = record
        if self._here.is_main:
            self.require_right_to_write()
            write_record(self.path, record)

    def _try_to_write(self, record: Record) -> None:
        """Write the record. Where the disk refuses, print a caution: the old file stays, and the next may succeed."""
        try:
            self._write(record)
        except DiskError as problem:
            progress.say(f"caution: {problem}; training goes on", sys.stderr)


def _unused(folder: Path, name: str) -> Path:
    """Return the path of a record that no earlier run has taken."""
    path, number = folder / f"{name}.json", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.json"
    return path
