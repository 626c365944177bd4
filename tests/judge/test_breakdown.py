"""The terms of a breakdown, on made-up launches whose answer is known."""

import math
from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from ddpbench.judge import breakdown, scaling, timing
from ddpbench.judge.breakdown import Breakdown
from ddpbench.judge.timing import Timing
from ddpbench.turns import Launch, TurnArm
from tests.judge.studies import launches
from tests.records import BATCH, NONE, NOTHING, ONE, READING, SHM, TRUTH, TWO, at, make_launch

PARALLEL = at(SHM)
WITHOUT_NOISE = [make_launch(number) for number in range(3)]
TERMS = {
    "ideal": 10,
    "smaller_batch": 1,
    "contention": 1.5,
    "bookkeeping": 0.5,
    "exchange": 2,
    "reducing": 0.75,
    "waiting": 0.75,
    "slower_computing": 0.5,
}  # in milliseconds


def break_down(timed: Timing, rank_batches: tuple[int, int] = (128, 128)) -> Breakdown | None:
    return breakdown.break_down(timed, PARALLEL, at(TWO), rank_batches, on_gpu=False)


def found(made: list[Launch], rank_batches: tuple[int, int] = (128, 128)) -> dict[str, float]:
    """Return the milliseconds of every term, by its causes."""
    broken = break_down(timing.of_launches(made), rank_batches)
    assert broken is not None
    return {"+".join(term.causes): round(1e3 * term.seconds.value, 6) for term in broken.terms}


def without(turn: TurnArm) -> dict[TurnArm, float]:
    return {each: step_s for each, step_s in TRUTH.items() if each != turn}


def test_every_term_is_the_difference_of_two_levels() -> None:
    assert found(WITHOUT_NOISE) == TERMS


def test_the_terms_add_up_to_what_was_observed() -> None:
    broken = break_down(timing.of_launches(launches(5, spread=0.03)))
    assert broken is not None
    whole = [term for term in broken.terms if not term.part_of]

    assert sum(term.seconds.value for term in whole) == pytest.approx(broken.observed.value)
    assert sum(term.share for term in whole) == pytest.approx(1)
    assert broken.slowest_rank == 1
    assert next(term.causes for term in broken.losses) == ("exchange",)


