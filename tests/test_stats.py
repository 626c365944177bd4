"""Known answers for the estimates, and the promise of the interval kept in simulation."""

import math

import numpy as np
import pytest

from ddpbench.judge.stats import deviation, mean, ratio


def test_the_interval_of_a_mean_is_students() -> None:
    # Textbook: n = 4, mean 10, s = 2, t(3) = 3.182446: half width 3.182446 * 2 / 2.
    values = [10 - math.sqrt(6), 10.0, 10.0, 10 + math.sqrt(6)]  # mean 10, s = 2
    estimate = mean(values)

    assert estimate.value == pytest.approx(10)
    assert deviation(values) == pytest.approx(2)
    assert estimate.high == pytest.approx(10 + 3.182446, abs=1e-5)
    assert estimate.low == pytest.approx(10 - 3.182446, abs=1e-5)


def test_one_run_has_no_interval_and_no_spread() -> None:
    assert mean([3.0]).low is None
    assert mean([3.0]).high is None
    assert deviation([3.0]) is None
    assert ratio([6.0], [3.0]).value == pytest.approx(2)
    assert ratio([6.0], [3.0]).low is None


def test_a_ratio_of_pairs_that_agree_has_no_width() -> None:
    estimate = ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])

    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2, 2, 2))


def test_twice_as_fast_and_half_as_fast_are_mirror_images() -> None:
    before, after = [4.0, 4.4, 3.9], [2.0, 2.1, 2.2]
    one, other = ratio(before, after), ratio(after, before)

    assert one.low is not None
    assert other.high is not None
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    studies, runs = 4_000, 3
    covered = 0
    for _ in range(studies):
        before = np.exp(random.normal(math.log(1.3), 0.05, runs))
        after = np.exp(random.normal(0, 0.05, runs))
        estimate = ratio(list(before), list(after))
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 1.3 <= estimate.high

    assert covered / studies == pytest.approx(0.95, abs=0.015)  # 4 standard errors of a proportion
