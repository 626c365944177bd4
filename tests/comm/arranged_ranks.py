"""Ranks that train, and go on from the middle with DDP's buckets as they were, and without that. They compare the bits.

python -m tests.comm.arranged_ranks COMM CUT PASSES    in the environment that torchrun would make for a rank

A step has PASSES backward passes, of which the last one exchanges gradients. Layers are used in another order than the
network has them. Rank 0 prints whether the weights are those of a run in one go: with the order of buckets as it was
after CUT steps, once more from a start that went on itself, and without it.
"""

import sys

import torch
from torch import nn

from ddpbench import config
from ddpbench.comm import ddp
from ddpbench.train import world
from ddpbench.train.life import Life
from ddpbench.train.world import World

WIDTH, LAYERS, STEPS = 300, 6, 6  # 2 MB of gradients: two buckets


class Shuffled(nn.Module):
    """Layers that are not used in the order in which they are registered."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for index in (3, 0, 5, 1, 4, 2):
            inputs = torch.tanh(self.layers[index](inputs))
        return inputs


class Start:
    """One start of a training."""

    def __init__(self, here: World, comm: str) -> None:
        torch.manual_seed(0)
        self.here, self.net = here, ddp.wrap(Shuffled(), here, comm)

    def take(self, steps: range, passes: int) -> None:
        """Take these steps of the training, each on data of its own."""
        for step in steps:
            torch.manual_seed(step * self.here.size + self.here.rank)
            self.net.zero_grad()
            for each in range(passes):
                self.net.require_backward_grad_sync = each == passes - 1
                self.net(torch.randn(8, WIDTH)).square().sum().backward()
            with torch.no_grad():
                for value in self.net.parameters():
                    value -= 1e-2 * value.grad

    def weights(self) -> list[torch.Tensor]:
        """Return a copy of the weights."""
        return [value.detach().clone() for value in self.net.parameters()]

    def go_on(self, weights: list[torch.Tensor], order: list[int]) -> None:
        """Take over weights, and the order of buckets where there is one."""
        with torch.no_grad():
            for value, saved in zip(self.net.parameters(), weights, strict=True):
                value.copy_(saved)
        ddp.arrange(self.net, order)


def main() -> None:
    comm, cut, passes, *flags = sys.argv[1:]
    here = world.join(config.parse([*flags, "--global-batch", "240", "--device", "cpu"]))
    torch.set_num_threads(1)
    with here:
        whole = Start(here, comm)
        whole.take(range(int(cut)), int(passes))
        saved, order = whole.weights(), ddp.order_of(whole.net)
        whole.take(range(int(cut), STEPS), int(passes))
        again = Start(here, comm)
        again.go_on(saved, order)
        again.take(range(int(cut), int(cut) + 1), int(passes))
        third, without = Start(here, comm), Start(here, comm)
        third.go_on(again.weights(), ddp.order_of(again.net))
        without.go_on(saved, [])
        again.take(range(int(cut) + 1, STEPS), int(passes))
        third.take(range(int(cut) + 1, STEPS), int(passes))
        without.take(range(int(cut), STEPS), int(passes))
        if here.is_main:
            are_same = [all(map(torch.equal, whole.weights(), each.weights())) for each in (again, third, without)]
            print(*are_same, flush=True)


if __name__ == "__main__":
    Life().run(main)
