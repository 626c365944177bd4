"""The check of a task before it is measured: whether workers compute the gradient that one process computes.

It runs in one process without a process group, and takes about ten passes. The gradient of a global batch is compared
with the gradients of its shares, as workers would compute them, added up. What it finds is a plain sentence with a name
and a cure; what no worker could train is an error.
"""

import copy
import random
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddpbench.config import TrainConfig, rank_batch
from ddpbench.errors import UserError
from ddpbench.findings import Check, EqualGradient, sentence
from ddpbench.tasks.samples import Batch, map_tensors
from ddpbench.tasks.source import line_of, said
from ddpbench.tasks.step import Step
from ddpbench.tasks.task import Data, Task, floating
from ddpbench.train import findings, shares
from ddpbench.train.shares import Pass
from ddpbench.train.world import resolve_device

MOST_SAMPLES = 256  # of the batch that is compared
BUDGET_S = 4.0  # about, of all passes on a quiet machine: a large network is checked with fewer samples
PASSES = 7  # over a whole batch
DOUBLE_COST = 3  # of a pass in double precision, in passes in single precision
DOUBLE, SINGLE = 1e-6, 1e-4  # relative differences that rounding may make


def examine(task: Task, data: Data, cfg: TrainConfig, ranks: int, budget_s: float = BUDGET_S) -> Check:
    """Check a task for training by so many workers. The data is in CPU memory, and generators stay as they are.

    Raises UserError where the task cannot be trained, or not by workers.
    """
    begin, device = time.perf_counter(), torch.device(resolve_device(cfg))
    rank_batch(cfg.global_batch, ranks)
    state = random.getstate()
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        try:
            equal, found = _Examination(task, data, cfg, ranks, device).run(budget_s)
        finally:
            random.setstate(state)
    return Check(equal_gradient=equal, findings=[sentence(text) for text in found], took_s=time.perf_counter() - begin)


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

    def run(self, budget_s: float) -> tuple[EqualGradient, list[str]]:
        """Return how the gradients compare, and all that is to be said."""
        net = self._network()
        found = list(findings.remarks(net))
        # The compiler would take minutes for passes in double precision.
        plain = torch.compiler.set_stance("force_eager") if findings.is_compiled(net) else nullcontext()
        del net
        with plain:
            step = self._step()
            few = self._order(min(2, rank_batch(self.cfg.global_batch, self.ranks)) * self.ranks)
            self._first_pass(step, few)  # wakes threads
            begin = time.thread_time()  # what others do on this machine does not count
            self._first_pass(step, few)
            order = self._choose(len(few), budget_s / (PASSES * (time.thread_time() - begin)))
            if len(order) > len(few):
                self._first_pass(step, order)
            equal, said = self._compare(step, order)
        return equal, found + said

    def _network(self) -> nn.Module:
        """Return what model() returns, before weights get the type in which they are trained."""
        nets = []
        for _ in range(2):
            net = self.task.network(self.cfg)
            findings.require_trainable(net, self.device)
            nets.append(net)
        shares.require_same(*nets)
        return nets[0]

    def _step(self) -> Step:
        return self.task.step(self.cfg).to(self.device).train()

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

    def _batch(self, order: Tensor, floating: torch.dtype | None = None) -> Batch:
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(self.device, floating if tensor.is_floating_point() else None)

        return map_tensors(self.data.train.take(order), moved)

    def _copy(self, step: Step) -> Step:
        try:
            return copy.deepcopy(step)
        except Exception:  # such as a tensor that is computed from others and kept in a module
            return self._step()

    def _first_pass(self, step: Step, order: Tensor) -> None:
        """Take a pass as training would. Raises UserError where workers could not."""
        step = self._copy(step)
        before = findings.signature(step.net)
        batch = self._batch(order)
        torch.manual_seed(self.cfg.seed)
        try:
            found = step(batch)
        except Exception as problem:
            raise self._failed(problem, f"a batch of {len(order)} samples") from problem
        total, _ = findings.require_loss(found)
        findings.require_own_parameters(step, total)
        try:
            total.backward()
        except Exception as problem:
            raise self._failed(problem, "the backward pass") from problem
        findings.require_unchanged(before, findings.signature(step.net))
        findings.require_gradients(step.net)

    def _failed(self, problem: Exception, where: str) -> UserError:
        if isinstance(problem, UserError):
            return problem
        at = line_of(problem, self.task.file)
        line = "" if at is None else f", line {at}"
        return UserError(f"loss() of the task {self.task.file.name} failed in {where}{line}: {said(problem)}")

    def _pass(self, step: Step, order: Tensor, *, statistics: bool = True) -> Pass:
        """Take a pass without dropout. Without statistics, batch norm does not look at the batch."""
        step = self._copy(step).to(self.floating)
        findings.without_dropout(step)
        if not statistics:
            findings.without_statistics(step)
        self.seed += 1
        torch.manual_seed(self.seed)
        try:
            total, count = step(self._batch(order, self.floating))
            total.backward()
        except Exception as problem:
            raise self._failed(problem, f"{len(order)} samples") from problem
        return shares.read(step.net, total, count)

    def _compare(self, step: Step, order: Tensor) -> tuple[EqualGradient, list[str]]:
        """Compare the gradient of a batch with that of its shares."""
        try:
            whole = self._pass(step, order)
        except UserError:  # some networks make single precision within
            self.floating = floating(self.cfg)
            whole = self._pass(step, order)
        tolerance = DOUBLE if self.floating == torch.float64 else SINGLE
        if not shares.agree([whole], [self._pass(step, order)], tolerance):
            return "not_shown", [
                "the network draws random numbers which this check cannot switch off (two passes over one batch "
                "differ), so equal gradients are not shown; use modules such as nn.Dropout"
            ]
        orders = [order[rank :: self.ranks] for rank in range(self.ranks)]
        parts = [self._pass(step, each) for each in orders]
        said = shares.uneven_use(parts, may_differ=len(order) < self.cfg.global_batch)
        if shares.agree([whole], parts, tolerance):
            return "exact", said
        layers = findings.norms(step)
        if layers:
            said.append(self._said_of_norms(len(layers)))
        if layers or findings.shared_norms(step):
            whole = self._pass(step, order, statistics=False)
            parts = [self._pass(step, each, statistics=False) for each in orders]
            if shares.agree([whole], parts, tolerance):
                return ("batch_norm" if layers else "exact"), said
        return "batch_loss", [*said, shares.explain(whole, parts, tolerance)]

    def _said_of_norms(self, layers: int) -> str:
        share = rank_batch(self.cfg.global_batch, self.ranks)
        return (
            f"batch norm in {layers} layer{'s' if layers > 1 else ''}: at {self.ranks} workers it sees {share} samples "
            f"instead of {self.cfg.global_batch}; the workers train another model, so accuracy may differ without any "
            "fault of DDP"
        )
