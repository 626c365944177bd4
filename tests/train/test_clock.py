"""Laps are the time between enter and exit, device included."""

import pytest

from ddpbench.train.clock import Stopwatch


def test_laps_are_the_time_between_enter_and_exit() -> None:
    ticks = iter([0.0, 2.0, 10.0, 11.5])
    watch = Stopwatch(now=lambda: next(ticks))
    for _ in range(2):
        with watch:
            pass

    assert watch.laps == [2.0, 1.5]
    assert watch.last_s == 1.5


def test_the_device_is_waited_for_before_both_readings() -> None:
    order: list[str] = []

    def now() -> float:
        order.append("now")
        return 0.0

    with Stopwatch(sync=lambda: order.append("sync"), now=now):
        order.append("work")

    assert order == ["sync", "now", "work", "sync", "now"]


def test_a_lap_that_fails_is_no_lap() -> None:
    watch = Stopwatch()
    with pytest.raises(RuntimeError), watch:
        raise RuntimeError

    assert watch.laps == []
