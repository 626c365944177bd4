"""Everything that training changes, in one value."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ddpbench.config import TrainConfig
from ddpbench.train import optim


@dataclass(slots=True)
class TrainState:
    """Training at one moment. Steps and onlookers change it; nothing else keeps a copy."""

    net: nn.Module  # as it is trained: bare, or inside DistributedDataParallel or DataParallel
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None
    epoch_steps: int  # steps of one epoch
    epoch: int = 1  # the epoch that is trained
    losses: list[Tensor] = field(default_factory=list)  # one of each step of this epoch on this rank, on the device
    paused_s: float = 0.0  # spent in this epoch on saving: no part of its training time
    earlier_train_s: float = 0.0  # that earlier attempts trained in this epoch
    earlier_alive_s: float = 0.0  # that processes of earlier attempts lived

    @classmethod
    def of(cls, net: nn.Module, cfg: TrainConfig, epoch_steps: int) -> "TrainState":
        """Return the state before the first step."""
        optimizer = optim.build_optimizer(net, cfg)
        return cls(net, optimizer, optim.build_schedule(optimizer, cfg, cfg.epochs * epoch_steps), epoch_steps)

    @property
    def step(self) -> int:
        """The number of steps taken, counted over the run."""
        return (self.epoch - 1) * self.epoch_steps + len(self.losses)

    @property
    def bare_net(self) -> nn.Module:
        """The network itself, outside DistributedDataParallel and DataParallel."""
        inner = getattr(self.net, "module", self.net)
        assert isinstance(inner, nn.Module)
        return inner

    def begin_next_epoch(self) -> None:
        """Leave the epoch that is trained."""
        self.epoch += 1
        self.losses = []
        self.paused_s = self.earlier_train_s = 0.0

    def weights_sha256(self) -> bytes:
        """Return the SHA-256 of all weights: 32 bytes, equal on ranks whose weights are equal to the bit."""
        digest = hashlib.sha256()
        for value in self.bare_net.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.digest()


def num_parameters(net: nn.Module) -> int:
    """Count the trained numbers of a network."""
    return sum(parameter.numel() for parameter in net.parameters())
