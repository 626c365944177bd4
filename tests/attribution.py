"""Run the arms of a breakdown with and without injected losses, in one torchrun job, and write their records.

torchrun --nproc_per_node=2 -m tests.attribution FOLDER FIRST_SEED ROUNDS [FLAGS]

A subfolder for each loss: `none` and the names of LOSSES. Rounds are interleaved: every variant once per seed.
The single-process arms are run by rank 0 while the others wait; a loss never touches them.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from ddpbench import config, data, engine, models, world

# slow-start is not among them: it lies before training, and is tested on its own.
LOSSES = ("slow-rank=4", "slow-reduction=0.050", "large-share=0.9", "one-core=1")


def main() -> None:
    folder, first, rounds, *flags = sys.argv[1:]
    cfg = config.parse(flags)
    here = world.join(cfg)
    images = data.load(cfg)
    alone = replace_world(here)
    with here:
        for seed in range(int(first), int(first) + int(rounds)):
            told = replace(cfg, seed=seed, threads=1)
            rank_batch = config.rank_batch(cfg.global_batch, here.size)
            steps = len(images.train.labels) // cfg.global_batch
            singles = [told, replace(told, global_batch=rank_batch, steps=steps)]
            for single in singles:
                here.barrier()
                if here.is_main:
                    train(replace(single, results=Path(folder) / "singles"), images, alone, "baseline")
            for loss in (None, *LOSSES):
                for comm in ("none", "gloo"):
                    here.barrier()
                    place = Path(folder) / (loss or "none")
                    with same_cores():
                        mine = replace(here, comm=comm)
                        train(replace(told, comm=comm, inject=loss, results=place), images, mine, "ddp")


def train(cfg: config.TrainConfig, images: data.DataSet, here: world.World, kind: str) -> None:
    torch.set_num_threads(1)
    net = models.build(cfg).to(here.device)
    if here.comm not in (None, "none"):
        net = DistributedDataParallel(net, gradient_as_bucket_view=True)
    engine.fit(net, data.Batches(images, cfg, here), cfg, here, kind=kind)


def replace_world(here: world.World) -> world.World:
    return world.World(rank=0, size=1, local_size=1, device=here.device, comm=None)


@contextlib.contextmanager
def same_cores() -> Iterator[None]:
    """Give this process's threads the cores back that `one-core` takes away."""
    before = os.sched_getaffinity(0)
    yield
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), before)


if __name__ == "__main__":
    world.run(main)
