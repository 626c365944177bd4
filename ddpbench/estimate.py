"""How long a run will take, from a few timed steps in this process: said before anything is started."""

import time
from functools import cache

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from ddpbench import config, engine, models, optim, world
from ddpbench.arm import Arm
from ddpbench.config import TrainConfig

# For the estimate only: one gradient exchange between processes of one host, and what waiting for it adds.
COMM_STEP_S = {"gloo": 0.003, "nccl": 0.001, "shm": 0.0005, "none": 0.0, None: 0.0}
PROBE_STEPS = 8


def run_s(arm: Arm, cfg: TrainConfig, steps: int, start_s: float, num_test: int) -> float:
    """Estimate the seconds of one run of `cfg.epochs` epochs of `steps` steps."""
    test_s = step_s(arm, cfg) / 3 * num_test / cfg.global_batch  # forward only
    starts = 2 if arm.kind == "ddp" else 1  # torchrun imports torch, and then each rank does
    return starts * start_s + cfg.epochs * (step_s(arm, cfg) * steps + test_s)


@cache
def step_s(arm: Arm, cfg: TrainConfig) -> float:
    """Estimate the seconds of one training step of an arm, from one rank's work."""
    torch.set_num_threads(arm.threads_per_rank)
    alone_s = _probe_step_s(cfg, config.rank_batch(cfg.global_batch, arm.world_size))
    return alone_s + (COMM_STEP_S[arm.comm] if arm.world_size > 1 else 0.0)


def _probe_step_s(cfg: TrainConfig, batch: int) -> float:
    """Time a training step on random images: the median of a few, after as many to warm up."""
    device = torch.device(world.resolve_device(cfg))
    net = models.build(cfg).to(device)
    optimizer = optim.build_optimizer(net, cfg)
    images = torch.rand(batch, 1, 28, 28, device=device, dtype=models.dtype(cfg))
    labels = torch.randint(10, (batch,), device=device)
    steps_s = []
    for _ in range(2 * PROBE_STEPS):
        begin = time.perf_counter()
        with engine.autocast(cfg, device):
            loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the device
        steps_s.append(time.perf_counter() - begin)
    return sorted(steps_s[PROBE_STEPS:])[PROBE_STEPS // 2]
