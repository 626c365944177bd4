"""Optimizers and learning-rate schedules by name, from torch."""

import inspect

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ddpbench.config import TrainConfig
from ddpbench.errors import NumericalError
from ddpbench.tasks import task


class Careful:
    """An optimizer that takes no step on a gradient that is not finite: the weights stay as they were.

    Gradients are reduced before, so every rank decides the same. The check is the kernel of torch's GradScaler: one
    pass over all gradients (17 us for 100,000 numbers). On a GPU the check does not wait for the device: torch's fused
    kernels skip this update and all later ones, and the loss at the end of the epoch is then not finite.
    """

    _found: Tensor | None = None

    def look(self) -> None:
        """Raise NumericalError where a gradient holds a number that is not finite."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]  # type: ignore[attr-defined]
        if self._found is None:
            self._one = torch.ones((), device=gradients[0].device)
            self._found = self.found_inf = torch.zeros_like(self._one)
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, self._found, self._one)
        if self._found.device.type == "cpu" and self._found.item():
            raise NumericalError("a gradient is not a finite number; use a lower --lr")


class SGD(Careful, torch.optim.SGD):
    """torch's SGD without the decorators that keep torch.compile out of it: nothing here is compiled.

    The decorators import torch._dynamo, which took 1.3 s of the 3.1 s in which a single process started.
    """

    _step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))
    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)

    def step(self) -> None:  # type: ignore[override]
        """Update the weights, or raise NumericalError before they change."""
        self.look()
        self._step()


class AdamW(Careful, torch.optim.AdamW):
    """torch's AdamW, without the same decorators."""

    _step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)

    def step(self) -> None:  # type: ignore[override]
        """Update the weights, or raise NumericalError before they change."""
        self.look()
        self._step()


def build_optimizer(net: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer. Fused: one kernel for all parameters, about 5 % of a step at batch 16."""
    found = task.of(cfg)
    if cfg.optimizer == "task":
        return found.optimizer(net)
    kind = SGD if cfg.optimizer == "sgd" else AdamW
    return kind([each for each in net.parameters() if each.requires_grad], lr=found.lr(cfg, net), fused=True)


def build_schedule(optimizer: torch.optim.Optimizer, cfg: TrainConfig, num_steps: int) -> LRScheduler | None:
    """Build the schedule to advance after every optimizer step; None keeps the rate constant."""
    if cfg.schedule == "constant":
        return None
    return OneCycleLR(optimizer, max_lr=[group["lr"] for group in optimizer.param_groups], total_steps=num_steps)
