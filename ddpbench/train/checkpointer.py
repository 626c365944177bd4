"""When a run saves and when it stops: every rank makes a Checkpointer, and rank 0 writes, alone and without waiting.

A meeting (see `peers.Board`) is a step after which rank 0 saves. After a signal to any rank it is also where all stop.
Replicas that never communicate cannot meet, and one rank's weights would not be the run: such a control is not saved.
"""

import sys
import time
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ddpbench import __version__, notes
from ddpbench.comm.peers import Board
from ddpbench.config import TrainConfig, every
from ddpbench.errors import DataError, DiskError, Preempted
from ddpbench.tasks import models
from ddpbench.train import checkpoint, faults, process, progress, runs, startup
from ddpbench.train.checkpoint import Manifest
from ddpbench.train.data import Batches
from ddpbench.train.runlog import RunLog
from ddpbench.train.world import World


class Unsaved:
    """Of a loop that is only timed: nothing is saved, and nothing stops it."""

    def begin_epoch(self, epoch: int) -> list[Tensor]:  # noqa: ARG002
        """Return the losses of the steps that are done already: none."""
        return []

    def before_reduction(self, losses: list[Tensor]) -> None:
        """Do nothing."""

    def step(self, losses: list[Tensor]) -> None:
        """Do nothing."""


