"""The wrapper of networks: torch's own, without torch's compiler."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

CODE = """
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ddpbench.comm import ddp
{before}
dist.init_process_group("gloo", store=dist.FileStore({store!r}, 1), rank=0, world_size=1)
torch.manual_seed(0)
net, images = torch.nn.Linear(4, 2), torch.ones(3, 4)
ours, theirs = ddp.Ddp(net), DistributedDataParallel(net, gradient_as_bucket_view=True) if {compare} else None
for each in filter(None, (ours, theirs)):
    net.zero_grad()
    each(images).sum().backward()
    print([parameter.grad.tolist() for parameter in net.parameters()])
print("torch._dynamo" in sys.modules, isinstance(ours, DistributedDataParallel), ours._use_python_reducer)
dist.destroy_process_group()
"""


def run(tmp_path: Path, before: str, *, compare: bool) -> list[str]:
    code = CODE.format(before=before, store=str(tmp_path / "store"), compare=compare)
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_rank_does_not_wait_for_the_import_of_a_compiler(tmp_path: Path) -> None:
    _, said = run(tmp_path, "", compare=False)

    assert said == "False True False"


@pytest.mark.slow
def test_the_wrapper_is_torchs_own_to_the_bit_and_leaves_an_imported_compiler_alone(tmp_path: Path) -> None:
    ours, theirs, said = run(tmp_path, "import torch._dynamo", compare=True)

    assert ours == theirs
    assert said == "True True False"
