"""Which device a run takes, what needs a GPU, and how ranks of GPUs meet. None of it needs one."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.record import Comm
from ddpbench.tasks import task
from ddpbench.train import clock, machine, world
from ddpbench.train.findings import is_compiled
from ddpbench.train.world import World

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SYNC = TrainConfig(sync_batchnorm=True)


def test_a_compiled_network_needs_a_compiler_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    step = task.of(TrainConfig(dataset="synthetic")).step(TrainConfig(dataset="synthetic"))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler, and finds neither g\+\+ nor clang\+\+"):
        world.alone(step, CPU, "compiled")

    assert world.alone(step, CPU, "baseline") is step
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(Path.cwd()))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "clang++" else None)
    assert world.alone(step, CPU, "compiled") is step
    assert is_compiled(step.net)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] != str(Path.cwd()), "where one stands"


def pretend(monkeypatch: pytest.MonkeyPatch, kind: str | None, count: int = 2) -> None:
    """Make torch see accelerators of this kind."""
    found = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0 if kind is None else count)


@pytest.mark.parametrize(("kind", "gpus"), [("cuda", 2), ("mps", 0), ("xpu", 0), (None, 0)])
def test_auto_takes_a_gpu_on_which_ranks_can_combine_gradients_and_no_other(
    kind: str | None, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, kind)

    assert machine.gpus() == gpus
    assert machine.resolve(TrainConfig()) == ("cuda" if gpus else "cpu")
    assert machine.resolve(TrainConfig(device="cpu")) == "cpu"
    if not gpus:
        with pytest.raises(UserError, match="--device cuda: torch sees no CUDA GPU here"):
            machine.resolve(TrainConfig(device="cuda"))


@pytest.mark.parametrize(("last", "host"), [("cpu, by shm+gloo", None), ("cpu, by gloo", 2), ("cuda, by nccl", 2)])
def test_hosts_that_have_chosen_otherwise_are_named(
    last: str, host: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host sees its own devices. Without this, ranks would wait for each other by unlike ways."""
    ways = ["cpu, by shm+gloo"] * 4 + [last] * 2
    here = World(0, 6, 2, CPU, "shm+gloo")
    monkeypatch.setattr(World, "gather", lambda _, mine: ways if mine == ways[0] else pytest.fail(mine))
    if host is None:
        here._require_one_way()
        return
    said = f"^host {host} would train on {last}, and host 0 on cpu, by shm[+]gloo; give --device and --comm"
    with pytest.raises(UserError, match=said):
        here._require_one_way()


def test_more_ranks_than_gpus_are_refused_and_ranks_on_cpus_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cuda", 2)
    world.check(TrainConfig(), 2, 2)
    world.check(TrainConfig(device="cpu"), 4, 4)

    with pytest.raises(UserError, match="4 ranks need 4 GPUs and this machine has 2"):
        world.check(TrainConfig(), 4, 4)


def test_the_cpu_has_nothing_to_wait_for_and_a_gpu_has(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = list[torch.device]()
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    for device in (CPU, GPU):
        clock.synchronize(device)

    assert waited == [GPU]


def test_synchronised_batch_norm_is_refused_on_cpus_and_in_data_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "cuda")
    world.check(SYNC, 2, 2)
    with pytest.raises(UserError, match=r"^--data-parallel cannot synchronise batch norm; leave out"):
        world.solo(TrainConfig(sync_batchnorm=True, data_parallel=True))
    pretend(monkeypatch, None)

    for refused in (lambda: world.check(SYNC, 2, 2), lambda: world.solo(SYNC)):
        with pytest.raises(UserError, match=r"^--sync-batchnorm works between GPUs alone, and this run trains on CPUs"):
            refused()


class Wrapped(nn.Module):
    """DistributedDataParallel without ranks."""

    def __init__(self, net: nn.Module, group: Any = None, *, sends_buffers: bool = True) -> None:
        super().__init__()
        self.module, self.group, self.sends_buffers = net, group, sends_buffers

    def register_comm_hook(self, *_: Any) -> None:
        """Take a hook."""


@pytest.mark.parametrize(
    ("comm", "syncs", "expected"),
    [
        ("nccl", True, nn.SyncBatchNorm),
        ("nccl", False, nn.BatchNorm2d),
        ("nothing", True, nn.BatchNorm2d),  # a control: its ranks exchange nothing at all
        ("none", True, nn.BatchNorm2d),
        (None, True, nn.BatchNorm2d),
    ],
)
def test_batch_norm_is_synchronised_before_the_network_is_wrapped_and_never_in_a_control(
    comm: Comm | None, syncs: bool, expected: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddp, "Ddp", Wrapped)
    here = World(0, 2, 2, CPU, comm, sync_batchnorm=syncs)
    net = ddp.wrap(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), here, comm)
    (layer,) = (each for each in net.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm))

    assert type(layer) is expected
    if isinstance(net, Wrapped):
        assert net.sends_buffers == (comm != "nothing"), "DDP sends buffers before every forward pass"


@pytest.mark.parametrize(
    ("comm", "device", "uses"),
    [
        ("nccl", GPU, True),
        ("fp16", GPU, True),
        ("powersgd", GPU, True),
        ("powersgd", CPU, False),
        ("gloo", GPU, False),
        ("none", GPU, False),
    ],
)
def test_gradients_in_fewer_bits_go_between_gpus_by_nccl(comm: Comm, device: torch.device, uses: bool) -> None:
    assert World(0, 2, 2, device, comm)._uses_nccl is uses