class Checkpointer(Unsaved):
    """Restores a run that was interrupted, saves this one, and ends it after the same step on every rank."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler | None,
        batches: Batches,
        cfg: TrainConfig,
        here: World,
        log: RunLog,
    ) -> None:
        self._net, self._optimizer, self._cfg, self._here, self._log = models.bare(net), optimizer, cfg, here, log
        self._epoch_steps, self._every_steps, self._every_s = batches.steps, *every(cfg.checkpoint_every)
        self._saves = here.comm != "none"
        self._board = Board(here, batches.steps) if self._saves and here.size == here.local_size else None
        self._epoch = 1
        self._losses: list[list[float]] = [[] for _ in range(here.size)]  # of the epoch, before this process began
        self._earlier_s = self._earlier_train_s = 0.0
        self._due = time.monotonic() + self._every_s
        self._meets = self._stops = False
        self._faults = faults.read(cfg.inject, here)
        if self._saves and (cfg.resume or process.attempt()):
            self._resume(schedule, batches)
        self._step = (self._epoch - 1) * self._epoch_steps + len(self._losses[0])  # of the run

    def _resume(self, schedule: LRScheduler | None, batches: Batches) -> None:
        """Go on as the unfinished run of the same settings, where there is one. A collective."""
        by_launcher = not self._cfg.resume
        path, found, said = runs.to_resume(self._cfg.results, self._log.record, by_launcher=by_launcher)
        position = [float(bool(path)), *([found.manifest.epoch, found.manifest.step] if found else [0, 0])]
        if any(row != position for row in self._here.gather(position)):  # before rank 0 writes anything there
            raise DataError(
                f"ranks found different checkpoints in {self._cfg.results}; is the folder the same for all?"
            )
        if path is not None:
            self._log.go_on_as(path, found)
            said.append(runs.describe(path, found, self._log.record.attempts, process.last_failure()))
        if found is not None:
            done = found.manifest
            self._epoch = done.epoch
            self._losses = found.tensors["losses"].tolist()
            self._earlier_s, self._earlier_train_s = done.alive_s, done.train_s
            steps = (done.epoch - 1) * batches.steps + done.step
            checkpoint.restore(found, self._net, self._optimizer, schedule, steps)
        if self._here.is_main:
            for line in said:
                progress.say(line, sys.stderr)

    def __enter__(self) -> "Checkpointer":
        process.finish_steps(self._board is not None)
        self._stay_alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process.finish_steps(False)
        process.watch(0)

    def epochs(self) -> range:
        """Return the epochs that are left to train."""
        if self._log.target_is_reached:  # by an attempt that died before it could say so
            return range(0)
        return range(self._epoch, self._cfg.epochs + 1)

    def begin_epoch(self, epoch: int) -> list[Tensor]:
        """Return this rank's losses of the steps of this epoch that were taken before this process began."""
        self._epoch, self._begin = epoch, time.perf_counter()
        self._paused_s = self._board.paused_s if self._board else 0.0
        mine, self._losses = self._losses[self._here.rank], [[]] * self._here.size
        process.at(epoch, len(mine))
        kind = models.dtype(self._cfg)
        return [torch.tensor(loss, dtype=torch.float64).to(self._here.device, kind) for loss in mine]

    def before_reduction(self, losses: list[Tensor]) -> None:
        """Post this rank's losses [steps so far], and its weights' checksum, where the step is one to meet after."""
        if self._meets and self._board:
            self._board.post(torch.stack(losses).double().tolist(), models.checksum(self._net))

    def step(self, losses: list[Tensor]) -> None:
        """Note a step; save and stop where it is time. Raises Preempted, on every rank, after the same step."""
        self._step += 1
        process.at(self._epoch, len(losses))
        self._stay_alive()
        if self._faults:
            self._faults.after_step(self._step, self._net, self._log.checkpoints)
        if self._board is None:
            return
        if self._meets:
            self._stops = self._board.is_stopping(self._step)
            if len(losses) < self._epoch_steps:  # else the end of the epoch saves
                self._save_within(len(losses))
                self._leave_if_asked()
        self._ask()
        self._meets = self._board.is_meeting(self._step + 1)

    def _ask(self) -> None:
        """Ask for a meeting two steps from now, where it is time to save, or a signal has come."""
        soon = self._step + 2
        stop = process.stop_asked() is not None
        due = soon % self._every_steps == 0 if self._every_steps else time.monotonic() >= self._due
        if self._board and (stop or (due and self._here.is_main)):
            self._board.ask(soon, stop=stop)
            self._due = time.monotonic() + self._every_s

    def _save_within(self, step: int) -> None:
        assert self._board is not None
        if not self._here.is_main:
            return
        begin = time.perf_counter()
        self._log.require_equal(f"before {process.where(self._epoch, step)}", self._board.checksums())
        train_s = self._earlier_train_s + begin - self._begin - (self._board.paused_s - self._paused_s)
        self._save(self._epoch, step, train_s, self._board.losses(step))
        self._board.paused_s += time.perf_counter() - begin

    def own_train_s(self, measured_s: float) -> float:
        """Return the training seconds of this epoch: without those that rank 0 spent saving, with earlier attempts'."""
        paused_s = self._board.paused_s - self._paused_s if self._board else 0.0
        total_s, self._earlier_train_s = measured_s - paused_s + self._earlier_train_s, 0.0
        return total_s

    def epoch_done(self) -> None:
        """Save the end of an epoch. Raises Preempted where the run was told to stop in its last step."""
        self._stay_alive()
        if self._here.is_main and self._saves:
            self._save(self._epoch + 1, 0, 0.0, [[]] * self._here.size)
        if self._epoch < self._cfg.epochs:
            self._leave_if_asked()

    def _save(self, epoch: int, step: int, train_s: float, losses: list[list[float]]) -> None:
        """Write a checkpoint. Where the disk refuses, warn: the one before stays, and the next may succeed."""
        alive_s = self._earlier_s + startup.alive_s(with_parent=self._here.came_with_torchrun)
        manifest = Manifest(self._log.record, epoch, step, train_s, alive_s, __version__)
        tensors = checkpoint.state_of(self._net, self._optimizer)
        tensors["losses"] = torch.tensor(losses, dtype=torch.float64).view(self._here.size, -1)
        try:
            checkpoint.save(self._log.checkpoints, manifest, tensors)
            process.tell(notes.Saved())
        except DiskError as problem:
            progress.say(f"caution: {problem}; training goes on, and the checkpoint before stays", sys.stderr)
        self._due = time.monotonic() + self._every_s

    def _leave_if_asked(self) -> None:
        if self._stops:
            where = process.where(self._epoch, self._step - (self._epoch - 1) * self._epoch_steps)
            raise Preempted(f"told to stop: saved after {where}; the same command with --resume goes on from there")

    def _stay_alive(self) -> None:
        process.watch(self._cfg.timeout_s + process.LATER_S)
