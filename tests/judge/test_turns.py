"""Speed from turns: made-up launches whose truth is known."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpbench.arm import Arm
from ddpbench.errors import UserError
from ddpbench.judge import turns
from ddpbench.judge.look import look
from ddpbench.turns import SCHEMA, Launch, TurnArm, Visits, path_of, read_launches
from tests.records import make_record

ONE, TWO = Arm("baseline", 1, 1, None), Arm("baseline", 1, 2, None)
SHM, NONE, NOTHING = (Arm("ddp", 2, 1, comm) for comm in ("shm", "none", "nothing"))
BATCH, STEPS = 256, 10
# Seconds of a step of each arm, in a world without noise.
TRUTH = {
    TurnArm(arm=ONE, global_batch=BATCH): 0.020,
    TurnArm(arm=TWO, global_batch=BATCH): 0.012,
    TurnArm(arm=SHM, global_batch=BATCH): 0.015,
    TurnArm(arm=NONE, global_batch=BATCH): 0.0125,
    TurnArm(arm=NOTHING, global_batch=BATCH): 0.013,
    TurnArm(arm=ONE, global_batch=BATCH // 2): 0.011,
}
PARALLEL, REFERENCE = TurnArm(arm=SHM, global_batch=BATCH), TurnArm(arm=TWO, global_batch=BATCH)
Factor = Callable[[TurnArm, int], float]  # of an arm in a round


def made(number: int, factor: Factor = lambda *_: 1.0, truth: dict[TurnArm, float] = TRUTH, rounds: int = 9) -> Launch:
    """Make a launch in which a block takes the truth times a factor; the last rank is the slowest."""
    record = make_record()

    def visits(turn: TurnArm) -> Visits:
        block_s = [STEPS * truth[turn] * factor(turn, each) for each in range(rounds)]
        size = turn.arm.world_size
        ranks_s = [[seconds * (0.9 if rank < size - 1 else 1.0) for rank in range(size)] for seconds in block_s]
        return Visits(turn=turn, steps=STEPS, block_s=ranks_s, reduce_s=None, late_s=None)

    return Launch(
        schema=SCHEMA,
        study="made up",
        number=number,
        settings=msgspec.structs.replace(record.settings, global_batch=BATCH),
        environment=record.environment,
        started_at="",
        startup_s=4.0,
        order=[[*range(len(truth))]] * rounds,
        round_s=[1.0] * rounds,
        stolen_s=[0.1] * rounds,
        visits=[visits(turn) for turn in truth],
        injected=None,
        peak_rss_bytes=[1, 1],
    )


def test_without_noise_the_ratio_is_the_truth_and_the_interval_has_no_width() -> None:
    launches = [made(number) for number in range(3)]
    ratio = turns.ratio(launches, PARALLEL, REFERENCE)

    assert (turns.parallel_of(launches, BATCH), turns.reference_of(launches, BATCH)) == (PARALLEL, REFERENCE)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.8, 0.8, 0.8))
    assert (ratio.launches, ratio.outcome(0.03)) == (3, "slower")


def test_a_stalled_round_decides_nothing_and_is_counted() -> None:
    """A thread that waits for a core takes thirty times as long; the median of the rounds does not move."""
    stalled = made(0, lambda turn, number: 30.0 if turn == REFERENCE and number == 4 else 1 + 0.001 * number)

    assert turns.ratio([stalled], PARALLEL, REFERENCE).value == pytest.approx(0.8, rel=0.01)
    assert turns.stalled_share([stalled], REFERENCE) == pytest.approx(1 / 9)


def test_the_unit_is_the_launch_however_many_rounds_it_has() -> None:
    """Launches differ by 5 %: a hundred rounds in each do not make the interval narrower."""
    few, many = (
        turns.ratio(
            [made(n, lambda turn, _, n=n: 1 + 0.05 * n * (turn == PARALLEL), rounds=rounds) for n in range(4)],
            PARALLEL,
            REFERENCE,
        )
        for rounds in (5, 100)
    )

    assert few.half_width == many.half_width
    assert few.half_width is not None
    assert 0.05 < few.half_width < 0.2


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (1.001, 1.2, "faster"),
        (0.8, 0.999, "slower"),
        (0.98, 1.02, "no_difference"),
        (1.005, 1.025, "no_difference"),
        (0.96, 1.02, "cannot_tell"),
        (0.98, 1.04, "cannot_tell"),
        (None, None, "cannot_tell"),
    ],
)
def test_outcomes(low: float | None, high: float | None, outcome: str) -> None:
    assert turns.Ratio(1.0, low, high, 3).outcome(0.03) == outcome


def test_the_way_from_ideal_workers_names_each_cause_and_adds_up() -> None:
    launches = [made(number) for number in range(3)]
    levels = {level.name: 1e3 * level.by_launch[0] for level in turns.levels(launches, PARALLEL, REFERENCE)}

    assert levels == pytest.approx(
        {
            "ideal workers": 10.0,
            "smaller batches": 11.0,
            "sharing the machine": 12.5,
            "DDP's bookkeeping": 13.0,
            "exchanging gradients": 15.0,
        }
    )


def test_time_that_the_host_took_is_a_share_of_all_cores() -> None:
    launch = made(0)
    cores = launch.environment.cores

    assert turns.stolen_share([launch]) == pytest.approx(0.1 / cores)


def test_a_study_ends_when_it_knows_and_not_before_the_third_launch() -> None:
    assert not turns.interval([0.5]).is_known(0.03, 0.03)
    assert not turns.interval([0.5, 0.5]).is_known(0.03, 0.03)
    assert turns.interval([0.5, 0.5, 0.5]).is_known(0.03, 0.03), "settled"
    assert turns.interval([0.0, 0.001, -0.001]).is_known(0.03, 0.0001), "narrow enough"
    assert not turns.interval([0.0, 0.05, -0.05]).is_known(0.03, 0.03)


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_two_equal_arms_are_seldom_called_different(seed: int) -> None:
    """Noise of 3 % between launches, looked at after each from the third on, as a study does."""
    noise = random.Random(seed)
    called = 0
    for _ in range(20):
        logs: list[float] = []
        for _ in range(10):
            logs.append(noise.gauss(0, 0.03))
            launches = [
                made(n, lambda turn, _, log=log: math.exp(log) if turn == PARALLEL else 1.0, EQUAL, rounds=1)
                for n, log in enumerate(logs)
            ]
            ratio = turns.ratio(launches, PARALLEL, REFERENCE)
            if ratio.is_known(0.03, 0.03):
                break
        called += ratio.outcome(0.03) in ("faster", "slower")

    assert called <= 5  # of 20; 0.75 are expected


EQUAL = dict.fromkeys((REFERENCE, PARALLEL), 0.012)


def test_launches_are_read_back_and_judged(tmp_path: Path) -> None:
    for number in range(3):
        path_of(tmp_path, number).write_bytes(msgspec.json.encode(made(number)))
    seen = look(tmp_path, 0.03, 0.03)

    assert read_launches(tmp_path) == [made(number) for number in range(3)]
    assert (seen.parallel, seen.reference, seen.outcome) == ("ddp 2 x 1, shm", "baseline, 2 threads", "slower")
    assert (seen.speedup, seen.is_known) == (pytest.approx(0.8), True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not a whole record of turns"),
        (b"{}", "missing required field"),
        (b"[" * 10_000, "is not a whole record of turns"),
        (msgspec.json.encode(msgspec.structs.replace(made(0), schema=9)), "has schema 9, this program reads 1"),
        (msgspec.json.encode(made(0)).replace(b'"steps":10', b'"steps":-1'), "steps"),
    ],
)
def test_a_bad_record_is_refused_by_name(content: bytes, why: str, tmp_path: Path) -> None:
    path_of(tmp_path, 0).write_bytes(content)
    with pytest.raises(UserError, match=why) as problem:
        read_launches(tmp_path)

    assert "turns-000.json" in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_folder_without_turns_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no record of turns; run bash launch\.sh speed"):
        read_launches(tmp_path)
