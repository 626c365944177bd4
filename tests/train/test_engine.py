"""One loop, in this process: it learns, counts each test sample once, and leaves a whole record."""

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from ddpbench.config import TrainConfig
from ddpbench.errors import DiskError, NumericalError, Preempted
from ddpbench.record import Record, read_record, write_record
from ddpbench.tasks import task
from ddpbench.tasks.samples import Samples
from ddpbench.tasks.task import Data
from ddpbench.tasks.tested import add_up
from ddpbench.train import checkpoint, engine, optim, recorder, world
from ddpbench.train.batches import Batches
from ddpbench.train.recorder import Recorder
from ddpbench.train.state import num_parameters
from ddpbench.train.world import World
from tests.conftest import PROJECT

CPU = torch.device("cpu")
SMALL = TrainConfig(dataset="synthetic", model="mlp", epochs=2, global_batch=64, device="cpu", threads=1)


def train(cfg: TrainConfig) -> tuple[Record, nn.Module]:
    here = world.solo(cfg)
    net = task.of(cfg).step(cfg)
    with here:
        engine.fit(net, Batches.load(cfg, here), cfg, here, kind="baseline")
    (path,) = cfg.results.glob("*.json")
    return read_record(path), net.net


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "fp64"])
def test_every_recipe_learns(optimizer: str, precision: str, tmp_path: Path) -> None:
    cfg = replace(SMALL, optimizer=optimizer, precision=precision, results=tmp_path)  # type: ignore[arg-type]
    record, _ = train(cfg)

    assert record.epochs[-1].metric > 0.6
    assert record.epochs[-1].train_loss < record.epochs[0].train_loss


