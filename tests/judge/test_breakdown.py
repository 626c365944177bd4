"""The terms of a breakdown, on made-up records whose answer is known."""

from pathlib import Path

import msgspec
import pytest

from ddpbench.arm import Arm
from ddpbench.judge import breakdown, scaling, study
from ddpbench.record import Record
from tests.judge.studies import STEPS, judge, known, three_seeds
from tests.records import ddp, make_record, put, timed

GLOO = Arm("ddp", 2, 1, "gloo")


def break_down(folder: Path, *records: Record) -> breakdown.Breakdown:
    put(folder, *records)
    return breakdown.break_down(study.load([folder]), GLOO)


def seconds(broken_down: breakdown.Breakdown) -> dict[str, float | None]:
    return {term.term: None if term.seconds is None else round(term.seconds.value, 9) for term in broken_down.terms}


def test_every_term_is_the_difference_of_two_levels(tmp_path: Path) -> None:
    result = break_down(tmp_path, *known())

    assert seconds(result) == {
        "ideal": 4,
        "uneven_shares": 0,
        "smaller_batch": 0.5,
        "contention": 0.5,
        "exposed_communication": 1,
        "reducing_gradients": 0.5,
        "waiting_for_slowest_rank": 0.3,
        "computing_slowed": pytest.approx(0.2),
    }
    assert result.observed.value == 6
    assert result.slowest_rank == 1
    assert not result.unexplained


def test_the_terms_add_up_to_what_was_observed(tmp_path: Path) -> None:
    records = three_seeds()
    records[-1] = ddp(seed=2, train_s=(9, 6.5, 7.25), late_s=(0.3, 0.0))
    result = break_down(tmp_path, *records)

    total = sum(term.seconds.value for term in result.terms if term.seconds and not term.part_of)
    assert total == pytest.approx(result.observed.value)
    assert sum(term.share for term in result.terms if term.share and not term.part_of) == pytest.approx(1)


@pytest.mark.parametrize(
    ("missing", "not_measured"),
    [
        ("alone", {"smaller_batch", "contention"}),
        ("control", {"contention", "exposed_communication", "computing_slowed"}),
        ("worker", {"ideal", "smaller_batch", "contention"}),
    ],
)
def test_a_missing_control_is_said_and_never_zero(missing: str, not_measured: set[str], tmp_path: Path) -> None:
    result = break_down(tmp_path, *known(**{missing: None}))

    absent = {name for name, value in seconds(result).items() if value is None}
    assert absent >= not_measured
    assert result.unexplained


def test_without_timers_inside_the_parts_are_not_measured(tmp_path: Path) -> None:
    result = break_down(tmp_path, *known(observed=ddp(train_s=(9, 6, 6))))

    assert result.in_run is None
    assert result["exposed_communication"] is not None
    assert result["waiting_for_slowest_rank"] is None


def test_a_slow_rank_is_waited_for_and_is_no_contention(tmp_path: Path) -> None:
    """In the control the slow rank takes 7 s and the other 5 s: what the other loses, it loses by waiting."""
    control = ddp(comm="none", train_s=(9, 7, 7))
    fast = msgspec.structs.replace(control.ranks[0], train_s=[9.0, 5.0, 5.0])
    control = msgspec.structs.replace(control, ranks=[fast, control.ranks[1]])
    result = break_down(tmp_path, *known(control=control, observed=ddp(train_s=(9, 8, 8), late_s=(2.0, 0.0))))

    assert seconds(result)["contention"] == 0.5
    assert seconds(result)["waiting_for_slowest_rank"] == 2
    assert seconds(result)["exposed_communication"] == 3


def test_a_larger_share_is_uneven_and_no_waiting(tmp_path: Path) -> None:
    """Rank 0 draws three quarters, 2.5 s more at the speed of the control; rank 1 waits for that work alone."""

    def share(record: Record) -> Record:
        ranks = [
            msgspec.structs.replace(rank, rank_batch=size) for rank, size in zip(record.ranks, (192, 64), strict=True)
        ]
        return msgspec.structs.replace(record, ranks=ranks)

    control = share(ddp(comm="none", train_s=(9, 7.5, 7.5)))
    light = msgspec.structs.replace(control.ranks[1], train_s=[9.0, 2.5, 2.5])
    control = msgspec.structs.replace(control, ranks=[control.ranks[0], light])
    observed = share(ddp(train_s=(9, 8.5, 8.5), late_s=(0.0, 5.0)))
    seconds_of = seconds(break_down(tmp_path, *known(control=control, observed=observed)))

    assert seconds_of["uneven_shares"] == 2.5
    assert (seconds_of["smaller_batch"], seconds_of["contention"]) == (0.5, 0.5)
    assert seconds_of["waiting_for_slowest_rank"] == 0
    assert seconds_of["exposed_communication"] == 1


def test_seeds_that_lack_a_control_are_left_out_of_every_term(tmp_path: Path) -> None:
    result = break_down(tmp_path, *known(0), *known(1, control=None, observed=ddp(seed=1, train_s=(9, 60, 60))))

    assert result.observed.value == 6
    assert result.observed.n == 1


def test_start_up_is_apart_and_breaks_even(tmp_path: Path) -> None:
    judgement = judge(tmp_path, make_record(train_s=(9, 4, 4), startup_s=3.0), ddp(train_s=(9, 2, 2), startup_s=8.0))

    assert judgement.comparison is not None
    assert judgement.comparison.startup.break_even_epochs == pytest.approx(2.5)


def test_what_is_slower_never_breaks_even(tmp_path: Path) -> None:
    judgement = judge(tmp_path, make_record(train_s=(9, 4, 4)), ddp(train_s=(9, 5, 5)))

    assert judgement.comparison is not None
    assert judgement.comparison.startup.break_even_epochs is None


def test_weak_scaling_stands_beside_strong(tmp_path: Path) -> None:
    weak = timed(512, 8 / STEPS, "ddp", threads=1, world_size=2, comm="gloo")
    put(tmp_path, *known(), weak)
    rows = scaling.rows(study.load([tmp_path]), GLOO)

    assert [(row.scaling, row.global_batch, row.rank_batch, row.steps_per_epoch) for row in rows] == [
        ("one worker", 256, 256, 234),
        ("strong", 256, 128, 234),
        ("weak", 512, 256, 117),
    ]
    assert rows[1].efficiency is not None
    assert rows[1].efficiency.value == pytest.approx(8 / 6 / 2)
    assert rows[2].efficiency is not None
    assert rows[2].efficiency.value == pytest.approx(1)
