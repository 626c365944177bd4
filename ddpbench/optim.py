"""Optimizers and learning-rate schedules by name, from torch."""

import inspect

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ddpbench.config import TrainConfig


class SGD(torch.optim.SGD):
    """torch's SGD without the decorators that keep torch.compile out of it, as nothing here is compiled.

    They import torch._dynamo, which is 1.3 s of the 3.1 s that a single process took to start.
    """

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))
    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)


class AdamW(torch.optim.AdamW):
    """torch's AdamW, without the same decorators."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)


def build_optimizer(net: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer. Fused: one kernel for all parameters, about 5 % of a step at batch 16."""
    if cfg.optimizer == "sgd":
        return SGD(net.parameters(), lr=cfg.peak_lr, fused=True)
    return AdamW(net.parameters(), lr=cfg.peak_lr, fused=True)


def build_schedule(optimizer: torch.optim.Optimizer, cfg: TrainConfig, num_steps: int) -> LRScheduler | None:
    """Build the schedule to advance after every optimizer step; None keeps the rate constant."""
    if cfg.schedule == "constant":
        return None
    return OneCycleLR(optimizer, max_lr=cfg.peak_lr, total_steps=num_steps)
