"""When a run saves and when it stops. Every rank makes a Saver; rank 0 writes, alone and without a collective.

A meeting (see `comm.board`) is a step after which rank 0 saves. After a signal to any rank, it is also the step after
which all ranks stop. Replicas that never communicate cannot meet, and the weights of one replica would not be the run:
so the control is not saved.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch
from typing_extensions import Self

from ddpbench import __version__, notes
from ddpbench.arm import arm_of, plural
from ddpbench.comm import ddp
from ddpbench.comm.board import Board
from ddpbench.comm.poll import Poll
from ddpbench.config import TrainConfig, saving_interval
from ddpbench.errors import DiskError, Preempted, TrainingError, UnsafeResumeError
from ddpbench.train import checkpoint, progress, resume
from ddpbench.train.checkpoint import Manifest
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.recorder import Recorder
from ddpbench.train.state import TrainState
from ddpbench.train.world import World


class Saver(Onlooker):
    """Goes on with an unfinished run, saves this one while it trains, and ends it after the same step on every rank."""

    def __init__(self, state: TrainState, recorder: Recorder, cfg: TrainConfig, here: World) -> None:
        self._recorder, self._cfg, self._here = recorder, cfg, here
        self._every_steps, self._every_s = saving_interval(cfg.checkpoint_every)
        self._saves = here.comm != "none"
        self._board: Board | Poll | None = None
        if self._saves:
            self._board = Board(here, state.epoch_steps) if here.hosts == 1 else Poll(here)
        self._due = time.monotonic() + self._every_s
        self._meets = self._stops = self._has_saved = False
        self._begin = self._paused_before_s = 0.0  # when the epoch began, and the board's count then
        if self._saves:
            resume.restore(state, recorder, cfg, here)
            if state.step and here.is_main and (why := arm_of(recorder.record).restart_differs):
                progress.say(f"caution: {why}; this run will not have the bits of a run in one go", sys.stderr)

    @property
    def folder(self) -> Path:
        """The folder of this run's checkpoints. It is there until the run is complete."""
        return self._recorder.path.with_suffix(checkpoint.SUFFIX)

    def __enter__(self) -> Self:
        self._here.process.finishes_its_step = self._board is not None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._here.process.finishes_its_step = False

    def epoch_begins(self, state: TrainState) -> None:
        """Start the clock of an epoch that may be saved in its middle."""
        self._begin = time.perf_counter()
        self._paused_before_s = self._board.paused_s if self._board else 0.0

    def loss_computed(self, state: TrainState) -> None:
        """Post this rank's losses and the digest of its weights, where ranks meet after this step."""
        if self._meets and self._board:
            self._board.post(state.step, state.mean_losses().tolist(), state.weights_sha256())

    def step_taken(self, state: TrainState) -> None:
        """Save and stop where it is time. Raises Preempted, on every rank, after the same step."""
        if self._board is None:
            return
        if self._meets:
            self._stops = self._board.is_stopping(state.step)
            if len(state.losses) < state.epoch_steps:  # otherwise the end of the epoch saves
                self._save_within_epoch(state, self._board)
                self._stop_if_asked(state)
        self._ask(state, self._board)
        self._meets = self._board.is_meeting(state.step + 1)

    def epoch_trained(self, state: TrainState) -> None:
        """Note how long saving took: it is no part of training."""
        if self._board:
            self._board.share_paused()
            state.paused_s = self._board.paused_s - self._paused_before_s

    def epoch_recorded(self, state: TrainState) -> None:
        """Save the end of an epoch. Raises Preempted where ranks agreed to stop after its last step."""
        if self._here.is_main and self._saves:
            self._save(state, state.epoch + 1, [[] for _ in range(self._here.size)], 0.0)
        if state.epoch < self._cfg.epochs:
            self._stop_if_asked(state)

    def require_equal_weights(self, when: str, digests: Sequence[object]) -> None:
        """Raise TrainingError where the weights of ranks differ, and discard the checkpoints that may have them."""
        apart = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if not apart or not self._saves:
            return
        who = f"the weights of {plural(len(apart), 'rank')} ({', '.join(map(str, apart))})"
        why = f"{when} {who} are not those of rank 0: memory or hardware failed"
        try:
            if self._here.is_main:
                checkpoint.discard_unproved(self.folder)
        except DiskError as problem:  # no attempt may go on from that checkpoint by itself
            raise UnsafeResumeError(f"{why}; {problem}; remove it before you --resume") from problem
        raise TrainingError(why)

    def discard_checkpoints(self) -> None:
        """Remove the checkpoints of a run that is complete."""
        if self._here.is_main:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _ask(self, state: TrainState, board: Board | Poll) -> None:
        """Ask for a meeting two steps from now, where it is time to save, or a signal has come."""
        step = state.step + 2
        stop = self._here.process.stop_signal is not None
        is_due = step % self._every_steps == 0 if self._every_steps else time.monotonic() >= self._due
        if stop or (is_due and self._here.is_main):
            board.ask(step, stop=stop)
            self._due = time.monotonic() + self._every_s

    def _save_within_epoch(self, state: TrainState, board: Board | Poll) -> None:
        begin, step = time.perf_counter(), len(state.losses)
        digests, losses = board.collect(state.step, step)
        if not self._here.is_main:
            return
        self.require_equal_weights(f"before {notes.position(state.epoch, step)}", digests)
        train_s = state.earlier_train_s + begin - self._begin - (board.paused_s - self._paused_before_s)
        self._save(state, state.epoch, losses, train_s)
        board.paused_s += time.perf_counter() - begin

    def _save(self, state: TrainState, epoch: int, losses: list[list[float]], train_s: float) -> None:
        """Write a checkpoint to go on with in `epoch`, of which `losses` [ranks, steps] are taken.

        Where the disk refuses, print a caution: the checkpoint before stays, and the next may succeed.
        """
        alive_s = state.earlier_alive_s + self._here.process.alive_s(with_torchrun=self._here.comm is not None)
        manifest = Manifest(
            record=self._recorder.record,
            epoch=epoch,
            step=len(losses[0]),
            train_s=train_s,
            alive_s=alive_s,
            ddpbench=__version__,
        )
        tensors = checkpoint.state_of(state.bare_net, state.optimizer)
        tensors["order"] = torch.tensor(ddp.order_of(state.net), dtype=torch.int64)
        tensors["losses"] = torch.tensor(losses, dtype=torch.float64).view(self._here.size, -1)
        self._has_saved = False
        try:
            self._recorder.require_right_to_write()
            checkpoint.save(self.folder, manifest, tensors)
            self._has_saved = True
            self._here.process.tell(notes.Saved())
        except DiskError as problem:
            progress.say(f"caution: {problem}; training goes on, and the checkpoint before stays", sys.stderr)
        self._due = time.monotonic() + self._every_s

    def _stop_if_asked(self, state: TrainState) -> None:
        if not self._stops:
            return
        where = notes.position(state.epoch, len(state.losses))
        # No rank ends before rank 0 has saved: where one has ended, all others are soon ended, too.
        if self._here.gather(self._has_saved)[0]:
            raise Preempted(f"told to stop: saved after {where}; the same command with --resume goes on from there")
        raise Preempted(f"told to stop after {where}, and not saved; --resume goes on from the checkpoint before")
