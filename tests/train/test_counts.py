"""How much one loss counts: numbers as loss() returns them, wherever they are in memory."""

import pytest
import torch

from ddpbench.errors import TrainingError
from ddpbench.train.counts import Counts


def test_a_number_with_a_fraction_is_kept_as_it_is() -> None:
    counts = Counts()

    assert [counts.share(torch.ones(()), 2.5).item() for _ in range(2)] == [pytest.approx(0.4)] * 2
    with pytest.raises(TrainingError, match=r"returned the number 3\.5 after 2\.5; a number that differs"):
        counts.share(torch.ones(()), 3.5)


@pytest.mark.parametrize("count", [0, 0.5, float("nan")])
def test_less_than_one_loss_is_refused(count: float) -> None:
    with pytest.raises(TrainingError, match="it must be at least 1"):
        Counts().share(torch.ones(()), count)


def test_a_number_in_other_memory_counts_where_its_sum_is() -> None:
    """Memory without content stands for a GPU: what is computed there is there, and the two do not mix."""
    total, count = torch.ones((), device="meta", dtype=torch.float64), torch.tensor(3)
    counts = Counts(parts=3)
    shares = [Counts().share(total, count), counts.early_share(total, count), counts.early_share(total, count)]
    last, correction = counts.last_share(total, count)

    assert correction is not None
    assert [each.device.type for each in (*shares, last, correction)] == ["meta"] * 5
    assert {each.dtype for each in (*shares, last, correction)} == {torch.float64}
