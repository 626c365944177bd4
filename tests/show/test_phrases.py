"""Figures in words, and an interval as a line of characters."""

from dataclasses import replace

import pytest

from ddpbench.judge.breakdown import Cause, Term
from ddpbench.judge.stats import Estimate
from ddpbench.show.phrases import LENGTH, change, change_with_interval, doubt, with_interval
from ddpbench.show.strip import strip


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.08, "8 % faster"),
        (0.8, "20 % slower"),
        (1.004, "0.4 % faster"),
        (1.0, "equally fast"),
        (0.9999, "less than 0.1 % slower"),
        (2.5, "2.50 times as fast"),
        (0.4, "0.40 times as fast"),
    ],
)
def test_a_ratio_in_words(ratio: float, text: str) -> None:
    assert change(ratio) == text


@pytest.mark.parametrize(
    ("low", "value", "high", "text"),
    [
        (1.05, 1.08, 1.11, "8 % faster: 5 to 11 %"),
        (0.76, 0.8, 0.84, "20 % slower: 16 to 24 %"),
        (0.98, 1.01, 1.03, "1 % faster: 2 % slower to 3 % faster"),
        (1.178, 1.18, 1.183, "18 % faster: 17.8 to 18.3 %"),
        (1.9, 2.1, 2.3, "2.10 times as fast: 90 % faster to 2.30 times as fast"),
        (1.0001, 1.01, 1.02, "1 % faster: less than 0.1 % faster to 2 % faster"),
        (None, 1.08, None, "8 % faster"),
    ],
)
def test_an_interval_in_words(low: float | None, value: float, high: float | None, text: str) -> None:
    assert change_with_interval(Estimate(value, low, high, 3)) == text


def test_a_longer_time_is_no_slower_speed() -> None:
    assert change_with_interval(Estimate(1.31, 1.2, 1.43, 3), LENGTH) == "31 % longer: 20 to 43 %"


def test_bounds_with_signs_are_no_subtraction() -> None:
    assert with_interval(Estimate(-3.0, -3.2, -2.8, 3), "+.1f", " ms") == "-3.0 ms (-3.2 to -2.8)"
    assert with_interval(Estimate(1.08, 0.98, 1.19, 3), unit="x") == "1.08x (0.98 - 1.19)"


@pytest.mark.parametrize(
    ("low", "value", "high", "line"),
    [
        (1.05, 1.08, 1.09, "slower 0.91x ················|·······-----o-·· 1.1x faster"),
        (0.96, 1.0, 1.04, "slower 0.91x ·········-------o-------········· 1.1x faster"),
        (0.7, 0.8, 1.3, "slower 0.67x ··-----o--------|----------······ 1.5x faster"),
        (0.001, 0.5, 1.0, "slower 0.01x --------------o-|················ 100x faster"),
    ],
)
def test_the_scale_of_a_strip_is_the_smallest_that_holds_the_interval(
    low: float, value: float, high: float, line: str
) -> None:
    assert strip(Estimate(value, low, high, 3)) == line


def test_one_launch_has_no_strip() -> None:
    assert strip(Estimate(1.1, None, None, 1)) is None


def test_a_bound_that_two_launches_give_is_said_to_be_more() -> None:
    assert change(1e300) == "more than 10 times as fast"
    assert change(1e-300) == "more than 90 % slower"


@pytest.mark.parametrize(
    ("low", "causes", "words"),
    [
        (-0.1, ("bookkeeping", "exchange"), "may be nothing"),
        (0.1, ("bookkeeping", "exchange"), "which of them is not known"),
        (0.1, ("bookkeeping",), "may be nothing"),  # it is too small to be told
    ],
)
def test_the_doubt_about_a_term_follows_from_its_interval(low: float, causes: tuple[Cause, ...], words: str) -> None:
    term = Term(causes, Estimate(1.0, low, 2.0, 5), 0.1, is_certain=False)

    assert doubt(term) == words
    assert doubt(replace(term, is_certain=True)) == ""
    assert doubt(replace(term, seconds=Estimate(1.0, None, None, 1))) == "measured once"
