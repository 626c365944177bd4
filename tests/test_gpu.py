"""The same proofs where there is a GPU: nccl, nn.DataParallel, CUDA timing."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.record import Record, read_record
from ddpbench.train import clock, world

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
Run = Callable[..., subprocess.CompletedProcess[str]]


def train(run_script: Run, folder: Path, *command: str) -> tuple[Record, dict[str, torch.Tensor]]:
    flags = ("--dataset", "synthetic", "--device", "cuda", "--precision", "fp64", "--epochs", "1")
    done = run_script(*command, *flags, "--results", folder)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.json")
    record = read_record(path)
    assert record.weights is not None
    return record, load_file(folder / record.weights)


@pytest.mark.parametrize(
    "command",
    [
        ("torchrun", "--nproc_per_node=gpu", "ddp_train.py"),
        ("python", "baseline_train.py", "--data-parallel"),
    ],
    ids=["nccl", "data parallel"],
)
def test_parallel_on_gpus_learns_what_one_gpu_learns(command: tuple[str, ...], tmp_path: Path, run_script: Run) -> None:
    _, alone = train(run_script, tmp_path / "alone", "python", "baseline_train.py")
    record, together = train(run_script, tmp_path / "together", *command)

    assert record.settings.device == "cuda"
    assert record.comm == ("nccl" if record.kind == "ddp" else None)
    assert record.ranks[0].peak_device_bytes
    for name, weights in alone.items():
        torch.testing.assert_close(together[name], weights, atol=1e-9, rtol=0)


def test_a_lap_holds_the_work_of_the_gpu_and_not_just_its_launch() -> None:
    device = torch.device("cuda", 0)
    matrix = torch.randn(4096, 4096, device=device)
    matrix @ matrix
    watch = clock.Stopwatch(lambda: clock.synchronize(device))
    with watch:
        begin = time.perf_counter()
        for _ in range(50):
            matrix @ matrix
        launched_s = time.perf_counter() - begin

    assert watch.last_s > 2 * launched_s


def test_more_ranks_than_gpus_are_refused() -> None:
    gpus = torch.cuda.device_count()

    with pytest.raises(UserError, match=f"{gpus + 1} ranks need {gpus + 1} GPUs and this machine has {gpus}"):
        world.check(TrainConfig(global_batch=gpus + 1), gpus + 1, gpus + 1)


def test_one_gpu_runs_baseline_data_parallel_and_ddp(tmp_path: Path, run_script: Run) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "0", "SEEDS": "0"}
    done = run_script("bash", "launch.sh", "--dataset", "synthetic", "--minutes", "0.1", "--results", tmp_path, env=env)

    assert done.returncode == 0, done.stderr
    kinds = sorted(read_record(path).kind for path in tmp_path.glob("*/2*.json"))
    assert kinds == ["baseline", "data_parallel", "ddp"]
