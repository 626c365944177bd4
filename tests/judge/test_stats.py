"""Estimates with known answers, and intervals that cover the truth as often as they promise, in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpbench.judge import stats, timing
from ddpbench.judge.outcome import outcome_of
from ddpbench.judge.stats import apart, deviation, equivalence, mean, ratio, units_needed
from tests.records import BATCH, ddp, make_record


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
    assert ratio([math.log(2)]).value == pytest.approx(2)
    assert ratio([math.log(2)]).low is None
    assert ratio([math.log(2)]).half_width is None


def logs(numerators: list[float], denominators: list[float]) -> list[float]:
    return [math.log(above / below) for above, below in zip(numerators, denominators, strict=True)]


def test_a_ratio_of_pairs_that_agree_has_no_width() -> None:
    estimate = ratio(logs([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]))

    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((2, 2, 2))


def test_twice_as_fast_and_half_as_fast_are_mirror_images() -> None:
    before, after = [4.0, 4.4, 3.9], [2.0, 2.1, 2.2]
    one, other = ratio(logs(before, after)), ratio(logs(after, before))

    assert one.low is not None
    assert other.high is not None
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high)


def test_two_samples_that_are_not_paired_are_compared_by_welch() -> None:
    # By hand: means 10 and 12, s2 = 1 and 4, n = 3 and 5. Error sqrt(1/3 + 4/5) = 1.06458; freedom (17/15)^2 /
    # ((1/3)^2 / 2 + (4/5)^2 / 4) = 5.9612; t = 2.4511.
    before, after = [9.0, 10.0, 11.0], [9.0, 12.0, 12.0, 12.0, 15.0]
    spread = deviation(after)
    assert spread is not None
    after = [12 + (value - 12) * 2 / spread for value in after]
    found = apart(before, after)

    assert found is not None
    assert found.low is not None
    assert (found.value, found.value - found.low) == (pytest.approx(2), pytest.approx(2.4511 * 1.06458, abs=1e-3))
    assert apart([1.0], after) is None


def test_a_wider_error_makes_a_narrower_interval() -> None:
    narrow, wide = mean([1.0, 2.0, 3.0], 0.10), mean([1.0, 2.0, 3.0], 0.015)

    assert narrow.low is not None
    assert wide.low is not None
    assert wide.low < mean([1.0, 2.0, 3.0]).low < narrow.low  # type: ignore[operator]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    studies, runs = 4_000, 3
    covered = 0
    for _ in range(studies):
        before = np.exp(random.normal(math.log(1.3), 0.05, runs))
        after = np.exp(random.normal(0, 0.05, runs))
        estimate = ratio(list(np.log(before / after)))
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 1.3 <= estimate.high

    assert covered / studies == pytest.approx(0.95, abs=0.015)  # 4 standard errors of a proportion


def test_what_is_kept_is_a_one_sided_t_test() -> None:
    # By hand: mean 0.001, s = 0.001, n = 4, standard error 0.0005; t = (0.001 + 0.003) / 0.0005 = 8;
    # the upper tail of t(3) at 8 is 0.00204. The mirror image is at 4: 0.01400.
    half = 0.001 * math.sqrt(3) / 2
    test = equivalence([0.001 - half, 0.001 - half, 0.001 + half, 0.001 + half], 0.003)

    assert test.outcome == "kept"
    assert test.p == pytest.approx(0.00204, abs=1e-5)
    assert equivalence([-0.001 - half, -0.001 - half, -0.001 + half, -0.001 + half], 0.003).p == pytest.approx(
        0.01400, abs=1e-4
    )


def test_the_p_value_is_that_of_the_outcome() -> None:
    """A gain beyond the margin is kept without doubt, and a loss beyond it is not."""
    gained, lost = equivalence([0.01, 0.011, 0.012], 0.003), equivalence([-0.01, -0.011, -0.012], 0.003)

    assert gained.p is not None
    assert lost.p is not None
    assert (gained.outcome, gained.p < 0.05) == ("kept", True)
    assert (lost.outcome, lost.p > 0.95) == ("lost", True)


@pytest.mark.parametrize(
    ("differences", "outcome"),
    [
        ([-0.0005, 0.0, 0.0005], "kept"),
        ([0.01, 0.011, 0.012], "kept"),  # better is not lost
        ([-0.01, -0.0101, -0.0102], "lost"),
        ([-0.004, 0.004, 0.0], "cannot_tell"),
        ([-0.0035, -0.002, -0.003], "cannot_tell"),
        ([0.0, 0.0, 0.0], "kept"),
        ([-0.003, -0.003], "cannot_tell"),  # at the margin
        ([0.0], "cannot_tell"),
    ],
)
def test_accuracy_is_kept_lost_or_open(differences: list[float], outcome: str) -> None:
    assert equivalence(differences, 0.003).outcome == outcome


@pytest.mark.parametrize(
    ("differences", "outcome"),
    [
        ([0.0005, 0.0, -0.0005], "kept"),
        ([-0.01, -0.011, -0.012], "kept"),
        ([0.01, 0.0101, 0.0102], "lost"),
        ([0.0035, 0.002, 0.003], "cannot_tell"),
        ([0.0], "cannot_tell"),
    ],
)
def test_of_a_loss_a_rise_is_what_matters(differences: list[float], outcome: str) -> None:
    test = equivalence(differences, 0.003, lower_is_better=True)
    turned = equivalence([-each for each in differences], 0.003)

    assert (test.outcome, test.p) == (outcome, turned.p)
    assert test.difference.value == -turned.difference.value


def test_without_a_margin_a_difference_is_shown_and_not_judged() -> None:
    test = equivalence([-0.01, -0.0101, -0.0102], None)

    assert (test.outcome, test.margin, test.p) == ("not_judged", None, None)
    assert test.difference.excludes_zero


def test_accuracy_shows_the_interval_that_was_tested() -> None:
    """At 90 % it lies within the margin, and that is what "kept" means. At 95 % it does not."""
    test = equivalence([-0.0025, -0.0005, 0.0012, -0.001], 0.003)

    assert test.outcome == "kept"
    assert test.tested.low is not None
    assert test.difference.low is not None
    assert test.tested.low > -0.003 > test.difference.low


def test_units_needed_settle_the_outcome_with_the_chance_that_is_named() -> None:
    assert units_needed([0.1], 0.03) is None
    assert units_needed([0.0, 0.3, -0.3, 0.03], 0.001) is None, "too many"
    logs = [0.1 * math.log(1.1) * sign + math.log(1.1) for sign in (-10.0, 0.0, 10.0)]
    n = units_needed(logs, 0.03)
    assert n is not None
    rng = np.random.default_rng(0)
    settled = 0
    for _ in range(2_000):
        drawn = rng.normal(np.mean(logs), np.std(logs, ddof=1), n)
        settled += outcome_of(ratio(list(drawn)), 0.03) == "faster"

    assert settled / 2_000 == pytest.approx(0.8, abs=0.05)


def simulate(studies: int, seeds: int, truth: float, noise: float) -> tuple[float, float]:
    """Return how often the interval covers the true speedup, and how often it is called faster, over studies.

    Runs of a seed share half of the noise, as pairs of runs made one after the other do.
    """
    rng = np.random.default_rng(7)
    covered = called = 0
    for _ in range(studies):
        shared, one, two = np.exp(noise * rng.standard_normal((3, seeds)))
        speed = ratio(list(np.log(truth * shared * one / (shared * two))))
        assert speed.low is not None
        assert speed.high is not None
        covered += speed.low <= truth <= speed.high
        called += outcome_of(speed, 0.03) == "faster"
    return covered / studies, called / studies


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_interval_covers_the_truth_95_times_in_100(seeds: int) -> None:
    covered, _ = simulate(4_000, seeds, truth=1.3, noise=0.05)

    assert covered == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("seeds", [3, 5])
def test_two_identical_arms_are_called_faster_in_at_most_5_studies_of_100(seeds: int) -> None:
    _, called = simulate(4_000, seeds, truth=1.0, noise=0.05)

    assert 0.01 < called <= 0.05


@pytest.mark.slow
def test_choosing_the_best_of_two_and_two_identical_arms_stays_within_5_of_100() -> None:
    """The judge picks the fastest single process and the fastest parallel arm before it divides one by the other."""
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(1_500):
        records = []
        for seed in range(3):
            for threads in (1, 2):
                one, two = 4 * np.exp(0.05 * rng.standard_normal(2))
                records.append(make_record(seed=seed, threads=threads, train_s=(9, one, one)))
                records.append(ddp(seed=seed, threads=threads, train_s=(9, two, two)))
        timed = timing.of_runs(records)
        parallel, reference = timed.parallel(BATCH), timed.reference(BATCH)
        assert parallel is not None
        assert reference is not None
        called += outcome_of(timed.speed(parallel, reference), 0.03) == "faster"

    assert called / 1_500 <= 0.05


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.floats(-5, 5))
def test_the_centre_moves_with_its_values_and_lies_among_them(values: list[float], shift: float) -> None:
    found = stats.centre(values)

    assert min(values) <= found <= max(values)
    assert stats.centre([value + shift for value in values]) == pytest.approx(found + shift, abs=1e-9)
    assert stats.centre([-value for value in values]) == pytest.approx(-found, abs=1e-9)


def test_the_centre_withstands_two_strange_values_of_nine() -> None:
    assert stats.centre([1.0, 2.0, 4.0]) == 2.25
    assert abs(stats.centre([0.0, 0.1, -0.1, 0.05, -0.05, 0.0, 0.1, 99.0, 99.0])) < 0.2
