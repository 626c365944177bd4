"""Everything that training changes, in one value."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.tasks.step import Step
from ddpbench.train import optim
from ddpbench.train.accumulating import Passes
from ddpbench.train.counts import Counts
from ddpbench.train.gradients import LossScale, scale_of
from ddpbench.train.world import World


@dataclass(slots=True)
class TrainState:
    """Training at one moment. Steps and onlookers change it; nothing else keeps a copy."""

    net: nn.Module  # as it is trained: a Step, or one inside DistributedDataParallel or DataParallel
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None
    epoch_steps: int  # steps of one epoch
    passes: Passes
    epoch: int = 1  # the epoch that is trained
    # One of each step of this epoch on this rank, on the device: a sum; or a mean, if an earlier attempt took the step.
    losses: list[Tensor] = field(default_factory=list)
    shares: list[Tensor] = field(default_factory=list)  # what one loss counts, in each step that this process took
    paused_s: float = 0.0  # spent in this epoch on saving: no part of its training time
    earlier_train_s: float = 0.0  # that earlier attempts trained in this epoch
    earlier_alive_s: float = 0.0  # that processes of earlier attempts lived

    @classmethod
    def of(cls, net: nn.Module, cfg: TrainConfig, epoch_steps: int, here: World | None = None) -> "TrainState":
        """Return the state before the first step. `here` are the ranks that train together; None: it trains alone."""
        optimizer = optim.build_optimizer(bare(net), cfg)
        schedule = optim.build_schedule(optimizer, cfg, cfg.epochs * epoch_steps)
        passes = Passes(net, Counts(here, cfg.accumulate), scale_of(optimizer), cfg.accumulate)
        return cls(net, optimizer, schedule, epoch_steps, passes)

    @property
    def step(self) -> int:
        """The number of steps taken, counted over the run."""
        return (self.epoch - 1) * self.epoch_steps + len(self.losses)

    @property
    def scale(self) -> LossScale | None:
        """What the loss is multiplied by; None: it is not."""
        return scale_of(self.optimizer)

    @property
    def bare_net(self) -> nn.Module:
        """The network itself, without its loss, outside DistributedDataParallel and DataParallel."""
        return bare(self.net)

    def mean_losses(self, since: int = 0) -> Tensor:
        """Return the mean loss of each step of this epoch on this rank, from one step on, in double precision.

        Means are taken only here: one kernel less in every step.
        """
        earlier = len(self.losses) - len(self.shares)  # steps of an earlier attempt
        shares = [torch.ones_like(self.losses[0])] * earlier + self.shares
        return (torch.stack(self.losses[since:]) * torch.stack(shares[since:])).double()

    def begin_next_epoch(self) -> None:
        """Leave the epoch that is trained."""
        self.epoch += 1
        self.losses = []
        self.paused_s = self.earlier_train_s = 0.0

    def weights_sha256(self) -> bytes:
        """Return the SHA-256 of all parameters: 32 bytes, equal on ranks whose parameters are equal to the bit.

        Buffers are left out: the running statistics of batch norm differ from rank to rank in a correct run.
        """
        digest = hashlib.sha256()
        for value in self.bare_net.parameters():
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.digest()


def bare(net: nn.Module) -> nn.Module:
    """Return the network of a Step, which may be inside DistributedDataParallel or DataParallel."""
    step = net.module if isinstance(net, DistributedDataParallel | DataParallel) else net
    assert isinstance(step, Step)
    return step.net


def own_state(net: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a network, each tensor once: tied weights under their first name.

    Raises UserError where it keeps more than tensors.
    """
    seen: dict[tuple[int, torch.Size, tuple[int, ...]], str] = {}
    kept: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"the network keeps {name} by get_extra_state(), and a checkpoint holds tensors alone; use a buffer"
            )
        place = (value.data_ptr(), value.shape, value.stride())
        if value.numel() == 0 or seen.setdefault(place, name) == name:
            kept[name] = value
    return kept


def num_parameters(net: nn.Module) -> int:
    """Count the trained numbers of a network."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
