"""From what ranks measured to a record: pure functions, no process and no network."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from ddpbench.config import TrainConfig
from ddpbench.errors import NumericalError
from ddpbench.record import Record
from ddpbench.tasks import task
from ddpbench.train import entries, progress
from ddpbench.train.timers import RankEpoch
from tests.records import make_record

METRIC = make_record().metric
CLASSES = len(METRIC.parts)
MEASURED = RankEpoch(
    train_s=2.0,
    eval_s=0.5,
    cpu_s=1.9,
    first_step_s=0.1,
    step_waits_s=[0.010, 0.020],
    torch_reduce_s=0.004,
    data_s=None,
    loss=0.4,
    loss_curve=[0.6, 0.2],
    tested_name="accuracy",
    tested_sums=[1.0] * CLASSES,
    tested_counts=[50.0] * CLASSES,
    rank_batch=32,
    peak_rss_bytes=10**8,
    peak_device_bytes=None,
    weights_sha256="ab",
    suspended=False,
)


def with_epoch(record: Record, number: int, samples: int, ranks: list[RankEpoch], *, resumed: bool) -> Record:
    cfg = TrainConfig()
    figures = entries.figures_of(task.of(cfg), cfg, ranks)
    return entries.with_epoch(record, number, samples, ranks, figures, resumed=resumed)


def blank() -> Record:
    return replace(make_record(), epochs=[], ranks=[])


def test_an_epoch_is_the_slowest_rank_the_mean_loss_and_the_sum_of_answers() -> None:
    slow = replace(MEASURED, train_s=3.0, eval_s=0.4, loss=0.2, loss_curve=[0.2, 0.2], first_step_s=0.3)
    record = with_epoch(blank(), 1, 128, [MEASURED, slow], resumed=False)
    (epoch,) = record.epochs

    assert (epoch.epoch, epoch.samples, epoch.train_s, epoch.eval_s) == (1, 128, 3.0, 0.5)
    assert (epoch.train_loss, epoch.loss_curve) == (pytest.approx(0.3), pytest.approx([0.4, 0.2]))
    assert (epoch.metric_sums, epoch.metric) == ([2.0] * CLASSES, 0.02)
    assert record.metric == replace(METRIC, counts=[100.0] * CLASSES)
    assert [rank.wait_s for rank in record.ranks] == [[1.0], [0.0]]
    assert record.startup.first_step_s == 0.3


def test_ranks_keep_what_they_measured_in_earlier_epochs() -> None:
    later = replace(MEASURED, train_s=1.0, cpu_s=0.9, suspended=True)
    record = with_epoch(blank(), 1, 64, [MEASURED], resumed=False)
    record = with_epoch(record, 2, 64, [later], resumed=True)
    (rank,) = record.ranks

    assert [(epoch.epoch, epoch.resumed, epoch.suspended) for epoch in record.epochs] == [
        (1, False, False),
        (2, True, True),
    ]
    assert (rank.train_s, rank.cpu_s, rank.wait_s) == ([2.0, 1.0], [1.9, 0.9], [0.0, 0.0])
    assert rank.reduce_s == pytest.approx([0.03, 0.03])


def test_a_rank_that_comes_first_waits_for_the_last() -> None:
    first = replace(MEASURED, step_waits_s=[0.110, 0.020])
    last = replace(MEASURED, step_waits_s=[0.010, 0.020])
    record = with_epoch(blank(), 1, 64, [first, last], resumed=False)

    assert [rank.late_s for rank in record.ranks] == [pytest.approx([0.1]), pytest.approx([0.0])]


def test_a_run_that_reduces_nothing_has_no_time_for_it() -> None:
    alone = replace(MEASURED, step_waits_s=[], torch_reduce_s=None)
    (rank,) = with_epoch(blank(), 1, 64, [alone], resumed=False).ranks

    assert (rank.reduce_s, rank.late_s, rank.torch_reduce_s) == (None, None, None)


def test_a_loss_that_is_not_finite_on_one_rank_is_an_error() -> None:
    with pytest.raises(NumericalError, match="the loss of epoch 3 is not a finite number; use a lower --lr"):
        with_epoch(blank(), 3, 64, [MEASURED, replace(MEASURED, loss=None)], resumed=False)


def test_a_metric_that_is_not_finite_is_an_error_and_never_recorded() -> None:
    with pytest.raises(NumericalError, match="the accuracy of the test set is not a finite number"):
        with_epoch(blank(), 1, 64, [replace(MEASURED, tested_sums=[None] * CLASSES)], resumed=False)


def test_a_rank_without_a_share_of_the_test_set_changes_nothing() -> None:
    idle = replace(MEASURED, tested_name="", tested_sums=[], tested_counts=[])
    record = with_epoch(blank(), 1, 64, [MEASURED, idle], resumed=False)

    assert record.epochs[0].metric == 0.02


def test_the_end_of_a_run_names_a_class_without_a_sample(capsys: pytest.CaptureFixture[str]) -> None:
    metric = replace(METRIC, counts=[0.0, *METRIC.counts[1:]])
    progress.say_finish(make_record(metric=metric), Path("run.json"))
    said = capsys.readouterr().out

    assert "Accuracy of 0: no sample (0/0)\n" in said
    assert "Accuracy of 1: 99.00% (99/100)\n" in said
