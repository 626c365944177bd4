"""A network and its loss as one module: an error of the user's loss is one line with its place, others pass."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ddpbench.config import TrainConfig
from ddpbench.errors import TrainingError, UserError
from ddpbench.tasks import task
from ddpbench.tasks.step import Step

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
