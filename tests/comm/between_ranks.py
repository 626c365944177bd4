"""Ranks of hosts that this machine pretends to be, which average random buckets and check every result themselves.

python -m tests.comm.between_ranks SEED STEPS LOCAL_SIZE USED --timeout-s N    in the environment of a rank of one host

Each host has LOCAL_SIZE ranks, of which the first USED take part, as in an arm of a launch of turns.

Sizes, types and values follow from SEED, so every rank knows what all the others bring. Moments are truly random.
"""

import random
import sys
import time
from dataclasses import replace

import torch
from torch.futures import Future

from ddpbench import config
from ddpbench.comm import between
from ddpbench.train import world
from ddpbench.train.life import Life
from ddpbench.train.world import World
from tests.comm.shm_ranks import values

SIZES = {1: 2, 3: 4, 1_000: 4, 20_000: 4, 101_770: 2, 1_200_000: 1}  # with how often each is drawn


def main() -> None:
    seed, steps, local_size, used, *flags = sys.argv[1:]
    whole = world.join(config.parse([*flags, "--global-batch", "240", "--device", "cpu"]))
    torch.set_num_threads(1)
    with whole:
        here = replace(whole, local_size=int(local_size)).part(whole.size // int(local_size), int(used), "shm+gloo")
        waits_s = take_steps(here, int(steps), seed) if here is not None else []
    print(f"{len(waits_s)} right and timed", flush=True)


def take_steps(here: World, steps: int, seed: str) -> list[float]:
    """Reduce the buckets of so many steps. Returns the seconds that each waited for other hosts."""
    mean, _ = between.hook(here, spins=False)
    for step in range(steps):
        told, moment = random.Random(f"{seed} {step}"), random.Random()
        futures: list[Future[torch.Tensor]] = []
        wanted = []
        buckets = told.randint(1, 3)
        for bucket in range(buckets):
            (count,) = told.choices([*SIZES], [*SIZES.values()])  # of the last, a part is several chunks
            dtype = told.choice((torch.float32, torch.float64, torch.bfloat16))
            brought = [values(count, dtype, told.randrange(2**32)) for _ in range(here.size)]
            wanted.append(mean_in_order(brought, here.local_size))
            time.sleep(moment.random() ** 8 * 0.01)  # mostly at once, sometimes late
            futures.append(mean(brought[here.rank], is_last=bucket == buckets - 1))
        if not all(torch.equal(future.value(), right) for future, right in zip(futures, wanted, strict=True)):
            sys.exit(f"rank {here.rank}: wrong sum in step {step}")
    return mean.take()


def mean_in_order(brought: list[torch.Tensor], local_size: int) -> torch.Tensor:
    """What every rank must have, to the bit: divided first, added by rank on each host, then added by host."""
    scaled = [tensor * (1 / len(brought)) for tensor in brought]
    hosts = [scaled[first : first + local_size] for first in range(0, len(scaled), local_size)]
    first, *rest = (add_up(host) for host in hosts)
    return add_up([first, *rest])


def add_up(tensors: list[torch.Tensor]) -> torch.Tensor:
    first, *rest = tensors
    for tensor in rest:
        first = first + tensor
    return first


if __name__ == "__main__":
    Life().run(main)
