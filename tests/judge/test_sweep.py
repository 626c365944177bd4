"""From which batch parallel training pays, for made-up runs whose lines cross at a known batch."""

from pathlib import Path

import pytest

from ddpbench.judge import sweep
from ddpbench.show import verdict
from tests.judge.studies import judge, swept


def test_the_crossover_is_where_the_lines_meet(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *swept((64, 256, 1024)))

    assert judgement.sweep is not None
    assert judgement.sweep.predicted_batch == pytest.approx(300, rel=0.03)
    assert sweep.next_batches(judgement.sweep) == [320]  # a multiple of what the measured batches share
    assert judgement.outcome is None


def test_a_run_at_the_prediction_is_its_check_and_not_part_of_the_fit(tmp_path: Path) -> None:
    late = swept((320,), parallel=(0.006, 1e-5), minute=30)  # slower than the line says
    judgement = judge(tmp_path, *swept((64, 256, 1024)), *late)

    assert judgement.sweep is not None
    assert judgement.sweep.checked is not None
    assert judgement.sweep.checked.global_batch == 320
    assert judgement.sweep.predicted_batch == pytest.approx(300, rel=0.03)
    assert judgement.sweep.measured_batch is not None
    assert judgement.sweep.measured_batch > 320
    assert judgement.sweep.prediction_error is not None
    assert judgement.sweep.prediction_error < -0.06
    assert sweep.next_batches(judgement.sweep) == []


@pytest.mark.parametrize(
    ("parallel", "text"),
    [((0.004, 3e-5), "does not pay between global batch 64 and 1024"), ((0.0001, 1e-5), "pays at every batch")],
)
def test_no_crossover_is_stated_and_not_extrapolated(parallel: tuple[float, float], text: str, tmp_path: Path) -> None:
    judgement = judge(tmp_path, *swept((64, 256, 1024), parallel=parallel))

    assert judgement.sweep is not None
    assert judgement.sweep.measured_batch is None
    assert sweep.next_batches(judgement.sweep) == []
    assert text in verdict.write(judgement).verdict


def test_two_batches_make_no_line(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *swept((64, 1024)))

    assert judgement.sweep is not None
    assert judgement.sweep.predicted_batch is None
    assert judgement.sweep.measured_batch is not None
    assert "Too few batches" in verdict.write(judgement).why
