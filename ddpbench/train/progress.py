"""What a run prints: a bar on a terminal, a few plain lines in a log."""

import math
import os
import shutil
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tqdm import tqdm
from typing_extensions import Self

from ddpbench import __version__
from ddpbench.arm import arm_of, plural
from ddpbench.record import Environment, Record
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.state import TrainState

DRAW_EVERY_S, LOG_EVERY_S = 0.25, 10.0


class Bar(Onlooker):
    """Shows progress through each epoch: a bar on a terminal, a line now and then elsewhere. Not shown, it is free."""

    def __init__(self, epochs: int, *, shown: bool) -> None:
        self._epochs, self._shown = epochs, shown
        self._bar: tqdm[None] | None = None
        self._first = self._looked = 0  # losses of the epoch when it began here, and when it was shown last
        self._begin, self._next = 0.0, math.inf

    def __enter__(self) -> Self:
        return self

    def epoch_begins(self, state: TrainState) -> None:
        """Begin a bar, or the time until the first line."""
        self._first = self._looked = len(state.losses)
        self._begin = time.perf_counter()
        if self._shown and sys.stderr.isatty():
            # 80 x 24 where a terminal claims 0 x 0, as some do: tqdm would draw nothing.
            size = shutil.get_terminal_size()
            self._bar = tqdm(
                desc=self._title(state),
                total=state.epoch_steps,
                initial=self._looked,
                unit="batch",
                ncols=size.columns,
                nrows=size.lines,
            )
        self._next = self._begin + self._interval_s() if self._shown else math.inf

    def step_taken(self, state: TrainState) -> None:
        """Show the step where it is time."""
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + self._interval_s()
            self._show(state, now)

    def epoch_trained(self, state: TrainState) -> None:
        """Show the whole bar."""
        if self._bar is not None:
            if len(state.losses) > self._looked:
                self._show(state, time.perf_counter())
            self._close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _show(self, state: TrainState, now: float) -> None:
        """Show the mean of the losses since the last time. To read them waits for the device: hence not every step."""
        done = len(state.losses)
        loss = state.mean_losses(self._looked).mean().item()
        self._looked = done
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self._bar.update(done - self._bar.n)
        else:
            speed = (done - self._first) / (now - self._begin)
            say(f"{self._title(state)}: {done}/{state.epoch_steps} {speed:.1f}batch/s, loss={loss:.3f}", sys.stderr)

    def _title(self, state: TrainState) -> str:
        return f"Epoch: {state.epoch}/{self._epochs}"

    def _interval_s(self) -> float:
        return LOG_EVERY_S if self._bar is None else DRAW_EVERY_S

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def headline(machine: Environment) -> str:
    """Return the first line of every run: what there is to train on."""
    gpus = f"GPUs available: {len(machine.gpu_models)}"
    return f"ddpbench {__version__}, torch {machine.torch}, {machine.cores} CPU cores, {gpus}"


def say_start(record: Record) -> None:
    """Say what will train, and on what."""
    settings = record.settings
    _say(headline(record.environment))
    _say(
        f"{arm_of(record).label}: device {settings.device}, {settings.model} ({record.parameters:,} parameters), "
        f"{settings.dataset}, global batch {settings.global_batch}, seed {record.seed}"
    )
    if record.kind == "data_parallel" and (settings.device == "cpu" or len(record.environment.gpu_models) < 2):
        _say("nn.DataParallel splits batches over GPUs; with fewer than two it changes nothing but adds overhead")


def say_epoch(record: Record) -> None:
    """Say one line per epoch where there is no terminal to draw a bar on."""
    if sys.stderr.isatty():
        return
    epoch = record.epochs[-1]
    steps = epoch.samples // record.settings.global_batch
    say(
        f"Epoch: {epoch.epoch}/{record.settings.epochs}: 100% {steps}/{steps} [{epoch.train_s:.2f} s, "
        f"{steps / epoch.train_s:.2f}batch/s, loss={epoch.train_loss:.3f}] "
        f"{tested(record)} {shown(record, epoch.metric)}",
        sys.stderr,
    )


def say_finish(record: Record, path: Path) -> None:
    """Say how long training took and what was learnt, in the words of the original experiment."""
    last = record.epochs[-1]
    eval_s = sum(epoch.eval_s for epoch in record.epochs)
    _say(f"Finished Training in {sum(epoch.train_s for epoch in record.epochs):.2f} seconds")
    waits_s = [sum(rank.data_s) for rank in record.ranks if rank.data_s is not None]
    if waits_s:
        _say(f"(of that, waiting for data: {max(waits_s):.2f} s)")
    _say(f"(not counted: evaluation {eval_s:.2f} s, start-up {record.startup_s:.2f} s)")
    parts = (name for name in record.startup.__struct_fields__ if getattr(record.startup, name))
    words = (f"{name.removesuffix('_s').replace('_', ' ')} {getattr(record.startup, name):.2f}" for name in parts)
    _say(f"(start-up in s: {', '.join(words)}, of which the first step is part of training)")
    _say_target(record)
    if arm_of(record).is_control:
        _say("A control: replicas that never communicate. Its speed is the ceiling; its accuracy is no result.")
    else:
        metric, subject = record.metric, record.metric.name[:1].upper() + record.metric.name[1:]
        _say(f"{subject} of the total: {shown(record, last.metric)}")
        for name, total, count in zip(metric.parts, last.metric_sums, metric.counts, strict=False):
            figure = shown(record, total / count) if count > 0 else "no sample"
            _say(f"{subject} of {name}: {figure} ({total:g}/{count:g})")
    _say(f"record {path}, weights {record.weights}")


def tested(record: Record) -> str:
    """Return what is measured on the test set: `test accuracy`, `test loss`."""
    name = record.metric.name
    return name if name.startswith("test ") else f"test {name}"


def shown(record: Record, value: float) -> str:
    """Return a figure of the test set as a run prints it: `97.80%`, as in the original experiment, or `12.34`."""
    return record.metric.text(value).replace(" %", "%")


def _say_target(record: Record) -> None:
    goal, target = record.settings.target_accuracy, record.target
    if goal is not None and target is None:
        _say(f"Target {goal:.2%} not reached in {plural(len(record.epochs), 'epoch')}")
    if goal is not None and target is not None:
        _say(
            f"Target {goal:.2%} reached after {plural(target.epoch, 'epoch')}: training {target.train_s:.2f} s, "
            f"with evaluation {target.train_eval_s:.2f} s, since the process began {target.process_s:.2f} s"
        )


def _say(line: str) -> None:
    say(line, sys.stdout)


def say(line: str, stream: TextIO) -> None:
    """Print a line at once. Where that fails (a full disk, a reader that has gone), training goes on without output."""
    try:
        print(line, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