@pytest.mark.parametrize(
    ("missing", "joined"),
    [
        (at(ONE, BATCH // 2), "smaller_batch+contention"),
        (at(NONE), "contention+uneven_shares+bookkeeping"),
        (at(NOTHING), "bookkeeping+exchange"),
    ],
)
def test_without_a_control_its_cause_and_the_next_stand_together(missing: TurnArm, joined: str) -> None:
    terms = found([make_launch(number, truth=without(missing)) for number in range(3)])

    assert joined in terms
    assert sum(value for name, value in terms.items() if name not in ("reducing", "waiting", "slower_computing")) == 15


def test_reading_data_is_a_cost_beside_those_of_batches_in_memory() -> None:
    terms = found([make_launch(number, truth=READING) for number in range(3)])

    assert terms == {**TERMS, "data": 3, "waiting_for_data": 0.9, "beside_readers": 2.1}
    assert list(terms)[-3:] == ["data", "waiting_for_data", "beside_readers"]


def test_an_arm_that_reads_no_data_is_no_result() -> None:
    timed = timing.of_launches([make_launch(number, truth=READING) for number in range(3)])

    assert timed.reference(BATCH) == at(TWO)  # one worker on batches in memory would be no fairer reference
    assert timed.parallel(BATCH) == at(SHM)
    assert not any(turn.replayed for turn in timed.at(BATCH))
    assert timed.one_worker(at(SHM), on_gpu=False) == at(ONE)


def test_without_one_worker_nothing_is_broken_down() -> None:
    assert break_down(timing.of_launches([make_launch(0, truth=without(at(ONE)))])) is None


def test_terms_that_cannot_be_told_from_zero_stand_together() -> None:
    """One worker at the rank batch, and the wrapper, differ from launch to launch by more than they cost."""

    def factor(turn: TurnArm, number: int) -> float:
        shaky = turn in (at(ONE, BATCH // 2), at(NOTHING))
        return math.exp(0.1 * (number - 1)) if shaky else 1.0

    made = [make_launch(number, lambda turn, _, n=number: factor(turn, n)) for number in range(3)]  # type: ignore[misc]
    broken = break_down(timing.of_launches(made))
    assert broken is not None
    together = [term for term in broken.terms if not term.is_certain and not term.part_of]

    assert [term.causes for term in together] == [("smaller_batch", "contention", "bookkeeping", "exchange")]
    assert broken.losses == []
    assert broken["bookkeeping"] is None


def test_of_a_single_launch_no_cause_is_certain() -> None:
    broken = break_down(timing.of_launches(WITHOUT_NOISE[:1]))
    assert broken is not None

    assert broken.losses == []
    assert [term.causes for term in broken.terms if term.is_certain] == [("ideal",)]
    assert broken["exchange"] is not None, "causes stand apart all the same"


def test_a_slow_rank_is_waited_for_and_is_no_contention() -> None:
    """The second rank takes twice as long in every arm; the first loses that time by waiting."""

    def slow(launch: Launch) -> Launch:
        visits = []
        for each in launch.visits:
            if each.turn.arm.world_size == 2:
                block_s = [[row[0], 2 * row[1]] for row in each.block_s]
                late_s = each.late_s and [[row[0], 0.0] for row in each.block_s]
                reduce_s = each.late_s and [[1.1 * row[0], 0.1 * row[0]] for row in each.block_s]
                visits.append(replace(each, block_s=block_s, late_s=late_s, reduce_s=reduce_s))
            else:
                visits.append(each)
        return replace(launch, visits=visits)

    terms = found([slow(launch) for launch in WITHOUT_NOISE])

    assert (terms["contention"], terms["bookkeeping"]) == (1.5, 0.5)
    assert terms["exchange"] == 17
    assert terms["waiting"] == 15


def test_a_larger_share_is_uneven_and_no_waiting() -> None:
    """The first rank draws three quarters of every batch: half as much again as an even share."""
    shares = (192, 64)

    def uneven(launch: Launch) -> Launch:
        visits = []
        for each in launch.visits:
            if each.turn.arm.world_size == 2:
                even_s = [row[0] for row in each.block_s]
                block_s = [[1.5 * row, 0.5 * row] for row in even_s]
                late_s = each.late_s and [[0.0, 1.0 * row] for row in even_s]
                reduce_s = each.late_s and [[0.1 * row, 1.1 * row] for row in even_s]
                visits.append(replace(each, block_s=block_s, rank_batches=[*shares], late_s=late_s, reduce_s=reduce_s))
            else:
                visits.append(each)
        return replace(launch, visits=visits)

    terms = found([uneven(launch) for launch in WITHOUT_NOISE], shares)

    assert (terms["contention"], terms["uneven_shares"], terms["bookkeeping"]) == (1.5, 6.25, 0.75)
    assert terms["exchange"] == 3
    assert terms["waiting"] <= 2


def test_an_even_share_is_no_row() -> None:
    assert "uneven_shares" not in found(WITHOUT_NOISE)


def rows(truth: Mapping[TurnArm, float]) -> list[tuple[str, int, float | None]]:
    timed = timing.of_launches([make_launch(number, truth=truth) for number in range(3)])
    return [
        (row.scaling, row.turn.global_batch, row.efficiency and round(row.efficiency.value, 3))
        for row in scaling.rows(timed, [PARALLEL], on_gpu=False)
    ]


def test_weak_scaling_stands_beside_strong() -> None:
    weak = {at(SHM, 2 * BATCH): 0.025, at(TWO, 2 * BATCH): 0.024}

    assert rows(TRUTH) == [("one worker", 256, None), ("strong", 256, 0.667)]
    assert rows({**TRUTH, **weak}) == [("one worker", 256, None), ("strong", 256, 0.667), ("weak", 512, 0.8)]
    timed = timing.of_launches([make_launch(0, truth={**TRUTH, **weak})])
    larger = scaling.larger_batch(timed, PARALLEL)
    assert larger is not None
    assert (larger.global_batch, larger.speed.value) == (512, pytest.approx(0.96))
