"""One run on its way into its record: gathered over ranks, written by the main rank after every epoch."""

import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from types import TracebackType

import torch
from msgspec.structs import replace
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from ddpbench import environment, notes
from ddpbench.arm import arm_of, plural
from ddpbench.config import TrainConfig
from ddpbench.errors import DiskError, NumericalError, Preempted, TrainingError, UnsafeResumeError
from ddpbench.files import write_whole
from ddpbench.record import SCHEMA, Epoch, Kind, Rank, Record, Startup, Target, TestSet, write_record
from ddpbench.tasks import models
from ddpbench.train import checkpoint, process, progress, reduction, runs, startup
from ddpbench.train.checkpoint import Checkpoint
from ddpbench.train.clock import synchronize
from ddpbench.train.data import Batches
from ddpbench.train.world import World

CURVE_POINTS = 20  # of the loss, per epoch


class RunLog:
    """Every rank makes one and tells it the same things; only the main rank's writes and speaks."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        cfg: TrainConfig,
        here: World,
        *,
        kind: Kind,
    ) -> None:
        self._net, self._batches, self._here = models.bare(net), batches, here
        self._reductions = reduction.ReductionTimer(net, optimizer, here.device)
        self._cpu_s = self._epoch_began = self._first_step_s = self._earlier_s = 0.0
        self._resumed, self._times_still = False, 0
        self._first_step = optimizer.register_step_post_hook(self._note_first_step)
        started = datetime.now(timezone.utc)
        self.record = Record(
            schema=SCHEMA,
            study=cfg.results.resolve().name,
            kind=kind,
            comm=here.comm,
            world_size=here.size,
            threads_per_rank=torch.get_num_threads(),
            seed=cfg.seed,
            settings=cfg.settings("cuda" if here.device.type == "cuda" else "cpu"),
            environment=environment.describe(),
            started_at=started.isoformat(timespec="milliseconds"),
            parameters=models.num_parameters(net),
            test_set=TestSet(
                classes=list(batches.classes),
                samples_per_class=batches.test_labels.bincount(minlength=len(batches.classes)).tolist(),
            ),
            startup_s=0.0,
            startup=_startup([0.0] * (1 + len(startup.PARTS))),
            epochs=[],
            target=None,
            ranks=[],
            weights=None,
            injected=cfg.inject,
            status="running",
            attempts=1,
        )
        name = f"{started:%Y%m%d-%H%M%S}-{arm_of(self.record).slug}-seed{cfg.seed}"
        self._path = runs.unused(cfg.results, name) if here.is_main else Path(name)

    @property
    def checkpoints(self) -> Path:
        """The folder of this run's checkpoints: there until it is complete."""
        return self._path.with_suffix(checkpoint.SUFFIX)

    def go_on_as(self, path: Path, found: Checkpoint | None) -> None:
        """Be another attempt of the run with this record: with the epochs of its checkpoint, or from its start."""
        self._path, before = path, runs.attempts(path)
        if found is None:
            self.record = replace(self.record, attempts=before + 1)
            return
        done = found.manifest.record
        kept = {name: getattr(done, name) for name in ("started_at", "epochs", "target", "ranks")}
        self.record = replace(self.record, attempts=max(before, done.attempts) + 1, **kept)
        self._earlier_s, self._resumed = found.manifest.alive_s, True

    def __enter__(self) -> "RunLog":
        startup.reached("build")
        parts_s = [*startup.parts_s(with_parent=self._here.came_with_torchrun).values()]
        total_s, *of_slowest = max(self._here.gather([sum(parts_s), *parts_s]))
        if self._here.is_main:
            process.tell(notes.Begun(self._path.stem))
        # Nothing is trained that cannot be recorded; but a run that has a record already may wait for room.
        update = self._update if self.record.attempts == 1 else self._try_to_update
        update(startup_s=total_s, startup=_startup(of_slowest))
        if self._here.is_main:
            progress.say_start(self.record)
        return self

    @contextmanager
    def cpu_time(self) -> Iterator[None]:
        """Count the CPU seconds of this rank, on all its threads, for the epoch inside."""
        self._times_still = process.times_still()
        before, self._epoch_began = environment.cpu_s(), time.perf_counter()
        yield
        self._cpu_s = environment.cpu_s() - before

    def epoch(self, epoch: int, train_s: float, eval_s: float, losses: Tensor, correct: list[int]) -> None:
        """Add an epoch, gathered over the ranks, and rewrite the record.

        `losses` [steps] and `correct` [classes] are this rank's. A collective.
        Raises NumericalError, on every rank, when the loss is not finite.
        """
        curve = [part.double().mean().item() for part in losses.tensor_split(min(CURVE_POINTS, len(losses)))]
        loss = losses.double().mean().item()
        waits = self._reductions.take()
        by_torch = self._reductions.torch_reduce_s()
        mine = [train_s, eval_s, loss, self._cpu_s, environment.peak_rss_bytes(), self._peak_device_bytes()]
        mine += [self._first_step_s, self._batches.rank_batch, math.nan if by_torch is None else by_torch]
        mine += [models.checksum(self._net), process.times_still() - self._times_still]
        rows = self._here.gather([*mine, *curve, *correct, *waits])
        columns = list(zip(*rows, strict=True))
        trained, evaluated, means, cpu, rss, device, first, rank_batch, by_log, checksums, still = columns[: len(mine)]
        self.require_equal(f"after epoch {epoch}", checksums)
        if not all(math.isfinite(mean) for mean in means):
            raise NumericalError(f"the loss of epoch {epoch} is not a finite number; use a lower --lr")
        curves, rest = columns[len(mine) :][: len(curve)], columns[len(mine) + len(curve) :][: len(correct)]
        right = [int(sum(column)) for column in rest]
        waited = [row[len(row) - len(waits) :] for row in rows]
        late = reduction.late_s(waited)
        added = Epoch(
            epoch=epoch,
            train_s=max(trained),
            eval_s=max(evaluated),
            samples=self._batches.samples,
            train_loss=fmean(means),
            loss_curve=[fmean(column) for column in curves],
            test_accuracy=sum(right) / sum(self.record.test_set.samples_per_class),
            correct_per_class=right,
            resumed=self._resumed,
            suspended=any(still),
        )
        self._resumed = False
        ranks = [
            Rank(
                rank=rank,
                rank_batch=int(rank_batch[rank]),
                train_s=[*self._so_far(rank, "train_s"), trained[rank]],
                wait_s=[*self._so_far(rank, "wait_s"), max(trained) - trained[rank]],
                cpu_s=[*self._so_far(rank, "cpu_s"), cpu[rank]],
                reduce_s=[*self._so_far(rank, "reduce_s"), sum(waited[rank])] if waits else None,
                late_s=[*self._so_far(rank, "late_s"), late[rank]] if waits else None,
                torch_reduce_s=by_log[rank] if math.isfinite(by_log[rank]) else None,
                peak_rss_bytes=int(rss[rank]),
                peak_device_bytes=int(device[rank]) if self._here.device.type == "cuda" else None,
            )
            for rank in range(self._here.size)
        ]
        began = replace(self.record.startup, first_step_s=max(first))
        self._try_to_update(epochs=[*self.record.epochs, added], ranks=ranks, startup=began)
        self._look_at_target()
        if self._here.is_main:
            process.tell(notes.EpochDone(epoch, self.record.settings.epochs, added.train_s, added.test_accuracy))
            progress.say_epoch(self.record)

    @property
    def target_is_reached(self) -> bool:
        """Whether training may stop."""
        return self.record.target is not None

    def _look_at_target(self) -> None:
        asked, epochs = self.record.settings.target_accuracy, self.record.epochs
        if asked is not None and epochs[-1].test_accuracy >= asked:
            train_s, eval_s = (sum(getattr(epoch, name) for epoch in epochs) for name in ("train_s", "eval_s"))
            alive_s = self._earlier_s + startup.alive_s(with_parent=self._here.came_with_torchrun)
            self._try_to_update(target=Target(len(epochs), train_s, train_s + eval_s, alive_s))

    def require_equal(self, when: str, checksums: Sequence[float]) -> None:
        """Raise TrainingError where ranks that train one network have come to have different ones."""
        apart = [rank for rank, checksum in enumerate(checksums) if checksum != checksums[0]]
        if apart and self._here.comm != "none":
            who = f"the weights of {plural(len(apart), 'rank')} ({', '.join(map(str, apart))})"
            said = f"{when} {who} are not those of rank 0: memory or hardware failed"
            try:
                if self._here.is_main:
                    checkpoint.discard_unproved(self.checkpoints)
            except DiskError as problem:  # then nothing may go on from there by itself
                raise UnsafeResumeError(f"{said}; {problem}; remove it before you --resume") from problem
            raise TrainingError(said)

    def _note_first_step(self, *_: object) -> None:
        synchronize(self._here.device)
        self._first_step_s = time.perf_counter() - self._epoch_began
        self._first_step.remove()

    def complete(self) -> None:
        """Save the weights, mark the record complete, and say how it went."""
        weights = self._path.with_suffix(".safetensors")
        try:
            if self._here.is_main:
                state = {name: value.contiguous() for name, value in self._net.state_dict().items()}
                write_whole(weights, to_safetensors(state))
            self._update(status="complete", weights=weights.name)
        except DiskError as problem:
            raise TrainingError(f"{problem}; all is trained: mend that, and finish with --resume") from problem
        if self._here.is_main:
            process.tell(notes.Complete())
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            progress.say_finish(self.record, self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._try_to_update(status="preempted" if kind is Preempted else "failed")

    def _update(self, **changes: object) -> None:
        self.record = replace(self.record, **changes)
        if self._here.is_main:
            write_record(self._path, self.record)

    def _try_to_update(self, **changes: object) -> None:
        """Update; where the disk refuses, warn: the record before stays, and the next may succeed."""
        try:
            self._update(**changes)
        except DiskError as problem:
            progress.say(f"caution: {problem}; training goes on", sys.stderr)

    def _so_far(self, rank: int, name: str) -> list[float]:
        return [*getattr(self.record.ranks[rank], name)] if self.record.ranks else []

    def _peak_device_bytes(self) -> int:
        """Return the most memory held on one GPU; nn.DataParallel holds several. 0 on CPU, recorded as None."""
        gpus = range(torch.cuda.device_count()) if self._here.device.type == "cuda" else ()
        return max((torch.cuda.max_memory_allocated(gpu) for gpu in gpus), default=0)


def _startup(parts_s: Sequence[float]) -> Startup:
    launcher_s, interpreter_s, imports_s, data_s, rendezvous_s, build_s = parts_s
    return Startup(launcher_s, interpreter_s, imports_s, data_s, rendezvous_s, build_s, first_step_s=None)
