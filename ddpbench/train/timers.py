"""The clocks of a run: what one rank measures about itself in an epoch.

Nothing synchronises inside a step. Both ends of a timed region wait for the device, so a region holds the work and not
only its launch.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import torch

from ddpbench import environment
from ddpbench.tasks.tested import Tested
from ddpbench.train.batches import Batches
from ddpbench.train.clock import Stopwatch, synchronize
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.reductions import ReductionTimer
from ddpbench.train.state import TrainState
from ddpbench.train.world import World

CURVE_POINTS = 20  # of the loss, per epoch


class RankEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's measurements of one epoch, as ranks exchange them. Times are in seconds."""

    train_s: float
    eval_s: float
    cpu_s: float  # of training, on all threads
    first_step_s: float | None  # of the first step that this process took
    step_waits_s: list[float]  # for the reduction of each step; empty where gradients are not reduced
    between_s: float | None = None  # of that, for other hosts, over all steps; None where it is not timed apart
    torch_reduce_s: float | None  # of one step, by DDP's own log
    data_s: float | None  # waiting for data; None where it is in memory
    loss: float | None  # mean over the epoch's steps; None where it is not finite
    loss_curve: list[float | None]  # means of consecutive parts of the epoch
    tested_name: str  # of the metric; empty where this rank's share of the test set is empty
    tested_sums: list[float | None]  # over this rank's share of the test set, part by part; None: not finite
    tested_counts: list[float]
    rank_batch: int
    peak_rss_bytes: int
    peak_device_bytes: int | None  # None on the CPU
    weights_sha256: str
    suspended: bool  # this process was stopped for a while by a signal or a freezer


class Timers(Onlooker):
    """Measures training and evaluation of an epoch on this rank."""

    def __init__(self, state: TrainState, batches: Batches, here: World) -> None:
        self._batches, self._here = batches, here
        self._train, self._test = (Stopwatch(lambda: synchronize(here.device)) for _ in range(2))
        self._reductions = ReductionTimer(state.net, state.optimizer, here.device)
        self._cpu_s = self._begin = 0.0
        self._first_step_s: float | None = None
        self._times_still = 0

    @contextmanager
    def training(self) -> Iterator[None]:
        """Time the training of an epoch."""
        self._times_still = self._here.process.watchdog.times_still
        before_s, self._begin = environment.cpu_s(), time.perf_counter()
        with self._train:
            yield
        self._cpu_s = environment.cpu_s() - before_s

    def evaluation(self) -> Stopwatch:
        """Return the context that times an evaluation."""
        return self._test

    def step_taken(self, state: TrainState) -> None:
        """Time the first step of this process, which takes longer than the others."""
        if self._first_step_s is None:
            synchronize(self._here.device)
            self._first_step_s = time.perf_counter() - self._begin

    def measurements(self, state: TrainState, tested: Tested) -> RankEpoch:
        """Return what this rank measured in the epoch that it has trained and evaluated."""
        losses = state.mean_losses()
        parts = losses.tensor_split(min(CURVE_POINTS, len(losses)))
        return RankEpoch(
            train_s=self._train.last_s - state.paused_s + state.earlier_train_s,
            eval_s=self._test.last_s,
            cpu_s=self._cpu_s,
            first_step_s=self._first_step_s,
            step_waits_s=self._reductions.take(),
            between_s=self._reductions.take_between_s(),
            torch_reduce_s=self._reductions.torch_reduce_s(),
            data_s=self._batches.reading.waited_s(),
            loss=losses.mean().item(),  # JSON has no NaN: msgspec writes null
            loss_curve=[part.mean().item() for part in parts],
            tested_name=tested.name,
            tested_sums=tested.sums,  # type: ignore[arg-type]
            tested_counts=tested.counts,
            rank_batch=self._batches.rank_batch,
            peak_rss_bytes=environment.peak_rss_bytes(),
            peak_device_bytes=peak_device_bytes(self._here.device),
            weights_sha256=state.weights_sha256().hex(),
            suspended=self._here.process.watchdog.times_still > self._times_still,
        )


def peak_device_bytes(device: torch.device) -> int | None:
    """Return the most memory held on one GPU: nn.DataParallel holds memory on several. None on the CPU."""
    if device.type == "cpu":
        return None
    return max(torch.cuda.max_memory_allocated(gpu) for gpu in range(torch.cuda.device_count()))
