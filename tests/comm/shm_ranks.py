"""Ranks that average random tensors at random moments through shared memory and check every result themselves.

python -m tests.comm.shm_ranks SEED CALLS --timeout-s N    in the environment that torchrun would make for a rank

Sizes, types and values follow from SEED, so every rank knows what all the others bring. Moments are truly random.
"""

import random
import sys
import time

import torch

from ddpbench import config, environment
from ddpbench.comm import shm
from ddpbench.train import world
from ddpbench.train.life import Life

SIZES = {1: 4, 2: 4, 17: 4, 1_000: 4, 20_000: 4, 101_770: 2, 500_000: 1}  # with how often each is drawn


def main() -> None:
    seed, calls, *flags = sys.argv[1:]
    here = world.join(config.parse([*flags, "--global-batch", "240", "--device", "cpu"]))
    torch.set_num_threads(1)
    with here:
        mean, _ = shm.hook(here, spins=here.size <= environment.usable_cores())
        print("ready", flush=True)
        for call in range(int(calls)):
            told, moment = random.Random(f"{seed} {call}"), random.Random()
            (count,) = told.choices([*SIZES], [*SIZES.values()])  # the last two take by-parts and several chunks
            dtype = told.choice((torch.float32, torch.float64, torch.bfloat16))
            brought = [values(count, dtype, told.randrange(2**32)) for _ in range(here.size)]
            mine = brought[here.rank].clone()
            time.sleep(moment.random() ** 8 * 0.01)  # mostly at once, sometimes late enough for a peer to fall asleep
            mean(mine)
            if not torch.equal(mine, mean_in_rank_order(brought)):
                sys.exit(f"rank {here.rank}: wrong sum in call {call}")
    print(f"{calls} right", flush=True)


def values(count: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)).sub_(0.5).to(dtype)


def mean_in_rank_order(brought: list[torch.Tensor]) -> torch.Tensor:
    """What every rank must have, to the bit: each part divided first, as DDP does, then added from rank 0 on."""
    first, *rest = (tensor * (1 / len(brought)) for tensor in brought)
    for tensor in rest:
        first += tensor
    return first


if __name__ == "__main__":
    Life().run(main)
