"""Speed from turns and from runs: made-up launches whose truth is known."""

import math
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ddpbench.errors import UserError
from ddpbench.judge import stats, timing
from ddpbench.judge.disturbance import disturbance, stalled_share, stolen_share
from ddpbench.judge.look import look
from ddpbench.judge.outcome import ERROR_OF_A_LOOK, is_known, outcome_of
from ddpbench.judge.stats import Estimate
from ddpbench.turns import SCHEMA, path_of, read_launches
from tests.judge.studies import launches, swept
from tests.records import BATCH, GLOO, NONE, ONE, SHM, TRUTH, TWO, at, ddp, make_launch, make_record, put

PARALLEL, REFERENCE = at(SHM), at(TWO)


def test_without_noise_the_speed_is_the_truth_and_the_interval_has_no_width() -> None:
    timed = timing.of_launches([make_launch(number) for number in range(3)])
    speed = timed.speed(PARALLEL, REFERENCE)

    assert (timed.parallel(BATCH), timed.reference(BATCH)) == (PARALLEL, REFERENCE)
    assert speed is not None
    assert (speed.value, speed.low, speed.high) == pytest.approx((0.8, 0.8, 0.8))
    assert (speed.n, outcome_of(speed, 0.03)) == (3, "slower")


def test_a_stalled_round_decides_nothing_and_is_counted() -> None:
    """A thread that waits for a core takes thirty times as long; the median of the rounds does not move."""
    stalled = make_launch(0, lambda turn, number: 30.0 if turn == REFERENCE and number == 4 else 1 + 0.001 * number)
    timed = timing.of_launches([stalled])

    assert math.exp(timed.logs(PARALLEL, REFERENCE)[0]) == pytest.approx(0.8, rel=0.01)
    assert stalled_share(timed, REFERENCE) == pytest.approx(1 / 9)
    assert disturbance([stalled], timed, (PARALLEL, REFERENCE), 0.03).most_stalled == REFERENCE


def test_the_unit_is_the_launch_however_many_rounds_it_has() -> None:
    """Launches differ by 5 %: a hundred rounds in each do not make the interval narrower."""
    few, many = (
        timing.of_launches(launches(4, spread=0.05, rounds=rounds)).speed(PARALLEL, REFERENCE) for rounds in (5, 100)
    )

    assert few is not None
    assert many is not None
    assert few.half_width == pytest.approx(many.half_width)
    assert few.half_width is not None
    assert 0.05 < few.half_width < 0.2


def test_an_arm_that_was_in_fewer_rounds_is_compared_within_these() -> None:
    """The machine is twice as fast in the first round; there alone gloo took its turn."""
    whole = make_launch(0, lambda _, number: 0.5 if number == 0 else 1.0, {**TRUTH, at(GLOO): 0.02})
    index = next(index for index, each in enumerate(whole.visits) if each.turn == at(GLOO))
    gloo = whole.visits[index]
    rare = replace(gloo, block_s=gloo.block_s[:1], reduce_s=None, late_s=None)
    visits = [rare if each is gloo else each for each in whole.visits]
    order = [[each for each in row if number == 0 or each != index] for number, row in enumerate(whole.order)]
    timed = timing.of_launches([replace(whole, visits=visits, order=order)])

    assert math.exp(timed.logs(at(GLOO), REFERENCE)[0]) == pytest.approx(0.6)
    assert timed.step_s(REFERENCE).value == pytest.approx(0.012)


def test_a_control_is_its_fastest_rank_at_an_even_share_and_an_arm_its_slowest() -> None:
    assert timing.arm_s(SHM, [1.0, 3.0], [128, 128]) == 3.0
    assert timing.arm_s(NONE, [1.0, 3.0], [128, 128]) == 1.0
    assert timing.arm_s(NONE, [3.0, 1.0], [192, 64]) == 2.0


def test_runs_of_a_seed_are_a_unit_of_one_round() -> None:
    runs = [make_record(seed=seed, train_s=(9, 4, 4 + seed)) for seed in range(2)]
    runs += [ddp(seed=seed, train_s=(9, 2, 2), late_s=(0.5, 0.0)) for seed in range(3)]
    timed = timing.of_runs(runs)

    assert [math.exp(log) for log in timed.logs(at(GLOO), REFERENCE)] == pytest.approx([2, 2.25])
    assert timed.units[2].waits[at(GLOO)] == timing.Waits(reducing=0.25, waiting=[0.25, 0.0])
    assert timed.error == 0.05


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
    assert outcome_of(Estimate(1.0, low, high, 3), 0.03) == outcome
    assert outcome_of(None, 0.03) == "cannot_tell"


def known(logs: list[float], within: float = 0.03, margin: float = 0.03) -> bool:
    return is_known(logs, within, margin)


def test_a_study_ends_when_it_knows_and_not_before_the_fifth_launch() -> None:
    assert not known([0.5])
    assert not known([0.5] * 4)
    assert known([0.5] * 5)
    assert known([0.0, 0.001, -0.001, 0.001, 0.0], margin=0.0001), "narrow enough"
    assert not known([0.0, 0.05, -0.05, 0.05, 0.0])


