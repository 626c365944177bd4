"""The part of the check that one process does: whether shares of a batch add up to the gradient of the whole batch.

It needs no process group, and takes about six passes. The gradient of a global batch is compared with the gradients of
its shares, as workers would compute them, added up. What it finds is a plain sentence with a name and a cure; what no
worker could train is an error.
"""

import copy
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpbench.config import TrainConfig, part_batch, rank_batch
from ddpbench.errors import UserError
from ddpbench.findings import EqualGradient
from ddpbench.tasks.items import generators_kept
from ddpbench.tasks.samples import Batch, map_tensors, moved
from ddpbench.tasks.source import line_of, said
from ddpbench.tasks.step import Step
from ddpbench.tasks.task import Data, Task, floating
from ddpbench.train import findings, machine, shares
from ddpbench.train.shares import Pass

MOST_SAMPLES = 256  # of the batch that is compared
BUDGET_S = 4.0  # about, of all passes on a quiet machine: a large network is checked with fewer samples
PASSES = 6  # over a whole batch
DOUBLE_COST = 3  # of a pass in double precision, in passes in single precision
DOUBLE, SINGLE = 1e-6, 1e-4  # relative differences that rounding may make


@dataclass(frozen=True, slots=True)
class Alone:
    """What one process has found, and the pass from which it knows."""

    equal_gradient: EqualGradient
    findings: list[str]
    order: Tensor  # the numbers of the samples that were compared
    shares: list[Batch]  # of these samples, by rank
    few: int  # of the samples: enough to see whether a pass works
    whole: Pass
    floating: torch.dtype  # of that pass


def examine(task: Task, data: Data, cfg: TrainConfig, ranks: int, budget_s: float = BUDGET_S) -> Alone:
    """Check a task for training by so many workers. Generators of random numbers stay as they are.

    Raises UserError where the task cannot be trained, or not by workers.
    """
    part_batch(cfg, ranks)
    device = torch.device(machine.resolve(cfg))
    with kept(device):
        return _Examination(task, data, cfg, ranks, device).run(budget_s)


@contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """Leave the generators of random numbers as they are, whatever is drawn inside."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []), generators_kept():
        yield


def tolerance_of(floating: torch.dtype) -> float:
    """Return the relative difference that rounding in such numbers may make."""
    return DOUBLE if floating == torch.float64 else SINGLE


def take(data: Data, order: Tensor, device: torch.device) -> Batch:
    """Return the batch of these samples of the training set."""
    return data.train.take(order.to(device))


def backward(total: Tensor, task: Task) -> None:
    """Compute the gradients of a loss. Raises UserError where that fails."""
    try:
        total.backward()
    except Exception as problem:
        line = line_of(problem, task.file)
        at = "" if line is None else f", line {line}"
        raise UserError(
            f"loss() of the task {task.file.name} failed in the backward pass{at}: {said(problem)}"
        ) from problem


@dataclass(slots=True)
class _Examination:
    """One check. Every pass is taken with a copy of the step, as if it were the first."""

    task: Task
    data: Data
    cfg: TrainConfig
    ranks: int
    device: torch.device
    floating: torch.dtype = torch.float64
    seed: int = 0  # of the next pass: each draws other random numbers

    def run(self, budget_s: float) -> Alone:
        """Return how the gradients compare, and all that is to be said."""
        net = self.task.network(self.cfg)
        findings.require_trainable(net, self.device)
        found = [*findings.remarks(net), *findings.left_out(len(self.data.train), self.cfg.global_batch)]
        step = self.task.step(self.cfg)
        shares.require_same(net.to(floating(self.cfg)), step.net)
        del net
        with findings.eager(step):
            step = step.to(self.device).train()
            few = self._order(min(2, rank_batch(self.cfg.global_batch, self.ranks)) * self.ranks)
            took_s = self._first_pass(step, few)
            if took_s * PASSES < budget_s:  # the first one wakes threads and warms caches
                took_s = self._first_pass(step, few)
            order = self._choose(len(few), budget_s / (PASSES * took_s))
            parts = [take(self.data, order[rank :: self.ranks], self.device) for rank in range(self.ranks)]
            whole, equal, said = self._compare(step, order, parts)
        return Alone(equal, found + said, order, parts, len(few), whole, self.floating)

    def _order(self, size: int) -> Tensor:
        """Return the numbers of so many samples, drawn from the training set."""
        shuffled = torch.randperm(len(self.data.train), generator=torch.Generator().manual_seed(self.cfg.seed))
        return shuffled[:size]

    def _choose(self, few: int, times: float) -> Tensor:
        """Return the samples to compare, two for each worker at least, if there is time for a few `times` times."""
        if times < DOUBLE_COST:
            self.floating = floating(self.cfg)
        else:
            times /= DOUBLE_COST
        share = rank_batch(self.cfg.global_batch, self.ranks)
        wanted = int(min(MOST_SAMPLES, self.cfg.global_batch, few * times))
        return self._order(max(wanted // self.ranks, min(2, share)) * self.ranks)

    def _copy(self, step: Step) -> Step:
        try:
            copied = copy.deepcopy(step)
        except Exception:  # such as a tensor that is computed from others and kept in a module
            copied = self.task.step(self.cfg).to(self.device).train()
        findings.without_peers(copied)
        return copied

    def _first_pass(self, step: Step, order: Tensor) -> float:
        """Take a pass as training would. Returns its seconds. Raises UserError where workers could not."""
        begin = time.thread_time()  # what others do on this machine does not count
        step = self._copy(step)
        before = findings.signature(step.net)
        batch = take(self.data, order, self.device)
        torch.manual_seed(self.cfg.seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            total, count = step(batch)
        findings.require_figures(total, count)
        findings.require_own_parameters(step, total)
        backward(total, self.task)
        findings.require_unchanged(before, findings.signature(step.net))
        findings.require_gradients(step.net, [str(each.message) for each in caught])
        return time.thread_time() - begin

    def _pass(self, step: Step, batch: Batch, *, statistics: bool) -> Pass:
        """Take a pass without dropout. Without statistics, batch norm does not look at the batch."""
        step = self._copy(step).to(self.floating)
        findings.without_dropout(step)
        if not statistics:
            findings.without_statistics(step)
        self.seed += 1
        torch.manual_seed(self.seed)
        total, count = step(map_tensors(batch, lambda each: moved(each, self.device, self.floating)))
        backward(total, self.task)
        return shares.read(step.net, total, count)

    def _compare(self, step: Step, order: Tensor, parts: list[Batch]) -> tuple[Pass, EqualGradient, list[str]]:
        """Compare the gradient of a batch with that of its parts. Returns the pass over the batch first.

        Where batch norm looks at a batch, workers certainly differ from one process. Whether it is that alone is seen
        by passes in which it does not look.
        """
        layers = findings.norms(step) if self.ranks > 1 else []
        statistics = not (layers or findings.shared_norms(step))
        batch = take(self.data, order, self.device)
        try:
            whole = self._pass(step, batch, statistics=statistics)
        except UserError:  # some networks make single precision within
            self.floating = floating(self.cfg)
            whole = self._pass(step, batch, statistics=statistics)
        if not math.isfinite(whole.total):
            raise UserError(f"loss() returned {whole.total} on a batch of {len(order)} samples; a sum must be finite")
        some = [self._pass(step, each, statistics=statistics) for each in parts]
        differs = bool(layers) and not self.cfg.sync_batchnorm
        said = [self._said_of_norms(len(layers))] if differs else []
        said += shares.uneven_use(some, may_differ=len(order) < self.cfg.global_batch)
        tolerance = tolerance_of(self.floating)
        if shares.agree([whole], some, tolerance):
            return whole, "batch_norm" if differs else "exact", said
        if not shares.agree([whole], [self._pass(step, batch, statistics=statistics)], tolerance):
            said.append(
                "the network draws random numbers which this check cannot switch off (two passes over one batch "
                "differ), so equal gradients are not shown; use modules such as nn.Dropout"
            )
            return whole, "not_shown", said
        return whole, "batch_loss", [*said, shares.explain(whole, some, tolerance)]

    def _said_of_norms(self, layers: int) -> str:
        return (
            f"batch norm in {layers} layer{'s' if layers > 1 else ''}: at {self.ranks} workers it sees "
            f"{part_batch(self.cfg, self.ranks)} samples instead of {part_batch(self.cfg, 1)}; the workers train "
            "another model, so accuracy may differ without any fault of DDP"
        )
