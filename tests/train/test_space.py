"""What does not fit into memory is refused before anything is measured, and what may fit is not."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from ddpbench import environment
from ddpbench.arm import Arm
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.tasks import task
from ddpbench.tasks.samples import Samples
from ddpbench.tasks.task import Data
from ddpbench.train import space, world
from ddpbench.train.check import examine
from ddpbench.train.space import Sizes
from ddpbench.turns import TurnArm

GIB = 2**30
SIZES = Sizes(network=GIB, data=4 * GIB, sample=2**20, readers=None)
READ = Sizes(network=GIB, data=0, sample=2**20, readers=3)


def arm(ranks: int, threads: int = 1, batch: int = 1024, *, replayed: bool = False) -> TurnArm:
    return TurnArm(arm=Arm("ddp", ranks, threads, "shm"), global_batch=batch, replayed=replayed)


@pytest.mark.parametrize(
    ("optimizer", "schedule", "times"),
    [("adamw", "one-cycle", 4), ("sgd", "one-cycle", 3), ("sgd", "constant", 2), ("task", "constant", 2)],
)
def test_a_network_takes_its_weights_gradients_and_what_the_optimizer_keeps(
    optimizer: str, schedule: str, times: int
) -> None:
    net = nn.Sequential(nn.Linear(100, 10, bias=False), nn.Linear(10, 50, bias=False).requires_grad_(False))
    samples = Samples((torch.zeros(96, 25), torch.zeros(96, dtype=torch.uint8)))
    cfg = TrainConfig(optimizer=optimizer, schedule=schedule)  # type: ignore[arg-type]

    assert space.sizes_of(net, Data(samples, samples), cfg) == Sizes(
        network=4 * (times * 1_000 + 500), data=2 * 96 * 101 + 96 * 40, sample=101, readers=None
    )


def test_data_that_is_mapped_from_a_file_takes_what_loading_it_took() -> None:
    samples = Samples(torch.zeros(96, 25))
    sizes = space.sizes_of(nn.Linear(1, 1), Data(samples, samples), TrainConfig(), loaded_bytes=50)

    assert sizes.data == 50 + 96 * space.ORDER_BYTES


@pytest.mark.parametrize(
    ("arms", "is_loaded", "need", "said"),
    [
        # Each worker has its data; a batch is shared out.
        (
            [arm(2)],
            False,
            11,
            "2 workers take at least 11.0 GiB of memory (networks with their optimizers 2.0 GiB, data",
        ),
        ([arm(1), arm(2), arm(3)], False, 19, "3 workers in 3 arms take at least 19.0 GiB of memory"),
        (
            [arm(1), arm(2), arm(3)],
            True,
            7,
            "(networks with their optimizers 6.0 GiB, a batch 1.0 GiB), and 7.0 GiB is",
        ),
    ],
)
def test_what_workers_take_at_least_must_be_free(arms: list[TurnArm], is_loaded: bool, need: int, said: str) -> None:
    space.require_memory(SIZES, arms, need * GIB, is_loaded=is_loaded)
    with pytest.raises(UserError) as refused:
        space.require_memory(SIZES, arms, need * GIB - 1, is_loaded=is_loaded)

    assert said in str(refused.value)
    assert str(refused.value).endswith("use fewer workers, a smaller network or less data")


def test_a_machine_holds_its_own_part_of_an_arm_over_several_hosts() -> None:
    two = [replace(each, arm=replace(each.arm, world_size=4, hosts=2)) for each in (arm(2), arm(2))]
    space.require_memory(SIZES, two, 2 * (4 + 2) * GIB + GIB // 2)  # data and two networks for two ranks; half a batch
    with pytest.raises(UserError, match="2 workers in 2 arms take at least"):
        space.require_memory(SIZES, two, 2 * (4 + 2) * GIB + GIB // 2 - 1)
    space.require_shared(READ, [replace(two[0], global_batch=2 * 1024)], 1024 * 3 * space.AHEAD * 2**20)
    with pytest.raises(UserError, match="and 6 processes that read data need"):
        space.require_shared(READ, [replace(two[0], global_batch=2 * 1024)], 1024 * 3 * space.AHEAD * 2**20 - 1)


def test_a_gpu_holds_the_arms_of_its_rank() -> None:
    space.require_device_memory(SIZES, [arm(1), arm(2)], 3 * GIB)
    with pytest.raises(UserError, match=r"2 workers in 2 arms take at least 3\.0 GiB of memory"):
        space.require_device_memory(SIZES, [arm(1), arm(2)], 3 * GIB - 1)


def test_processes_that_read_hand_batches_over_in_shared_memory() -> None:
    # Two ranks of two threads with three processes each: twelve, and two batches of 512 MiB of each.
    arms = [arm(2, threads=2), arm(2, threads=2, replayed=True)]
    space.require_shared(READ, arms, 12 * GIB)
    space.require_shared(READ, arms, None)
    space.require_shared(SIZES, arms, 0)
    with pytest.raises(UserError) as refused:
        space.require_shared(READ, arms, 12 * GIB - GIB // 2)

    assert str(refused.value) == (
        "/dev/shm has 11.5 GiB free, and 12 processes that read data need 12.0 GiB: make it larger, as docker does "
        "by --shm-size, or give --readers 0"
    )


V2 = {"memory.max": "5000", "memory.current": "1500", "memory.stat": "inactive_file 200\nactive_file 100\nanon 7"}
V1 = {
    "memory/job/memory.limit_in_bytes": "4000",
    "memory/job/memory.usage_in_bytes": "1000",
    "memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 20",
}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        (V2, 3_800),
        ({**V2, "memory.max": "max"}, None),
        ({**V2, "memory.current": "6000"}, 0),
        ({f"job/{name}": text for name, text in V2.items()}, 3_800),
        ({**V2, **{f"job/step/{name}": text for name, text in V2.items()}, "memory.max": "4000"}, 2_800),
        (V1, 3_050),
        ({}, None),
        ({"memory.max": "5000"}, None),
    ],
)
def test_free_memory_is_what_the_machine_and_its_cgroups_leave(
    files: dict[str, str], free: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10_000}))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(content)
    membership = tmp_path / "membership"
    membership.write_text("4:memory:/job\n1:name=systemd:/x\n0::/job/step\n")

    assert environment.free_memory_bytes(tmp_path, membership) == (10_000 if free is None else free)


def test_a_network_larger_than_memory_is_refused_where_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "free_memory_bytes", lambda: 2**28)
    path = tmp_path / "my_task.py"
    path.write_text(
        "from torch import nn\n"
        "def model(layers=100): return nn.Sequential(*(nn.Linear(2_000, 2_000) for _ in range(layers)))\n"
        "def data(): ...\ndef loss(net, batch): ...\n"
    )
    cfg = TrainConfig(task=str(path))
    with pytest.raises(UserError) as refused, environment.within_free_memory():
        task.of(cfg).network(cfg)

    assert str(refused.value).startswith("model() of the task my_task.py failed: line 2: RuntimeError: ")
    assert "can't allocate memory" in str(refused.value)
    few = replace(cfg, set=("layers=1",))
    with environment.within_free_memory():
        assert task.of(few).network(few)


def test_a_launch_whose_arms_do_not_fit_is_refused_before_they_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = TrainConfig(dataset="synthetic", model="mlp", device="cpu", threads=1)
    found, here = task.of(cfg), world.solo(cfg)
    data = found.data(cfg)
    assert examine(found, data, cfg, here, [arm(1)] * 3).equal_gradient == "exact"

    monkeypatch.setattr(environment, "free_memory_bytes", lambda: 2**22)  # three times 1.6 MB are more
    with pytest.raises(
        UserError, match=r"1 worker in 3 arms takes at least [\d.]+ MiB of memory .* and 4\.0 MiB is free"
    ):
        examine(found, data, cfg, here, [arm(1)] * 3)


VAST = """
import torch
from torch import nn
def model(): return nn.Linear(8, 3)
def data(): return ((torch.zeros(1, 8).expand(10**11, 8),) * 2)
def loss(net, batch): return net(batch).square().sum(), len(batch)
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (VAST, "launch.sh: 2 workers take at least"),
        (
            VAST.replace("nn.Linear(8, 3)", "nn.Linear(10**6, 10**6)"),
            "launch.sh: model() of the task my_task.py failed: line 4: RuntimeError: ",
        ),
    ],
    ids=["data", "network"],
)
def test_a_study_that_does_not_fit_is_refused_before_it_begins(
    text: str, said: str, tmp_path: Path, run_script: Callable[..., CompletedProcess[str]]
) -> None:
    (tmp_path / "my_task.py").write_text(text)
    done = run_script(
        *("bash", "launch.sh", "--task", tmp_path / "my_task.py", "--world-sizes", "2", "--device", "cpu", "--plan")
    )

    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
