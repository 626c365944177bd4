"""A network and its loss as one module: an error of the user's loss is one line with its place, others pass."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._utils import ExceptionWrapper

from ddpbench.config import TrainConfig
from ddpbench.errors import TrainingError, UserError
from ddpbench.tasks import task
from ddpbench.tasks.step import Loss, OverGpus, Step

TASK = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Linear):
    def forward(self, x):
        return super().forward(x.double())

def model(): return Net(8, 3)
def data(): return (torch.zeros(9, 8),) * 2

def loss(net, batch, scale=1.0):
    return scale * net(batch).sum(), len(batch)
"""
PLAIN = TASK.replace(", scale=1.0", "").replace("scale * ", "")


@pytest.mark.parametrize("text", [TASK, PLAIN], ids=["with arguments", "without"])
def test_an_error_of_a_loss_names_the_last_line_of_its_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "my_task.py"
    path.write_text(text)
    cfg = TrainConfig(task=str(path), set=("scale=2.0",) if text == TASK else ())
    with pytest.raises(UserError) as caught:
        task.of(cfg).step(cfg)(torch.zeros(5, 8))

    assert str(caught.value).startswith(
        "loss() of the task my_task.py failed in a batch of 5 samples, line 8: RuntimeError: mat1 and mat2 must have"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    "problem",
    [TrainingError("of ours"), RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer")],
)
def test_an_error_of_an_exchange_between_ranks_is_no_error_of_a_loss(problem: Exception) -> None:
    def loss(net: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        raise problem

    with pytest.raises(type(problem)) as caught:
        Step(nn.Linear(1, 1), loss)(torch.zeros(1))
    assert caught.value is problem


def test_a_batch_without_a_size_is_no_second_error() -> None:
    def loss(net: nn.Module, batch: object) -> torch.Tensor:
        raise ValueError("no size")

    with pytest.raises(
        UserError, match=r"loss\(\) of the task test_step.py failed in a batch, line \d+: ValueError: no size"
    ):
        Step(nn.Linear(1, 1), loss)(["a", torch.zeros(())])


def test_an_error_of_the_call_names_the_line_of_the_loss() -> None:
    def loss(net: nn.Module) -> torch.Tensor:
        raise NotImplementedError

    line = loss.__code__.co_firstlineno
    with pytest.raises(
        UserError, match=rf"of the task test_step.py failed in a batch of 3 samples, line {line}: TypeErr"
    ):
        Step(nn.Linear(1, 1), loss)(torch.zeros(3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((torch.zeros(()), 1, 2), "must return a sum and its number"),
        (0.5, "returned a float as its sum"),
        ((torch.zeros(3, requires_grad=True), 3), r"returned a tensor of shape \[3\] as its sum"),
        (torch.zeros(()), "returned a sum without a gradient"),
        ((torch.zeros((), requires_grad=True), "many"), "must return how many losses it summed"),
        ((torch.zeros((), requires_grad=True), torch.ones(1)), "must return how many losses it summed"),
    ],
)
def test_what_is_no_loss_is_refused_in_the_first_step(found: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Step(nn.Linear(1, 1), lambda *_: found)(torch.zeros(3))  # type: ignore[arg-type, return-value]


def test_what_a_loss_returns_is_looked_at_once() -> None:
    returned = iter([torch.zeros((), requires_grad=True), torch.ones(3)])
    step = Step(nn.Linear(1, 1), lambda *_: next(returned))
    step(torch.zeros(3))

    assert step(torch.zeros(3))[0].shape == (3,), "a step lasts 200 us"


def over_two(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> OverGpus:
    """Return a step that shares each batch among two replicas as nn.DataParallel does, here on the CPU."""

    def forward(self: OverGpus, batch: Tensor) -> Sequence[Tensor]:
        try:
            pairs = zip(self.replicate(self.module, self.device_ids), batch.chunk(2), strict=True)
            found = [replica(part) for replica, part in pairs]
        except UserError:
            ExceptionWrapper(where="in replica 0 on device 0").reraise()
        return [torch.cat(column) for column in zip(*found, strict=True)]

    monkeypatch.setattr(nn.DataParallel, "replicate", lambda _, module, ids: [copy(module) for _ in ids])
    monkeypatch.setattr(nn.DataParallel, "forward", forward)
    torch.manual_seed(0)
    step = OverGpus(Step(nn.Linear(3, 1), loss))
    step.device_ids = [0, 1]
    return step


LOSSES: dict[str, Loss] = {
    "a mean": lambda net, batch: net(batch).square().mean(),
    "a sum and its number": lambda net, batch: (net(batch).square().sum(), len(batch)),
    "a sum and a tensor": lambda net, batch: (net(batch).square().sum(), torch.tensor(len(batch))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gpus_together_follow_the_gradient_of_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, batch = over_two(LOSSES[name], monkeypatch), torch.arange(12.0).reshape(4, 3)
    gradients = []
    for each in (step, step.module):
        step.zero_grad()
        total, count = each(batch)
        (total / count).backward()
        gradients.append([value.grad.clone() for value in step.parameters() if value.grad is not None])

    assert len(gradients[0]) == 2
    torch.testing.assert_close(*gradients)


def test_an_error_of_a_loss_on_a_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(net: nn.Module, batch: Tensor) -> Tensor:
        raise ValueError("no size")

    with pytest.raises(UserError) as caught:
        over_two(loss, monkeypatch)(torch.ones(4, 3))
    assert str(caught.value).startswith("loss() of the task test_step.py failed in a batch of 2 samples, line ")
    assert "\n" not in str(caught.value)
