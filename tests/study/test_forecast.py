"""How long a study takes: when launches are enough, and estimates of runs that learn from the runs so far."""

import pytest
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.study import forecast
from ddpbench.study.forecast import Forecast, Left, Rule
from ddpbench.study.plan import Job
from ddpbench.turns import Pair, TurnArm

ALONE = Job(arm=Arm("baseline", 1, 2, None), seed=0)
RANKS = Job(arm=Arm("ddp", 2, 1, "shm"), seed=0)
REFERENCE, PARALLEL = (TurnArm(arm=job.arm, global_batch=256) for job in (ALONE, RANKS))
WIDE = Pair(PARALLEL, REFERENCE, 0.01, 0.01, 1.0, 0.94, 1.06, "cannot_tell", is_known=False, enough=0.03)
KNOWN = replace(WIDE, low=0.99, high=1.01, outcome="no_difference", is_known=True)
RULE = Rule(least=5, budget_s=300.0)


def test_durations_read_as_people_say_them() -> None:
    assert (forecast.minutes(42.4), forecast.minutes(89), forecast.minutes(170)) == ("42 s", "89 s", "3 min")
    assert Left(42.4, is_most=False).words(2.4) == "about 40 s left"
    assert Left(42.4, is_most=True).words(99.0) == "at most 1 s left"


@pytest.mark.parametrize(
    ("count", "pair", "spent_s", "is_enough"),
    [
        (2, KNOWN, 40.0, False),
        (4, WIDE, 290.0, False),  # the budget is over, and five launches are the least
        (5, KNOWN, 60.0, True),
        (5, WIDE, 60.0, False),
        (9, WIDE, 275.0, False),
        (9, WIDE, 285.0, True),  # another one would take too long
    ],
)
def test_launches_end_where_the_answer_is_known_or_another_one_would_take_too_long(
    count: int, pair: Pair, spent_s: float, is_enough: bool
) -> None:
    assert RULE.is_enough(count, [pair], spent_s, 20.0) == is_enough


def test_every_batch_of_a_sweep_must_be_known() -> None:
    assert RULE.is_enough(5, [KNOWN, KNOWN], 0.0, 20.0)
    assert not RULE.is_enough(5, [KNOWN, WIDE], 0.0, 20.0)
    assert not RULE.is_enough(5, [], 0.0, 20.0), "nothing was judged yet"


def test_the_time_left_of_launches_follows_from_the_width_and_is_at_most_the_budget() -> None:
    assert RULE.left(0, [], 0.0, 20.0) == (300.0, True)
    assert RULE.left(4, [WIDE], 40.0, 20.0) == (260.0, True)
    assert RULE.left(5, [WIDE], 60.0, 10.0) == (150.0, False), "half the width needs four times the launches"
    assert RULE.left(6, [WIDE], 200.0, 20.0) == (100.0, False)
    nearly = replace(WIDE, enough=0.05)
    assert RULE.left(6, [nearly], 60.0, 10.0).seconds < RULE.left(6, [WIDE], 60.0, 10.0).seconds, "less is enough"
    assert Rule(5, 30.0).left(0, [], 0.0, 20.0) == (100.0, True), "five launches take longer than the budget"


def test_a_small_budget_makes_launches_shorter() -> None:
    assert (forecast.rounds_s(300.0), forecast.rounds_s(18.0)) == (forecast.ROUNDS_S, 18.0 / 8)


def test_a_run_is_expected_to_take_what_the_same_run_took_with_another_seed() -> None:
    cast = Forecast()
    again = [replace(job, seed=1) for job in (ALONE, RANKS)]
    cast.expect(dict.fromkeys([ALONE, RANKS, *again], 10.0))
    cast.took(ALONE, 30.0)

    assert cast.job_s(again[0]) == 30.0
    assert cast.job_s(RANKS) == 30.0, "three times as long as was estimated, as the first one"
    cast.took(RANKS, 10.0)
    assert cast.job_s(again[1]) == 10.0


def test_what_is_left_shrinks_while_a_run_goes_on_and_never_below_the_others() -> None:
    cast = Forecast()
    cast.expect({ALONE: 10.0, RANKS: 20.0})

    assert cast.left_s([ALONE, RANKS]) == 30.0 + forecast.JUDGE_S
    assert cast.left_s([ALONE, RANKS], elapsed_s=4.0) == 26.0 + forecast.JUDGE_S
    assert cast.left_s([ALONE, RANKS], elapsed_s=99.0) == 20.0 + forecast.JUDGE_S
    assert cast.left_s([]) == forecast.JUDGE_S
