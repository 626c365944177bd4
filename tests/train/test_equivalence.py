"""The proof: two ranks learn what one process learns. Real processes, real gloo, the scripts themselves."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from ddpbench.config import TrainConfig
from ddpbench.record import Record, read_record
from ddpbench.tasks import task
from ddpbench.train import optim
from ddpbench.train.batches import Batches
from ddpbench.train.world import World
from tests import warm

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
COMMON = ("--dataset", "synthetic", "--device", "cpu", "--threads", "1", "--epochs", "1")


def train(folder: Path, ranks: int, *flags: str) -> tuple[Record, dict[str, torch.Tensor]]:
    """Train with the real scripts: one process, or ranks. Returns the record and the weights."""
    folder.mkdir()
    words = (*COMMON, "--results", folder, *flags)
    if ranks:
        ended = [rank.wait() for rank in warm.start_ranks(ranks, "ddp_train.py", *words, folder=folder)]
    else:
        ended = [warm.run("baseline_train.py", *words, folder=folder)]
    assert [process.returncode for process in ended] == [0] * len(ended), [process.stderr for process in ended]
    (path,) = folder.glob("*.json")
    record = read_record(path)
    assert record.weights is not None
    return record, load_file(folder / record.weights)


def require_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> None:
    """Fail unless every weight agrees to `tolerance`, absolute; weights are of order one."""
    assert one.keys() == other.keys()
    for name, weights in one.items():
        torch.testing.assert_close(
            weights, other[name], atol=tolerance, rtol=0, msg=lambda said, name=name: f"{name}: {said}"
        )


@pytest.mark.parametrize("model", [pytest.param("mlp", marks=pytest.mark.long), "cnn"])
def test_two_ranks_learn_what_one_process_learns_to_1e10_in_float64(model: str, tmp_path: Path) -> None:
    """The default recipe, AdamW and one-cycle, in double precision."""
    flags = ("--model", model, "--precision", "fp64")
    alone, weights_alone = train(tmp_path / "alone", 0, *flags)
    together, weights_together = train(tmp_path / "together", 2, *flags)

    require_close(weights_together, weights_alone, 1e-10)
    assert together.epochs[0].metric_sums == alone.epochs[0].metric_sums
    assert together.epochs[0].train_loss == pytest.approx(alone.epochs[0].train_loss, abs=1e-6)  # kept in float32


def test_two_ranks_learn_what_one_process_learns_to_rounding_in_float32(tmp_path: Path) -> None:
    flags = ("--optimizer", "sgd", "--schedule", "constant", "--lr", "0.05")
    _, weights_alone = train(tmp_path / "alone", 0, *flags)
    _, weights_together = train(tmp_path / "together", 2, *flags)

    require_close(weights_together, weights_alone, 1e-5)


def test_a_world_of_one_is_the_baseline_to_the_bit(tmp_path: Path) -> None:
    _, weights_alone = train(tmp_path / "alone", 0)
    record, weights_together = train(tmp_path / "together", 1)

    assert (record.kind, record.world_size) == ("ddp", 1)
    require_close(weights_together, weights_alone, 0)


def test_replicas_that_never_communicate_learn_something_else(tmp_path: Path) -> None:
    """The control is a control: if it matched, the proofs above would prove nothing."""
    flags = ("--model", "mlp", "--precision", "fp64")
    _, weights_alone = train(tmp_path / "alone", 0, *flags)
    record, weights_apart = train(tmp_path / "apart", 2, *flags, "--comm", "none")

    assert record.comm == "none"
    assert max((weights_apart[name] - weights_alone[name]).abs().max() for name in weights_alone) > 1e-3


@pytest.mark.usefixtures("one_thread")
def test_two_ranks_have_the_bits_of_an_oracle_that_splits_batches_by_hand(tmp_path: Path) -> None:
    """One process takes both ranks' halves in turn and averages their gradients: the same float32 bits."""
    record, weights = train(tmp_path / "shm", 2, "--comm", "shm")
    _, weights_by_gloo = train(tmp_path / "gloo", 2, "--comm", "gloo")
    cfg = TrainConfig(dataset="synthetic", epochs=1)
    found = task.of(cfg)
    images = found.data(cfg)
    places = [World(rank=rank, size=2, local_size=2, device=CPU, comm="shm") for rank in (0, 1)]
    halves = [Batches(found, images, cfg, place) for place in places]
    net = task.of(cfg).step(cfg).net
    optimizer = optim.build_optimizer(net, cfg)
    schedule = optim.build_schedule(optimizer, cfg, halves[0].steps)
    assert schedule is not None
    for pair in zip(halves[0].epoch(1), halves[1].epoch(1), strict=True):
        gradients = []
        for x, y in pair:
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            gradients.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
        for p, first, second in zip(net.parameters(), *gradients, strict=True):
            p.grad = first / 2 + second / 2
        optimizer.step()
        schedule.step()

    assert (record.world_size, record.comm) == (2, "shm")
    for name, value in net.state_dict().items():
        assert torch.equal(weights[name], value), name
        assert torch.equal(weights_by_gloo[name], value), name


@pytest.mark.long
def test_three_ranks_learn_by_shared_memory_what_they_learn_by_gloo(tmp_path: Path) -> None:
    """gloo adds three ranks in another order: equal to rounding."""
    flags = ("--model", "mlp", "--global-batch", "240", "--optimizer", "sgd", "--comm")
    _, weights_by_gloo = train(tmp_path / "gloo", 3, *flags, "gloo")
    _, weights = train(tmp_path / "shm", 3, *flags, "shm")

    require_close(weights, weights_by_gloo, 1e-6)


def test_accuracy_does_not_depend_on_how_many_ranks_count_it(tmp_path: Path) -> None:
    """Three ranks share 1,000 test images unevenly; in double precision all three worlds learn the same."""
    flags = ("--precision", "fp64", "--model", "mlp", "--global-batch", "240")
    counts = [train(tmp_path / str(ranks), ranks, *flags)[0].epochs[0].metric_sums for ranks in (1, 2, 3)]

    assert counts[0] == counts[1] == counts[2]
