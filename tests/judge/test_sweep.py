"""From which batch parallel training is faster, for made-up launches whose lines cross at a known batch."""

from pathlib import Path

import pytest

from tests.judge.studies import judge, swept

BATCHES = (64, 256, 1024)


def test_the_crossover_is_where_the_lines_meet(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *swept(BATCHES))

    assert judgement.sweep is not None
    assert judgement.sweep.predicted_batch == pytest.approx(300, rel=0.03)
    assert judgement.sweep.next_batch == 320  # a multiple of what the measured batches share
    assert judgement.outcome is None
    assert judgement.results == []


def test_launches_at_the_prediction_are_its_check_and_not_part_of_the_fit(tmp_path: Path) -> None:
    slower = swept(BATCHES, parallel=(0.006, 1e-5), check=320)[3:]  # slower than the line says
    judgement = judge(tmp_path, *swept(BATCHES), *slower)

    assert judgement.sweep is not None
    assert judgement.sweep.checked is not None
    assert judgement.sweep.checked.global_batch == 320
    assert judgement.sweep.predicted_batch == pytest.approx(300, rel=0.03)
    assert judgement.sweep.measured_batch is not None
    assert judgement.sweep.measured_batch > 320
    assert judgement.sweep.prediction_error is not None
    assert judgement.sweep.prediction_error < -0.06
    assert judgement.sweep.next_batch is None


@pytest.mark.parametrize(("parallel", "outcome"), [((0.004, 3e-5), "slower"), ((0.0001, 1e-5), "faster")])
def test_no_crossover_is_not_extrapolated(parallel: tuple[float, float], outcome: str, tmp_path: Path) -> None:
    judgement = judge(tmp_path, *swept(BATCHES, parallel=parallel))

    assert judgement.sweep is not None
    assert judgement.sweep.measured_batch is None
    assert judgement.sweep.next_batch is None
    assert {point.outcome for point in judgement.sweep.points} == {outcome}


def test_two_batches_make_no_line(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *swept((64, 1024)))

    assert judgement.sweep is not None
    assert (judgement.sweep.lines, judgement.sweep.predicted_batch) == ([], None)
    assert judgement.sweep.measured_batch is not None
