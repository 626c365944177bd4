"""From which batch it pays: lines whose crossing is known."""

from pathlib import Path

import pytest

from ddpbench.judge import judgement, study, sweep
from ddpbench.record import Record
from ddpbench.show import verdict
from tests.records import put, timed


def swept(
    batches: tuple[int, ...], *, seeds: int = 3, parallel: tuple[float, float] = (0.004, 1e-5), minute: int = 0
) -> list[Record]:
    """Return runs of one process, 1 ms + 20 us a sample, and of two ranks, 4 ms + 10 us a sample: equal at 300."""
    records = []
    for seed in range(seeds):
        for batch in batches:
            one, two = 0.001 + 2e-5 * batch, parallel[0] + parallel[1] * batch
            wobble = 1 + 0.001 * seed
            records.append(timed(batch, one, seed=seed, minute=minute))
            records.append(
                timed(batch, two * wobble, "ddp", seed=seed, world_size=2, threads=1, comm="gloo", minute=minute)
            )
    return records


def judge(folder: Path, *records: Record) -> judgement.Judgement:
    put(folder, *records)
    return judgement.of(study.load([folder]))


def test_the_crossover_is_where_the_lines_meet(tmp_path: Path) -> None:
    judged = judge(tmp_path, *swept((64, 256, 1024)))

    assert judged.sweep is not None
    assert judged.sweep.predicted_batch == pytest.approx(300, rel=0.03)
    assert sweep.next_batches(judged.sweep) == [320]  # a multiple of what the measured batches share
    assert verdict.of(judged).outcome is None


def test_a_run_at_the_prediction_is_its_check_and_not_part_of_the_fit(tmp_path: Path) -> None:
    late = swept((320,), parallel=(0.006, 1e-5), minute=30)  # slower than the line says
    judged = judge(tmp_path, *swept((64, 256, 1024)), *late)

    assert judged.sweep is not None
    assert judged.sweep.checked is not None
    assert judged.sweep.checked.global_batch == 320
    assert judged.sweep.predicted_batch == pytest.approx(300, rel=0.03)
    assert judged.sweep.measured_batch is not None
    assert judged.sweep.measured_batch > 320
    assert judged.sweep.prediction_error is not None
    assert judged.sweep.prediction_error < -0.06
    assert sweep.next_batches(judged.sweep) == []


@pytest.mark.parametrize(
    ("parallel", "said"),
    [((0.004, 3e-5), "does not pay between global batch 64 and 1024"), ((0.0001, 1e-5), "pays at every batch")],
)
def test_no_crossover_is_said_and_not_extrapolated(parallel: tuple[float, float], said: str, tmp_path: Path) -> None:
    judged = judge(tmp_path, *swept((64, 256, 1024), parallel=parallel))

    assert judged.sweep is not None
    assert judged.sweep.measured_batch is None
    assert sweep.next_batches(judged.sweep) == []
    assert said in verdict.of(judged).verdict


def test_two_batches_make_no_line(tmp_path: Path) -> None:
    judged = judge(tmp_path, *swept((64, 1024)))

    assert judged.sweep is not None
    assert judged.sweep.predicted_batch is None
    assert judged.sweep.measured_batch is not None
    assert "Too few batches" in verdict.of(judged).why
