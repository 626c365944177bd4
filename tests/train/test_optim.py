"""Schedules: the rate of every step by its formula, after a restart too, and a task's own."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR

from ddpbench.config import TrainConfig, parse
from ddpbench.errors import UserError
from ddpbench.train import optim

STEPS, PEAK = 8, 0.4
TASK = """
import torch
from torch.optim import lr_scheduler as schedules

def model(): ...
def data(): ...
def loss(net, batch): ...
"""
OWN = "def schedule(optimizer, steps): return "


def built(cfg: TrainConfig) -> tuple[torch.optim.Optimizer, Any]:
    """Return an optimizer and its schedule."""
    optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=PEAK, fused=True)
    return optimizer, optim.build_schedule(optimizer, cfg, STEPS)


def rates(cfg: TrainConfig, done: int = 0) -> list[tuple[float, float]]:
    """Return rate and momentum of every step that is left after so many steps of an earlier attempt."""
    optimizer, schedule = built(cfg)
    found = []
    if schedule is not None and done:
        optim.advance(schedule, done)
    for _ in range(done, STEPS):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.param_groups[0]["params"][0].grad = torch.ones(1, 2)
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return found


def own(folder: Path, made: str) -> TrainConfig:
    """Return the configuration of a task with its own schedule."""
    path = folder / "my_task.py"
    path.write_text(TASK + OWN + made + "\n")
    return parse(["--task", str(path)])


def test_cosine_rises_for_a_share_of_the_steps_and_then_falls_to_zero() -> None:
    cfg = TrainConfig(schedule="cosine", warmup=0.25)
    falling = [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]

    assert [rate / PEAK for rate, _ in rates(cfg)] == pytest.approx([1 / 3, 2 / 3, *falling])
    optimizer, schedule = built(cfg)
    optim.advance(schedule, STEPS)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


def test_cosine_begins_at_its_peak_without_a_warmup() -> None:
    falling = [(1 + math.cos(math.pi * step / STEPS)) / 2 for step in range(STEPS)]

    assert [rate / PEAK for rate, _ in rates(TrainConfig(schedule="cosine"))] == pytest.approx(falling)


def test_constant_may_rise_first() -> None:
    assert [rate / PEAK for rate, _ in rates(TrainConfig(schedule="constant", warmup=0.5))] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]
    )
    assert built(TrainConfig(schedule="constant"))[1] is None


@pytest.mark.parametrize("warmup", [None, 0.0, 0.5, 0.9])
def test_one_cycle_is_torchs_and_the_warmup_is_its_first_part(warmup: float | None) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=PEAK)
    theirs = OneCycleLR(optimizer, max_lr=PEAK, total_steps=STEPS, pct_start=0.3 if warmup is None else warmup)
    expected = []
    for _ in range(STEPS):
        expected.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        theirs.step()

    assert rates(TrainConfig(warmup=warmup)) == expected


def test_one_cycle_may_rise_for_a_single_step() -> None:
    """torch's own divides by zero then: its rise would end in the step in which it begins."""
    first, second, *_ = (rate for rate, _ in rates(TrainConfig(warmup=1 / STEPS)))

    assert first == pytest.approx(PEAK)
    assert second < PEAK


def test_one_cycle_leaves_an_optimizer_without_momentum_its_own_settings() -> None:
    optimizer = torch.optim.Adagrad(nn.Linear(2, 1).parameters(), lr=PEAK)
    assert optim.build_schedule(optimizer, TrainConfig(), STEPS) is not None
    assert optimizer.param_groups[0]["lr"] == pytest.approx(PEAK / 25)


@pytest.mark.parametrize(
    "settings",
    [{}, {"warmup": 0.6}, {"schedule": "cosine", "warmup": 0.3}, {"schedule": "constant", "warmup": 0.9}],
    ids=str,
)
@pytest.mark.parametrize("done", [1, 5, STEPS - 1])
def test_a_restart_finds_the_rate_to_the_bit(settings: dict[str, Any], done: int) -> None:
    cfg = TrainConfig(**settings)

    assert rates(cfg, done) == rates(cfg)[done:]


@pytest.mark.parametrize(
    "made",
    [
        "schedules.ExponentialLR(optimizer, 0.9)",
        "schedules.CosineAnnealingLR(optimizer, steps)",
        "schedules.SequentialLR(optimizer, [schedules.LinearLR(optimizer), schedules.StepLR(optimizer, 2)], [3])",
        "schedules.ChainedScheduler([schedules.LinearLR(optimizer), schedules.ExponentialLR(optimizer, 0.8)])",
        "schedules.LambdaLR(optimizer, lambda step, seen=[]: seen.append(step) or 1 / len(seen))",
    ],
)
def test_a_restart_finds_the_rate_of_a_tasks_own_schedule_though_it_may_keep_a_state(made: str, tmp_path: Path) -> None:
    cfg = own(tmp_path, made)
    whole = rates(cfg)
    (tmp_path / "again").mkdir()

    assert len({rate for rate, _ in whole}) > 2
    assert rates(own(tmp_path / "again", made), 5) == whole[5:]


def test_a_tasks_own_schedule_is_the_default_and_gets_the_optimizer_and_the_number_of_steps(tmp_path: Path) -> None:
    cfg = own(tmp_path, "schedules.ExponentialLR(optimizer, 1 / steps)")
    _, schedule = built(cfg)

    assert cfg.schedule == "task"
    assert isinstance(schedule, ExponentialLR)
    assert [rate for rate, _ in rates(cfg)] == pytest.approx([PEAK / STEPS**step for step in range(STEPS)])


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("None", "returned a NoneType; return a torch LRScheduler"),
        ("schedules.ReduceLROnPlateau(optimizer)", "returned a ReduceLROnPlateau, which waits for a figure"),
        ("1 / (steps - 8)", "failed: line 8: ZeroDivisionError: division by zero"),
        (
            "schedules.StepLR(torch.optim.SGD([torch.ones(1)], lr=1), 2)",
            "returned the schedule of another optimizer; make it for the one that it is given",
        ),
    ],
)
def test_what_is_no_schedule_of_steps_is_refused_in_one_line(made: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        built(own(tmp_path, made))

    assert f"schedule() of the task my_task.py {why}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_optimizer_that_computes_the_loss_again_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "quasi_newton.py"
    path.write_text(TASK + "def optimizer(net): return torch.optim.LBFGS(net.parameters())\n")
    cfg = parse(["--task", str(path), "--optimizer", "task"])
    with pytest.raises(UserError, match=r"^optimizer\(\) returned LBFGS, which computes a step's loss several times"):
        optim.build_optimizer(nn.Linear(2, 1), cfg)
