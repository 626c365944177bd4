"""Gradients in fewer bits: ranks agree to the bit, come near to what gloo gives, and say what they do."""

from pathlib import Path

import pytest
import torch

from ddpbench.arm import COMPRESSED, Arm
from ddpbench.comm import ddp
from ddpbench.errors import UserError
from ddpbench.record import read_record
from tests import warm
from tests.train.test_equivalence import train

# How far the weights may be from those of gloo, in parts of the way that these have gone. float16 keeps 11 binary
# digits of a gradient and bfloat16 keeps 8; both differences were a fourth of what is allowed.
FARTHEST = {"fp16": 2**-11, "bf16": 2**-8, "powersgd": 0.1}


def test_the_label_says_that_it_is_other_arithmetic_and_names_of_files_do_not() -> None:
    arms = {comm: Arm("ddp", 2, 1, comm) for comm in ("gloo", "shm", "nccl", *COMPRESSED)}

    assert {comm for comm, arm in arms.items() if not arm.is_exact} == {*COMPRESSED} == {*FARTHEST}
    assert [arms[comm].label for comm in ("gloo", "powersgd")] == [
        "ddp 2 x 1, gloo",
        "ddp 2 x 1, powersgd (other arithmetic)",
    ]
    assert arms["powersgd"].slug == "ddp-2x1-powersgd"
    assert not any(arm.is_control for arm in arms.values())
    assert Arm("baseline", 1, 2, None).is_exact


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("comm", COMPRESSED)
def test_each_works_on_cpus_and_gpus_and_none_is_chosen_unasked(
    comm: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")

    assert ddp.resolve(comm, device, hosts=2, local_size=1) == comm
    assert ddp.resolve("auto", device, hosts=1, local_size=2) not in COMPRESSED


def test_powersgd_on_cpus_beside_gpus_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    with pytest.raises(UserError, match=r"^--comm powersgd waits for the GPUs that torch sees.*; hide them: CUDA_VIS"):
        ddp.resolve("powersgd", "cpu", hosts=1, local_size=2)
    assert ddp.resolve("fp16", "cpu", hosts=1, local_size=2) == "fp16"


@pytest.mark.slow
@pytest.mark.parametrize("comm", COMPRESSED)
def test_ranks_with_several_buckets_agree_to_the_bit_and_come_near_to_gloo(comm: str, tmp_path: Path) -> None:
    ranks = warm.start_ranks(2, "-m", "tests.comm.compressed_ranks", comm, "--timeout-s", "30", folder=tmp_path)
    ended = [rank.wait() for rank in ranks]
    assert [each.returncode for each in ended] == [0, 0], [each.stderr for each in ended]
    apart, distance = ended[0].stdout.split()

    assert int(apart) == 0
    assert 0 < float(distance) < FARTHEST[comm]


@pytest.mark.slow
@pytest.mark.parametrize("comm", COMPRESSED)
def test_a_run_learns_as_well_and_its_record_names_the_comm(comm: str, tmp_path: Path) -> None:
    """Ranks compare their weights after every epoch, and a run whose ranks differ fails."""
    flags = ("--model", "mlp", "--optimizer", "sgd", "--epochs", "3", "--comm")
    exact, _ = train(tmp_path / "gloo", 2, *flags, "gloo")
    record, _ = train(tmp_path / comm, 2, *flags, comm)

    assert (record.comm, record.status) == (comm, "complete")
    assert record.epochs[-1].metric > exact.epochs[-1].metric - 0.02
    assert record.epochs[-1].train_loss != exact.epochs[-1].train_loss


@pytest.mark.slow
def test_a_run_of_powersgd_that_goes_on_says_that_its_bits_are_others(tmp_path: Path) -> None:
    flags = ["--dataset", "synthetic", "--device", "cpu", "--threads", "1", "--model", "mlp", "--comm", "powersgd"]
    command = ["ddp_train.py", *flags, "--epochs", "1", "--checkpoint-every", "5", "--results", str(tmp_path)]
    hook = ["--hook", "tests/hooks/faults.py:term=1@9"]
    first = [rank.wait() for rank in warm.start_ranks(2, *command, *hook, folder=tmp_path, name="first")]
    then = [rank.wait() for rank in warm.start_ranks(2, *command, *hook, "--resume", folder=tmp_path, name="then")]
    (path,) = tmp_path.glob("*.json")

    assert [each.returncode for each in first] == [75, 75], [each.stderr for each in first]
    assert [each.returncode for each in then] == [0, 0], [each.stderr for each in then]
    assert read_record(path).attempts == 2
    said = "caution: what powersgd had not sent yet is in no checkpoint; this run will not have the bits of a run in"
    assert [said in each.stderr for each in (*first, *then)] == [False, False, True, False]
