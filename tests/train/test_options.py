"""What users expect of training: a batch in parts, clipped gradients, fp16, and a restart in the middle of it all."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from ddpbench import config
from ddpbench.config import TrainConfig
from ddpbench.errors import DataError, NumericalError, TrainingError, UserError
from ddpbench.record import read_record
from ddpbench.tasks import task
from ddpbench.train import checkpoint, engine, gradients, optim, world
from ddpbench.train.batches import Batches
from ddpbench.train.gradients import LossScale
from ddpbench.train.onlookers import Onlooker
from ddpbench.train.reductions import ReductionTimer
from ddpbench.train.state import TrainState
from tests import warm
from tests.faults import test_checkpoints as interrupted

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
STEPS = 4  # of an epoch
TASK = """
import torch
from torch import nn
from torch.nn import functional as F

batch, epochs = 32, 2

def model(): return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))

def data():
    draw = torch.Generator().manual_seed(1)
    train = torch.randn(128, 8, generator=draw), torch.randint(3, (128,), generator=draw)
    return train, train
"""
LOSSES = {
    "a number": """
def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1], reduction="sum"), len(batch[1])
""",
    "a tensor": """
def loss(net, batch):
    inputs, labels = batch
    kept = inputs[:, 0] > 0.8
    return F.cross_entropy(net(inputs)[kept], labels[kept], reduction="sum"), kept.sum()
""",
    "a mean": """