@pytest.mark.usefixtures("one_thread")
def test_a_target_ends_training_after_the_epoch_that_reaches_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, _ = train(replace(SMALL, results=tmp_path / "known"))
    first, second = (epoch.metric for epoch in known.epochs)
    assert first < second
    reached, _ = train(replace(SMALL, target_accuracy=first, results=tmp_path / "reached"))
    missed, _ = train(replace(SMALL, target_accuracy=second + 0.001, results=tmp_path / "missed"))
    said = capsys.readouterr().out

    assert reached.target is not None
    assert (reached.status, len(reached.epochs), reached.target.epoch) == ("complete", 1, 1)
    assert reached.target.train_s == reached.epochs[0].train_s
    assert reached.target.train_eval_s == reached.epochs[0].train_s + reached.epochs[0].eval_s
    assert reached.target.process_s > reached.target.train_eval_s
    assert f"Target {first:.2%} reached after 1 epoch: training {reached.target.train_s:.2f} s, with eval" in said
    assert (missed.target, len(missed.epochs)) == (None, 2)
    assert f"Target {second + 0.001:.2%} not reached in 2 epochs" in said


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_died_after_it_had_reached_its_target_trains_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = replace(SMALL, target_accuracy=0.1, results=tmp_path)
    monkeypatch.setattr(Recorder, "complete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    monkeypatch.undo()
    record, _ = train(replace(cfg, resume=True))

    assert record.target is not None
    assert (record.status, len(record.epochs), record.target.epoch, record.attempts) == ("complete", 1, 1, 2)


@pytest.mark.usefixtures("one_thread")
def test_a_full_disk_stops_a_run_that_has_no_record_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The soak found it: an attempt that began while the disk was full ended the run for good."""
    cfg = replace(SMALL, results=tmp_path, resume=True)
    monkeypatch.setattr(Recorder, "complete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    monkeypatch.undo()
    refusals = iter([DiskError("cannot write it: No space left on device")])

    def write(path: Path, record: Record) -> None:
        for refusal in refusals:
            raise refusal
        write_record(path, record)

    monkeypatch.setattr(recorder, "write_record", write)
    record, _ = train(cfg)
    assert (record.status, record.attempts) == ("complete", 2)
    assert "caution: cannot write it: No space left on device; training goes on" in capsys.readouterr().err

    refusals = iter([DiskError("cannot write it: No space left on device")])
    with pytest.raises(DiskError, match="No space left on device"):
        train(replace(cfg, results=tmp_path / "new"))


@pytest.mark.usefixtures("one_thread")
def test_smoothed_labels_have_another_loss(tmp_path: Path) -> None:
    sharp, _ = train(replace(SMALL, results=tmp_path / "sharp"))
    smooth, _ = train(replace(SMALL, label_smoothing=0.1, results=tmp_path / "smooth"))

    assert smooth.epochs[0].train_loss > sharp.epochs[0].train_loss
    assert smooth.epochs[-1].metric > 0.6


@pytest.mark.usefixtures("one_thread")
def test_a_run_leaves_a_whole_record_and_its_weights(tmp_path: Path) -> None:
    record, net = train(replace(SMALL, results=tmp_path / "study"))

    assert (record.status, record.kind, record.comm, record.world_size, record.threads_per_rank) == (
        "complete",
        "baseline",
        None,
        1,
        1,
    )
    assert record.study == "study"
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]
    assert all(epoch.samples == 93 * 64 for epoch in record.epochs)
    assert all(sum(epoch.metric_sums) == round(epoch.metric * 1_000) for epoch in record.epochs)
    curve = record.epochs[0].loss_curve  # of 93 steps: thirteen parts of five, seven of four
    assert record.epochs[0].train_loss == pytest.approx((5 * sum(curve[:13]) + 4 * sum(curve[13:])) / 93)
    parts = {name: getattr(record.startup, name) for name in record.startup.__struct_fields__}
    assert 0 < parts.pop("first_step_s") < record.epochs[0].train_s
    assert sum(parts.values()) == pytest.approx(record.startup_s)
    assert (parts["launcher_s"], parts["data_s"] > 0, parts["build_s"] > 0) == (0, True, True)
    assert record.ranks[0].train_s == [epoch.train_s for epoch in record.epochs]
    assert record.ranks[0].wait_s == [0, 0]
    assert record.ranks[0].peak_rss_bytes > 10**8
    assert all(cpu_s > 0 for cpu_s in record.ranks[0].cpu_s)
    assert record.weights is not None
    saved = load_file(tmp_path / "study" / record.weights)
    assert all(torch.equal(value, saved[name]) for name, value in net.state_dict().items())
    assert {path.suffix for path in (tmp_path / "study").iterdir()} == {".json", ".safetensors"}


@pytest.mark.usefixtures("one_thread")
def test_a_run_never_writes_over_an_earlier_one(tmp_path: Path) -> None:
    cfg = replace(SMALL, epochs=1, results=tmp_path)
    for _ in range(2):
        here = world.solo(cfg)
        with here:
            engine.fit(task.of(cfg).step(cfg), Batches.load(cfg, here), cfg, here, kind="baseline")

    assert len(list(tmp_path.glob("*.json"))) == len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.usefixtures("one_thread")
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    weights = []
    for run, seed in enumerate((0, 0, 1)):
        _, net = train(replace(SMALL, epochs=1, seed=seed, results=tmp_path / str(run)))
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))

    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.usefixtures("one_thread")
def test_a_loss_that_is_no_number_fails_the_run_and_is_not_recorded(tmp_path: Path) -> None:
    cfg = replace(SMALL, optimizer="sgd", schedule="constant", lr=1e30, results=tmp_path)
    with pytest.raises(NumericalError, match="a gradient is not a finite number; use a lower --lr"):
        train(cfg)

    (path,) = tmp_path.glob("*.json")
    record = read_record(path)
    assert (record.status, record.epochs) == ("failed", [])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("num_test", [1, 2, 101])
def test_accuracy_is_the_same_count_at_every_world_size(size: int, num_test: int) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(num_test, 1, 28, 28), torch.randint(10, (num_test,))
    data = Data(Samples((torch.zeros(12, 1, 28, 28), torch.zeros(12, dtype=torch.long))), Samples((images, labels)))
    cfg = TrainConfig(global_batch=6)
    net = task.of(cfg).step(cfg).net
    expected = [int(((net(images).argmax(1) == labels) & (labels == c)).sum()) for c in range(10)]

    places = [World(rank=rank, size=size, local_size=size, device=CPU, comm="gloo") for rank in range(size)]
    beats = list[None]()
    batches = [Batches(task.of(cfg), data, cfg, here) for here in places]
    found = add_up([engine.evaluate(net, each, cfg, lambda: beats.append(None)) for each in batches])

    assert (found.name, found.sums) == ("accuracy", expected)
    assert found.counts == labels.bincount(minlength=10).tolist()
    assert len(beats) == sum(len([*each.test()]) for each in batches), "the watchdog hears of every batch"


def test_networks_have_the_sizes_they_are_known_by() -> None:
    assert num_parameters(task.of(TrainConfig(model="mlp")).step(TrainConfig(model="mlp")).net) == 101_770
    assert num_parameters(task.of(TrainConfig(model="cnn")).step(TrainConfig(model="cnn")).net) == 56_826


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_single_process_does_not_wait_for_what_only_compiling_needs(name: str) -> None:
    code = (
        "import sys; from ddpbench.tasks import task; from ddpbench.train import optim;"
        "from ddpbench.config import TrainConfig;"
        f"cfg = TrainConfig(optimizer='{name}'); net = task.of(cfg).step(cfg).net; "
        "optimizer = optim.build_optimizer(net, cfg);"
        "optim.build_schedule(optimizer, cfg, 9); net(__import__('torch').ones(1, 1, 28, 28)).sum().backward();"
        "optimizer.step(); sys.exit('torch._dynamo' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimizers_without_their_decorators_learn_the_same_to_the_bit(name: str) -> None:
    """With the one-cycle schedule, which changes rate and momentum at every step."""
    cfg = TrainConfig(optimizer=name, model="mlp")  # type: ignore[arg-type]
    ours, theirs = task.of(cfg).step(cfg).net, task.of(cfg).step(cfg).net
    torchs = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name](
        theirs.parameters(), lr=task.of(cfg).lr(cfg, theirs), fused=True
    )
    images, labels = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    for net, optimizer in ((ours, optim.build_optimizer(ours, cfg)), (theirs, torchs)):
        schedule = optim.build_schedule(optimizer, cfg, 8)
        assert schedule is not None
        for _ in range(8):
            net.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            schedule.step()

    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("one_thread")
def test_pooling_before_the_relu_learns_the_same_to_the_bit() -> None:
    """The textbook order, ReLU and then pooling, is the same function with the same gradient: only slower."""
    ours = task.of(TrainConfig()).step(TrainConfig()).net
    textbook = nn.Sequential(*(copy.deepcopy(layer) for layer in ours))
    textbook[3], textbook[4] = textbook[4], textbook[3]
    assert [type(layer) for layer in textbook[2:5]] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    images, labels = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    for net in (ours, textbook):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()

    for one, other in zip(ours.parameters(), textbook.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_seed_alone_decides_the_first_weights() -> None:
    torch.manual_seed(99)
    one = task.of(TrainConfig(seed=4)).step(TrainConfig(seed=4)).net
    torch.manual_seed(98)
    other = task.of(TrainConfig(seed=4)).step(TrainConfig(seed=4)).net

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.usefixtures("one_thread")
def test_a_run_lives_while_it_evaluates_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats, evaluate = list[int](), engine.evaluate

    def counted(net: nn.Module, batches: Batches, cfg: TrainConfig, beat: Callable[[], None]) -> Any:
        beats.append(0)

        def beat_and_count() -> None:
            beats[-1] += 1
            beat()

        return evaluate(net, batches, cfg, beat_and_count)

    monkeypatch.setattr(engine, "evaluate", counted)
    train(replace(SMALL, results=tmp_path))
    assert [each > 0 for each in beats] == [True, True]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("is_full", [False, True])
def test_a_run_that_is_told_to_stop_says_whether_it_has_saved(
    is_full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DiskError("no space left")

    if is_full:
        monkeypatch.setattr(checkpoint, "save", refuse)
    cfg = replace(SMALL, results=tmp_path)
    here = world.solo(cfg)
    here.process.stop_signal = signal.SIGTERM
    said = "told to stop after epoch 1, step 3, and not saved; --resume goes on from the checkpoint before"
    with pytest.raises(Preempted) as stopped:
        engine.fit(task.of(cfg).step(cfg), Batches.load(cfg, here), cfg, here, kind="baseline")

    saved = "told to stop: saved after epoch 1, step 3; the same command with --resume goes on from there"
    assert str(stopped.value) == (said if is_full else saved)
    assert len([*tmp_path.glob("*.checkpoint/*")]) == (0 if is_full else 1)


@pytest.mark.usefixtures("one_thread")
def test_a_signal_inside_a_write_ends_the_run_where_ranks_cannot_agree_on_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the handler raises at once, and what goes on after an error of the disk must not go on after this."""
    fsync, asked = os.fsync, list[str]()

    def signalled(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if ".json." in name:
            asked.append(name)
            if len(asked) == 2:  # the first record has to be there before anything is trained
                raise Preempted("stopped by SIGTERM")  # as the handler of Life does
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", signalled)
    cfg = replace(SMALL, results=tmp_path)
    here = World(rank=0, size=1, local_size=1, device=CPU, comm="none")
    with pytest.raises(Preempted):
        engine.fit(task.of(cfg).step(cfg), Batches.load(cfg, here), cfg, here, kind="ddp")
    (path,) = tmp_path.glob("*.json")

    assert len(asked) == 3, "and the record that says so is written after it"
    assert read_record(path).status == "preempted"
    assert not [*tmp_path.glob("**/.*.partial")]
