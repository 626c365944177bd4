"""Run the arms of a breakdown with and without injected losses, in one torchrun job, and write their records.

torchrun --nproc_per_node=2 -m tests.judge.attribution FOLDER FIRST_SEED ROUNDS [FLAGS]

A subfolder for each loss: `none` and the names of LOSSES. Rounds are interleaved: every variant once per seed.
The single-process arms are run by rank 0 while the others wait; a loss never touches them.

Launch, gradients, DDP, timers and judge are the real ones. What a sample costs is not left to the machine: where 900
samples fall out of a cache that 500 fit, a larger share is no longer a known loss.
"""

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from msgspec.structs import replace

from ddpbench import config
from ddpbench.comm import ddp
from ddpbench.tasks import mnist
from ddpbench.tasks.mnist import DataSet
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches
from ddpbench.train.life import Life

# slow-start is not among them: it lies before training, and is tested on its own.
SLOW_RANK, SLOW_REDUCTION_S, LARGE_SHARE = 3, 0.040, 0.9
LOSSES = (f"slow-rank={SLOW_RANK}", f"slow-reduction={SLOW_REDUCTION_S}", f"large-share={LARGE_SHARE}", "one-core=1")
SAMPLE_S = 60e-6  # CPU time that training on one sample takes, beside the little that the network itself needs


def main() -> None:
    folder, first, rounds, *flags = sys.argv[1:]
    cfg = config.parse(flags)
    here = world.join(cfg)
    images = mnist.load(cfg)
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
                        mine = dataclasses.replace(here, comm=comm)
                        train(
                            replace(told, comm=comm, hook=loss and f"tests/hooks/losses.py:{loss}", results=place),
                            images,
                            mine,
                            "ddp",
                        )


def train(cfg: config.TrainConfig, images: DataSet, here: world.World, kind: str) -> None:
    torch.set_num_threads(1)
    net = mnist.build(cfg).to(here.device)
    next(net.children()).register_forward_pre_hook(work)
    net = ddp.wrap(net, here, here.comm)
    engine.fit(net, Batches(images, cfg, here), cfg, here, kind=kind)


def work(layer: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
    """Keep this core busy for SAMPLE_S a sample. By CPU time, so that a rank that must share its core takes longer."""
    until = time.thread_time() + SAMPLE_S * len(inputs[0])
    while layer.training and time.thread_time() < until:
        pass


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
    Life().run(main)