def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1])
""",
}
STEEP = """
def loss(net, batch): return 100 * F.cross_entropy(net(batch[0]), batch[1], reduction="sum"), len(batch[1])
"""


@dataclass
class Learnt:
    """What a run has come to."""

    weights: list[Tensor]
    losses: list[float]
    state: TrainState


def configured(folder: Path, loss: str, **settings: Any) -> TrainConfig:
    """Return the configuration of a small task with a loss."""
    path = folder / "my_task.py"
    path.write_text(TASK + loss)
    return replace(config.parse(["--task", str(path), "--device", "cpu", "--threads", "1"]), **settings)


def train(cfg: TrainConfig, onlooker: Onlooker | None = None) -> Learnt:
    """Train in this process, without a record."""
    here = world.solo(cfg)
    batches = Batches.load(cfg, here)
    state = TrainState.of(task.of(cfg).step(cfg), cfg, batches.steps, here)
    losses = []
    for _ in range(cfg.epochs):
        engine.train_epoch(state, batches, cfg, onlooker or Onlooker())
        losses += state.mean_losses().tolist()
        state.begin_next_epoch()
    return Learnt([each.detach().clone() for each in state.net.parameters()], losses, state)


def require_close(ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float = 1e-10) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


# A batch in parts.


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_learnt_as_in_one_to_1e10_in_float64(loss: str, parts: int, tmp_path: Path) -> None:
    cfg = configured(tmp_path, LOSSES[loss], precision="fp64")
    whole, divided = train(cfg), train(replace(cfg, accumulate=parts))

    require_close(divided.weights, whole.weights)
    assert len(whole.losses) == 2 * STEPS
    assert divided.losses == pytest.approx(whole.losses, abs=1e-10)


def test_parts_of_unlike_numbers_that_are_ints_are_refused(tmp_path: Path) -> None:
    cfg = configured(tmp_path, LOSSES["a tensor"].replace("kept.sum()", "int(kept.sum())"), accumulate=4)
    with pytest.raises(TrainingError, match=r"returned the number \d+ after \d+; a number that differs from batch to"):
        train(cfg)


class Replica(DistributedDataParallel):
    """In place of DistributedDataParallel, without other ranks: it notes in which passes it would combine gradients."""

    def __init__(self, net: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module, self.combines, self.passes = net, True, list[str]()
        last = next(net.parameters())
        last.register_post_accumulate_grad_hook(lambda _: self.note("backward"))

    def note(self, name: str) -> None:
        self.passes.append(name + (", combined" if self.combines else ""))

    def forward(self, batch: Any) -> Any:
        self.note("forward")
        return self.module(batch)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.combines = False
        yield
        self.combines = True

    def _set_ddp_runtime_logging_sample_rate(self, _: int) -> None:
        """Log nothing."""


class Diary(Onlooker):
    """Writes moments of a step into the list of passes."""

    def __init__(self, net: Replica) -> None:
        self._net = net

    def loss_computed(self, state: TrainState) -> None:
        self._net.passes.append(f"loss {len(state.losses)}")

    def step_taken(self, state: TrainState) -> None:
        self._net.passes.append(f"step {state.step}")


def replicated(cfg: TrainConfig) -> tuple[TrainState, Batches, Replica]:
    here = world.solo(cfg)
    batches = Batches.load(cfg, here)
    net = Replica(task.of(cfg).step(cfg))
    return TrainState.of(net, cfg, batches.steps, here), batches, net


@pytest.mark.parametrize("loss", ["a number", "a tensor"])
def test_gradients_are_combined_once_a_step_and_onlookers_are_called_once(loss: str, tmp_path: Path) -> None:
    cfg = configured(tmp_path, LOSSES[loss], accumulate=3, global_batch=30)
    state, batches, net = replicated(cfg)
    engine.train_epoch(state, batches, cfg, Diary(net))
    silent, last = ["forward", "backward"], ["forward, combined"]

    assert net.passes == [
        each
        for step in range(1, STEPS + 1)
        for each in [*silent, *silent, *last, f"loss {step}", "backward, combined", f"step {step}"]
    ]


def test_one_reduction_a_step_is_timed_and_clipping_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = configured(tmp_path, LOSSES["a number"], accumulate=2, clip=0.1)
    state, batches, net = replicated(cfg)
    timer, noted = ReductionTimer(net, state.optimizer, CPU), list[int]()
    monkeypatch.setattr(gradients, "clip_grad_norm_", lambda *_, **__: noted.append(len(timer._steps)))
    engine.train_epoch(state, batches, cfg, Onlooker())

    assert noted == [1, 2, 3, 4], "a reduction has ended when gradients are clipped"
    assert len(timer.take()) == STEPS


@pytest.mark.slow
def test_two_ranks_learn_in_parts_what_one_process_learns_in_one_to_1e10_in_float64(tmp_path: Path) -> None:
    """With unlike numbers of losses in parts and on ranks, and gradients that are clipped once they are combined."""
    settings = {"precision": "fp64", "clip": 0.2, "schedule": "cosine", "warmup": 0.25}
    alone = train(configured(tmp_path, LOSSES["a tensor"], **settings))  # type: ignore[arg-type]
    flags = ("--precision", "fp64", "--clip", "0.2", "--schedule", "cosine", "--warmup", "0.25", "--accumulate", "4")
    (path,), _ = run_ranks(tmp_path, *flags)
    record = read_record(path)

    assert record.weights is not None
    weights = load_file(path.parent / record.weights)
    require_close([weights[name] for name, _ in alone.state.bare_net.named_parameters()], alone.weights)
    assert (record.settings.accumulate, record.settings.clip, record.settings.warmup) == (4, 0.2, 0.25)
    assert record.epochs[-1].train_loss == pytest.approx(sum(alone.losses[STEPS:]) / STEPS)


def run_ranks(folder: Path, *flags: str) -> tuple[list[Path], list["subprocess.CompletedProcess[str]"]]:
    """Train the task in the folder with two ranks. Returns the record, and what the ranks printed."""
    results = folder / "results"
    results.mkdir()
    words = ("--task", folder / "my_task.py", "--device", "cpu", "--threads", "1", "--results", results, *flags)
    ended = [rank.wait() for rank in warm.start_ranks(2, "ddp_train.py", *words, folder=results)]
    assert [process.returncode for process in ended] == [0, 0], [process.stderr for process in ended]
    return [*results.glob("*.json")], ended


# Losses, which are sums until they are read.


def test_losses_are_means_when_they_are_read_and_those_of_an_earlier_attempt_stay(tmp_path: Path) -> None:
    cfg = configured(tmp_path, LOSSES["a number"])
    state = TrainState.of(task.of(cfg).step(cfg), cfg, STEPS)
    state.losses = [torch.tensor(0.5), torch.tensor(6.0), torch.tensor(8.0)]
    state.shares = [torch.tensor(0.25), torch.tensor(0.125)]

    assert state.mean_losses().tolist() == [0.5, 1.5, 1.0]
    assert state.mean_losses(2).tolist() == [1.0]
    assert state.mean_losses().dtype == torch.float64


# Clipped gradients.


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_clipping_is_torchs_own_to_the_bit(optimizer: str, tmp_path: Path) -> None:
    cfg = configured(tmp_path, LOSSES["a number"], clip=0.1, optimizer=optimizer, schedule="constant", epochs=1)
    net = task.of(cfg).step(cfg)
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    theirs = kind(net.parameters(), lr=task.of(cfg).lr(cfg, net), fused=True)
    norms = []
    for batch in Batches.load(cfg, world.solo(cfg)).epoch(1):
        theirs.zero_grad()
        total, count = net(batch)
        total.backward(torch.tensor(1 / count))
        norms.append(clip_grad_norm_(net.parameters(), 0.1).item())
        theirs.step()

    assert min(norms) > 0.1, "every step is clipped"
    assert all(map(torch.equal, train(cfg).weights, net.parameters()))


def test_a_gradient_that_is_not_finite_is_an_error_where_gradients_are_clipped_too(tmp_path: Path) -> None:
    cfg = configured(tmp_path, LOSSES["a number"].replace("F.cross", "torch.inf * F.cross"), clip=0.1)
    batches = Batches.load(cfg, world.solo(cfg))
    state = TrainState.of(task.of(cfg).step(cfg), cfg, STEPS)
    before = state.weights_sha256()
    with pytest.raises(NumericalError, match="a gradient is not a finite number; use a lower --lr"):
        engine.train_epoch(state, batches, cfg, Onlooker())
    assert state.weights_sha256() == before


# fp16.


def test_the_loss_is_scaled_as_torch_scales_it_to_the_bit(tmp_path: Path) -> None:
    """The loss is steep, so the first steps overflow and are left out."""
    cfg = configured(tmp_path, STEEP, precision="fp16", schedule="constant", clip=50.0)
    net = task.of(cfg).step(cfg)
    theirs = torch.optim.AdamW(net.parameters(), lr=task.of(cfg).lr(cfg, net), fused=True)
    scaler = torch.amp.GradScaler("cpu")
    batches, scales = Batches.load(cfg, world.solo(cfg)), []
    for batch in (batch for epoch in (1, 2) for batch in batches.epoch(epoch)):
        with torch.autocast("cpu", dtype=torch.float16):
            total, count = net(batch)
        theirs.zero_grad()
        scaler.scale(total * torch.tensor(1 / count)).backward()
        scaler.unscale_(theirs)
        clip_grad_norm_(net.parameters(), 50.0)
        scaler.step(theirs)
        scaler.update()
        scales.append(scaler.get_scale())
    ours = train(cfg)

    assert ours.state.scale is not None
    assert 2.0**10 < scales[-1] < 2.0**16, "some steps overflow, and not all"
    assert ours.state.scale.factor.item() == scales[-1]
    assert ours.state.scale.streak.item() == scaler._get_growth_tracker()
    assert all(map(torch.equal, ours.weights, net.parameters()))


@pytest.mark.parametrize("optimizer", [optim.SGD, torch.optim.SGD, torch.optim.RMSprop])
def test_a_step_that_overflows_leaves_weights_and_momentum_as_they_are(optimizer: Any, tmp_path: Path) -> None:
    cfg = configured(tmp_path, LOSSES["a number"], precision="fp16")
    net = nn.Linear(2, 1)
    before = net.weight.detach().clone()
    made = optimizer(net.parameters(), lr=0.1, momentum=0.9)
    gradients.prepare(made, cfg)
    scale = gradients.scale_of(made)
    assert scale is not None
    net.weight.grad, net.bias.grad = torch.tensor([[1.0, torch.inf]]), torch.ones(1)
    made.step()

    assert torch.equal(net.weight, before)
    assert not any(made.state.values())
    assert (scale.factor.item(), scale.streak.item()) == (2.0**15, 0)
    net.weight.grad, net.bias.grad = torch.ones(1, 2), torch.ones(1)
    made.step()
    assert not torch.equal(net.weight, before)
    assert (scale.factor.item(), scale.streak.item()) == (2.0**15, 1)


def test_gradients_that_no_scale_makes_finite_are_an_error(tmp_path: Path) -> None:
    endless = LOSSES["a number"].replace("F.cross", "torch.inf * F.cross")
    cfg = configured(tmp_path, endless, precision="fp16", epochs=20)
    with pytest.raises(NumericalError, match="a gradient is not a finite number, however the loss is scaled"):
        train(cfg)


def test_what_torch_cannot_compute_in_fp16_is_one_line() -> None:
    with pytest.raises(UserError) as refused, engine.halves_explained():
        raise RuntimeError("\"cdist\" not implemented for 'Half'\nsee above")
    assert 'torch cannot compute this network in fp16 on this device ("cdist" not implemented' in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(RuntimeError, match="another"), engine.halves_explained():
        raise RuntimeError("another")


@pytest.mark.slow
def test_two_ranks_leave_out_the_same_steps_though_one_of_them_overflows(tmp_path: Path) -> None:
    """Gradients overflow on the second rank alone, in the first part: else the weights of ranks would differ."""
    loss = STEEP.replace("100 *", "(1 + 10**3 * (torch.distributed.get_rank() == 1) * net.training) *")
    configured(tmp_path, loss)
    (tmp_path / "watch.py").write_text(
        "from ddpbench.train.onlookers import Onlooker\n"
        "class Watch(Onlooker):\n"
        "    def epoch_recorded(self, state): print('scale', state.scale.factor.item(), flush=True)\n"
        "def onlookers(words, state, batches, cfg, here): return [Watch()]\n"
    )
    flags = ("--precision", "fp16", "--accumulate", "2", "--hook", f"{tmp_path}/watch.py")
    _, ended = run_ranks(tmp_path, *flags)
    first, second = ([line for line in process.stdout.splitlines() if line.startswith("scale")] for process in ended)

    assert first == second
    assert len(first) == 2
    assert float(first[-1].split()[1]) < 2.0**15


# A restart.


RECIPES: dict[str, dict[str, Any]] = {
    "all of it": {"precision": "fp16", "accumulate": 2, "clip": 0.5, "schedule": "cosine", "warmup": 0.3},
    "in parts, one-cycle": {"accumulate": 4, "warmup": 0.5, "optimizer": "sgd"},
    "constant after a warmup": {"clip": 0.5, "schedule": "constant", "warmup": 0.9, "model": "cnn-small"},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_is_killed_in_the_middle_of_an_epoch_and_resumed_learns_the_same_bits(
    recipe: str, tmp_path: Path
) -> None:
    cfg = replace(interrupted.SHORT, **RECIPES[recipe], results=tmp_path / "killed")
    cfg.results.mkdir()
    path = interrupted.killed(cfg, interrupted.STEPS + 3)
    newest, _ = checkpoint.newest(path.with_suffix(checkpoint.SUFFIX))
    resumed = interrupted.resumed(cfg)
    (tmp_path / "clean").mkdir()

    assert newest is not None
    assert newest.where == "epoch 2, step 3"
    assert ("scale.streak" in newest.tensors) == (cfg.precision == "fp16")
    assert resumed == interrupted.fit(replace(cfg, results=tmp_path / "clean"))


def test_a_checkpoint_without_the_scale_of_the_loss_is_refused(tmp_path: Path) -> None:
    scale = LossScale(CPU)
    scale.factor.fill_(8.0)
    kept = {name: value.clone() for name, value in scale.tensors().items()}
    restored = LossScale(CPU)
    restored.restore(kept)

    assert restored.factor.item() == 8.0
    for broken in ({}, kept | {"scale.streak": torch.zeros(())}, kept | {"scale.factor": torch.zeros(1)}):
        with pytest.raises(DataError, match="the checkpoint lacks the scale of the loss in fp16"):
            restored.restore(broken)
