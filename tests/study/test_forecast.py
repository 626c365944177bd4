"""How long runs will take: estimates that learn from the runs so far."""

import pytest

from ddpbench.arm import Arm
from ddpbench.study import forecast
from ddpbench.study.forecast import Forecast
from ddpbench.study.plan import Job

ALONE = Job(arm=Arm("baseline", 1, 2, None), global_batch=256, steps=None, epochs=3)
RANKS = Job(arm=Arm("ddp", 2, 1, "shm"), global_batch=256, steps=None, epochs=3)


def test_durations_read_as_people_say_them() -> None:
    assert (forecast.minutes(42.4), forecast.minutes(89), forecast.minutes(170)) == ("42 s", "89 s", "3 min")


def test_a_run_is_expected_to_take_what_the_same_run_took_with_another_seed() -> None:
    cast = Forecast({job.with_seed(seed): 10.0 for seed in (0, 1) for job in (ALONE, RANKS)})
    cast.took(ALONE, 30.0)

    assert cast.job_s(ALONE.with_seed(1)) == 30.0
    assert cast.job_s(RANKS) == 30.0, "three times as long as was estimated, as the first one"
    cast.took(RANKS, 10.0)
    assert cast.job_s(RANKS.with_seed(1)) == 10.0


def test_what_is_left_shrinks_while_a_run_goes_on_and_never_below_the_others() -> None:
    cast = Forecast({ALONE: 10.0, RANKS: 20.0})

    assert cast.left_s([ALONE, RANKS]) == 30.0 + forecast.JUDGE_S
    assert cast.left_s([ALONE, RANKS], elapsed_s=4.0) == 26.0 + forecast.JUDGE_S
    assert cast.left_s([ALONE, RANKS], elapsed_s=99.0) == 20.0 + forecast.JUDGE_S
    assert cast.left_s([]) == forecast.JUDGE_S


@pytest.mark.parametrize(("ranks", "times"), [(2, 1), (4, 2), (8, 4)])
def test_more_threads_than_cores_take_turns(ranks: int, times: int) -> None:
    """With 8 ranks on 2 cores, runs of 36 s by the estimate took 122 s."""
    arm = Arm("ddp", ranks, 1, "none")

    assert forecast.step_s(arm, 0.01, 2, on_gpu=False) == pytest.approx(0.01 * times)
    assert forecast.step_s(arm, 0.01, 2, on_gpu=True) == 0.01
