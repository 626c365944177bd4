"""Ranks that train one network twice side by side: with gradients as they are, and in fewer bits. They compare both.

python -m tests.comm.compressed_ranks COMM    in the environment that torchrun would make for a rank

The network fills several buckets, so that several are under way at a time. Rank 0 prints how many ranks have other
weights than rank 0, and how far the weights are from those of gloo, in parts of the way that gloo's have gone.
"""

import hashlib
import sys

import torch
from torch import nn

from ddpbench import config
from ddpbench.comm import ddp
from ddpbench.train import world
from ddpbench.train.life import Life
from ddpbench.train.world import World

WIDTH, LAYERS, STEPS = 1_000, 9, 6  # 36 MB of gradients: buckets of 1, 25 and 10 MB


def main() -> None:
    comm, *flags = sys.argv[1:]
    here = world.join(config.parse([*flags, "--global-batch", "240", "--device", "cpu"]))
    torch.set_num_threads(1)
    with here:
        begin, exact = train("gloo", here, 0), train("gloo", here, STEPS)
        other = train(comm, here, STEPS)
        sums = here.gather(hashlib.sha256(other.numpy().tobytes()).hexdigest())
        if here.is_main:
            apart = sum(each != sums[0] for each in sums)
            print(apart, float((other - exact).norm() / (exact - begin).norm()), flush=True)


def train(comm: str, here: World, steps: int) -> torch.Tensor:
    """Return the weights after so many steps, each on other data for every rank."""
    torch.manual_seed(0)
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    net = ddp.wrap(nn.Sequential(*layers), here, comm)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    torch.manual_seed(1 + here.rank)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, WIDTH)).square().sum().backward()  # a mean would be too small for float16
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


if __name__ == "__main__":
    Life().run(main)
