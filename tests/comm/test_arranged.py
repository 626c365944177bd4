"""A start that goes on has DDP's buckets as they were: more than two ranks add as before, to the bit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddpbench.record import read_record
from tests import warm

pytestmark = pytest.mark.slow
long = pytest.mark.long


@pytest.mark.parametrize(
    ("comm", "cut", "passes"),
    [
        ("gloo", 3, 1),
        ("gloo", 1, 12),
        pytest.param("gloo", 1, 1, marks=long),
        pytest.param("gloo", 2, 12, marks=long),
        pytest.param("fp16", 2, 1, marks=long),
        ("bf16", 1, 1),
    ],
)
def test_three_ranks_go_on_to_the_bit_and_would_not_without_the_order(
    comm: str, cut: int, passes: int, tmp_path: Path
) -> None:
    """DDP makes its buckets after the first step, and tells their order in some passes only: twelve are others."""
    words = ("-m", "tests.comm.arranged_ranks", comm, str(cut), str(passes), "--timeout-s", "30")
    ended = [rank.wait() for rank in warm.start_ranks(3, *words, folder=tmp_path)]

    assert [each.returncode for each in ended] == [0, 0, 0], [each.stderr for each in ended]
    assert ended[0].stdout.split() == ["True", "True", "False"]


def test_a_run_of_three_ranks_that_was_stopped_has_the_weights_of_one_in_one_go(tmp_path: Path) -> None:
    flags = ["--dataset", "synthetic", "--device", "cpu", "--threads", "1", "--model", "mlp", "--comm", "gloo"]
    command = ["ddp_train.py", *flags, "--epochs", "1", "--global-batch", "66", "--timeout-s", "30"]
    stop, weights = ["--hook", "tests/hooks/faults.py:term=1@9"], []
    for name, starts in (("whole", [[]]), ("stopped", [stop, [*stop, "--resume"]])):
        for number, more in enumerate(starts):
            words = [*command, *more, "--results", str(tmp_path / name)]
            ended = [rank.wait() for rank in warm.start_ranks(3, *words, folder=tmp_path, name=f"{name}-{number}")]
            codes = [each.returncode for each in ended]
            assert codes == [75 if more == stop else 0] * 3, [each.stderr for each in ended]
        (path,) = (tmp_path / name).glob("*.json")
        assert read_record(path).attempts == len(starts)
        weights.append(load_file(path.with_suffix(".safetensors")))

    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