def test_a_settled_outcome_is_enough_only_after_many_launches_and_by_a_stricter_interval() -> None:
    clear, unclear = [0.25, 0.15] * 4, [0.08, -0.01] * 4

    assert not known(clear), "narrow enough it is not: +- 4.8 %"
    assert known([*clear, 0.2, 0.2])
    assert outcome_of(stats.ratio(unclear, ERROR_OF_A_LOOK), 0.03) == "cannot_tell"
    nearly = [*unclear, 0.05, 0.05]
    assert outcome_of(stats.ratio(nearly, ERROR_OF_A_LOOK), 0.03) == "faster", "by the interval that is shown"
    assert not known(nearly)
    assert not known([0.5, 0.2] * 5), "settled, but how much is not known"


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_two_equal_arms_are_seldom_called_different(seed: int) -> None:
    """Noise of 3 % between launches, looked at after each from the fifth on, as a study does."""
    noise = random.Random(seed)
    called = 0
    for _ in range(20):
        logs: list[float] = []
        while len(logs) < 22 and not known(logs or [0.0]):
            logs.append(noise.gauss(0, 0.03))
        called += outcome_of(stats.ratio(logs, ERROR_OF_A_LOOK), 0.03) in ("faster", "slower")

    assert called <= 5  # of 20; 0.75 are expected


def test_time_that_the_host_took_is_a_share_of_all_cores() -> None:
    launch = make_launch(0)

    assert stolen_share([launch]) == pytest.approx(0.01 / launch.environment.cores)


def test_launches_are_read_back_and_looked_at(tmp_path: Path) -> None:
    made = launches()
    put(tmp_path, *made)
    seen = look(tmp_path, 0.03, 0.03)
    (pair,) = seen.pairs

    assert read_launches(tmp_path) == made
    assert (pair.parallel, pair.reference, pair.outcome) == (PARALLEL, REFERENCE, "slower")
    assert (pair.speed, pair.is_known) == (pytest.approx(0.8), True)
    assert (pair.parallel_step_s, pair.reference_step_s) == (pytest.approx(0.015, rel=0.01), pytest.approx(0.012))
    assert seen.next_batch is None


def test_a_sweep_is_looked_at_batch_by_batch_and_says_where_to_check(tmp_path: Path) -> None:
    put(tmp_path, *swept())
    seen = look(tmp_path, 0.03, 0.03)

    assert [pair.parallel.global_batch for pair in seen.pairs] == [64, 128, 256, 512, 1024]
    assert [pair.outcome for pair in seen.pairs] == ["slower", "slower", "slower", "faster", "faster"]
    assert seen.next_batch == 320
    put(tmp_path, *swept(check=320))
    assert look(tmp_path, 0.03, 0.03).next_batch is None


WHOLE = make_launch(0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not a whole record of turns"),
        (b"{}", "missing required field"),
        (b"[" * 10_000, "is not a whole record of turns"),
        (msgspec.json.encode(replace(WHOLE, schema=1)), f"has schema 1, this program reads {SCHEMA}"),
        (msgspec.json.encode(WHOLE).replace(b'"steps":10', b'"steps":-1'), "steps"),
        (msgspec.json.encode(replace(WHOLE, order=[])), "order holds a value that no launch produces"),
        (msgspec.json.encode(replace(WHOLE, order=[[0, 0, *row] for row in WHOLE.order])), "order holds a value"),
        (msgspec.json.encode(replace(WHOLE, round_s=[1.0])), "round_s holds a value"),
        (
            msgspec.json.encode(replace(WHOLE, visits=[replace(WHOLE.visits[0], block_s=[]), *WHOLE.visits[1:]])),
            r"visits\[0\].block_s holds a value",
        ),
        (
            msgspec.json.encode(replace(WHOLE, visits=[replace(WHOLE.visits[0], rank_batches=[0]), *WHOLE.visits[1:]])),
            r"visits\[0\].rank_batches holds a value",
        ),
    ],
)
def test_a_bad_record_is_refused_by_name(content: bytes, why: str, tmp_path: Path) -> None:
    path_of(tmp_path, 0).write_bytes(content)
    with pytest.raises(UserError, match=why) as problem:
        read_launches(tmp_path)

    assert "turns-000.json" in str(problem.value)
    assert "\n" not in str(problem.value)


def test_arms_are_shown_single_processes_first_and_controls_last() -> None:
    timed = timing.of_launches([make_launch(0, truth={**TRUTH, at(GLOO): 0.02})])

    assert [turn.arm.label for turn in timed.at(BATCH)] == [
        "baseline, 1 thread",
        "baseline, 2 threads",
        "ddp 2 x 1, gloo",
        "ddp 2 x 1, shm",
        "2 x 1, no communication",
        "ddp 2 x 1, nothing exchanged",
    ]
    assert timed.one_worker(PARALLEL, on_gpu=False) == at(ONE)
    assert timed.one_worker(PARALLEL, on_gpu=True) == REFERENCE, "one GPU, whatever its threads"
