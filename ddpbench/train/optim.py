"""Optimizers and learning-rate schedules by name, from torch."""

import inspect
import math
import warnings

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from ddpbench.config import TrainConfig
from ddpbench.errors import NumericalError, UserError
from ddpbench.tasks import task
from ddpbench.train.gradients import LossScale, prepare

WARMUP = 0.3  # of one-cycle, as torch has it


class Careful:
    """An optimizer that takes no step on a gradient that is not finite: the weights stay as they were.

    Gradients are reduced before, so every rank decides the same. The check is the kernel of torch's GradScaler: one
    pass over all gradients (17 us for 100,000 numbers). On a GPU the check does not wait for the device: torch's fused
    kernels skip this update and all later ones, and the loss at the end of the epoch is then not finite.
    """

    loss_scale: LossScale | None = None  # where there is one, it has looked at the gradients before
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
        if self.loss_scale is None:
            self.look()
        self._step()


class AdamW(Careful, torch.optim.AdamW):
    """torch's AdamW, without the same decorators."""

    _step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)

    def step(self) -> None:  # type: ignore[override]
        """Update the weights, or raise NumericalError before they change."""
        if self.loss_scale is None:
            self.look()
        self._step()


class Curve(LambdaLR):
    """A rate that rises over the first steps, and then stays, or falls to 0 as a cosine does."""

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int, warmup: float, *, falls: bool) -> None:
        rising = min(round(warmup * steps), steps - 1)

        def share(step: int) -> float:  # of the peak rate, in a step counted from 0
            if step < rising:
                return (step + 1) / (rising + 1)
            return (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2 if falls else 1.0

        super().__init__(optimizer, share)


def build_optimizer(net: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer. It unscales and clips gradients before a step, where this is asked for.

    Raises UserError for one of a task that cannot take steps as they are taken here.
    """
    optimizer = _optimizer(net, cfg)
    if isinstance(optimizer, torch.optim.LBFGS):
        raise UserError("optimizer() returned LBFGS, which computes a step's loss several times; return another one")
    prepare(optimizer, cfg)
    return optimizer


def build_schedule(optimizer: torch.optim.Optimizer, cfg: TrainConfig, num_steps: int) -> LRScheduler | None:
    """Build the schedule to advance after every optimizer step; None keeps the rate constant.

    Raises UserError where the task's own is none that can be advanced in that way.
    """
    if cfg.schedule == "task":
        return _own_schedule(optimizer, cfg, num_steps)
    if cfg.schedule == "one-cycle":
        return _one_cycle(optimizer, WARMUP if cfg.warmup is None else cfg.warmup, num_steps)
    if cfg.schedule == "constant" and not cfg.warmup:
        return None
    return Curve(optimizer, num_steps, cfg.warmup or 0.0, falls=cfg.schedule == "cosine")


def advance(schedule: LRScheduler, steps: int) -> None:
    """Bring a new schedule to where it is after so many steps of a run, to the bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch misses the steps of the optimizer in between
        if type(schedule) in (Curve, OneCycleLR):  # every rate and momentum is a function of the step
            schedule.load_state_dict(schedule.state_dict() | {"last_epoch": steps - 1, "_step_count": steps})
            schedule.step()
            return
        for _ in range(steps):  # a task's own may compute each rate from the one before
            schedule.step()


def _optimizer(net: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer. Fused: one kernel for all parameters, about 5 % of a step at batch 16."""
    found = task.of(cfg)
    if cfg.optimizer == "task":
        return found.optimizer(net)
    kind = SGD if cfg.optimizer == "sgd" else AdamW
    return kind([each for each in net.parameters() if each.requires_grad], lr=found.lr(cfg, net), fused=True)


def _one_cycle(optimizer: torch.optim.Optimizer, warmup: float, num_steps: int) -> OneCycleLR:
    if warmup * num_steps == 1:  # OneCycleLR would divide by the length of the rise, from step 0 to step 0
        warmup *= 1 - 1e-9
    has_momentum = not {"momentum", "betas"}.isdisjoint(optimizer.defaults)
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(
        optimizer, max_lr=peaks, total_steps=num_steps, pct_start=float(warmup), cycle_momentum=has_momentum
    )


def _own_schedule(optimizer: torch.optim.Optimizer, cfg: TrainConfig, num_steps: int) -> LRScheduler:
    found = task.of(cfg)
    where = f"schedule() of the task {found.file.name}"
    made = found.schedule(optimizer, num_steps)
    if isinstance(made, ReduceLROnPlateau):
        raise UserError(f"{where} returned a ReduceLROnPlateau, which waits for a figure; return another one")
    if made.optimizer is not optimizer:
        raise UserError(f"{where} returned the schedule of another optimizer; make it for the one that it is given")
    return made
