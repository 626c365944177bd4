"""The process beside a training process: whom it ends, and whom it does not. Its looks are made here, one by one."""

import itertools
from collections.abc import Iterator

import pytest

from ddpbench import processes
from ddpbench.notes import HANGS
from ddpbench.train import watchdog
from ddpbench.train.watchdog import LOOK_EVERY_S, Watchdog


class Ended(Exception):  # noqa: N818 - nothing went wrong
    """The watchdog's own process ends here."""


def look(
    monkeypatch: pytest.MonkeyPatch,
    took_s: list[float],
    *,
    limit_s: float = 1.0,
    steps: bool = False,
    stopped: bool = False,
) -> tuple[Watchdog, list[int]]:
    """Let a watchdog make looks that take so long. Returns it, and the signals that it has sent."""
    watched, sent = Watchdog(), list[int]()
    watched.alive(limit_s)
    durations, now = iter(took_s), itertools.accumulate(moments(took_s))

    def sleep(_: float) -> None:
        next(durations)
        if steps:
            watched.alive(limit_s)

    parents = iter([7] * len(took_s) + [1])
    monkeypatch.setattr(watchdog, "_become_small", lambda: None)
    monkeypatch.setattr(processes, "state", lambda _: "stopped" if stopped else "running")
    monkeypatch.setattr(watchdog.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(watchdog.os, "kill", lambda _, number: sent.append(number))
    monkeypatch.setattr(watchdog.os, "_exit", lambda _: (_ for _ in ()).throw(Ended))
    monkeypatch.setattr(watchdog.time, "sleep", sleep)
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: next(now))
    with pytest.raises(Ended):
        watched._look_after(7)
    monkeypatch.undo()
    return watched, sent


def moments(took_s: list[float]) -> Iterator[float]:
    """Yield what the clock goes on between its readings: none before a look, all in it, and once where it is late."""
    for seconds in took_s:
        yield from (0.0, seconds, *([0.0] if seconds > watchdog.STOOD_STILL_S else []))


def test_a_process_that_takes_no_step_is_ended_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, [LOOK_EVERY_S] * 4)[1] == []
    assert look(monkeypatch, [LOOK_EVERY_S] * 8)[1] == [HANGS]


def test_one_that_takes_steps_or_is_not_to_be_ended_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, [LOOK_EVERY_S] * 20, steps=True)[1] == []
    assert look(monkeypatch, [LOOK_EVERY_S] * 20, limit_s=0.0)[1] == []


def test_one_that_somebody_has_stopped_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, [LOOK_EVERY_S] * 20, stopped=True)[1] == []


def test_time_in_which_the_watchdog_stood_still_too_is_counted_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen container tells no process of it, neither before nor after."""
    watched, sent = look(monkeypatch, [LOOK_EVERY_S, 3600.0, LOOK_EVERY_S, 3600.0])

    assert sent == []
    assert watched.times_still == 2


def test_a_busy_machine_delays_a_look_and_that_is_no_standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, sent = look(monkeypatch, [1.5, 1.5], limit_s=9.0)

    assert (watched.times_still, sent) == (0, [])


def test_before_it_begins_nobody_is_ended() -> None:
    watched = Watchdog()
    watched.alive(0.001)

    assert watched.times_still == 0
