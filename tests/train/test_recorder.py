"""The end of a run: once its record is complete, nothing makes it another."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import nn

from ddpbench.errors import DiskError, NumericalError, Preempted, UserError
from ddpbench.record import read_record, write_record
from ddpbench.tasks.step import Step
from ddpbench.tasks.task import Task
from ddpbench.train import progress
from ddpbench.train.recorder import Recorder
from tests.records import ACCURACY, make_record
from tests.train.test_entries import MEASURED, blank, with_epoch


@pytest.fixture
def made(tmp_path: Path) -> Recorder:
    """Return a recorder in front of the end of its run."""
    recorder = object.__new__(Recorder)
    here = SimpleNamespace(is_main=True, process=SimpleNamespace(tell=lambda _: True))
    fields = {"record": make_record(), "path": tmp_path / "run.json", "_here": here, "_lease": None}
    for name, value in (fields | {"_is_complete": False}).items():
        setattr(recorder, name, value)
    return recorder


def ended(recorder: Recorder, problem: BaseException) -> bool:
    return bool(recorder.__exit__(type(problem), problem, None))


def state() -> Any:
    return SimpleNamespace(bare_net=Step(nn.Linear(1, 1), lambda *_: torch.zeros(())).net)


def test_what_fails_after_a_run_is_complete_leaves_it_so(made: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = RuntimeError("cannot be said")
    monkeypatch.setattr(progress, "say_finish", lambda *_: (_ for _ in ()).throw(problem))
    with pytest.raises(RuntimeError, match="cannot be said"):
        made.complete(state())

    assert not ended(made, problem)
    assert read_record(made.path).status == "complete"
    assert ended(made, Preempted("stopped by SIGTERM")), "there is nothing left to stop"
    assert read_record(made.path).status == "complete"


@pytest.mark.parametrize(("problem", "status"), [(RuntimeError(), "failed"), (Preempted(), "preempted")])
def test_what_fails_before_is_recorded(made: Recorder, problem: BaseException, status: str) -> None:
    assert not ended(made, problem)
    assert read_record(made.path).status == status


def test_a_folder_that_cannot_be_given_back_is_a_caution(made: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise DiskError("cannot read .writer: gone")

    made._lease = SimpleNamespace(require=lambda: None, end=refuse)  # type: ignore[assignment]
    made.complete(state())

    assert read_record(made.path).status == "complete"
    assert "caution: cannot read .writer: gone" in capsys.readouterr().err


def test_a_class_without_test_samples_has_no_share(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = make_record(metric=replace(ACCURACY, counts=[0.0, *ACCURACY.counts[1:]]))
    progress.say_finish(record, tmp_path / "run.json")

    assert "Accuracy of 0: no sample" in capsys.readouterr().out


def test_a_record_that_nobody_could_read_is_not_written(tmp_path: Path) -> None:
    record = make_record(metric=replace(ACCURACY, parts=["<=50K", *ACCURACY.parts[1:]]))
    with pytest.raises(
        UserError, match=r"^this run cannot be recorded: Expected text without .*`\$\.metric\.parts\[0\]`"
    ):
        write_record(tmp_path / "run.json", record)

    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("large", [{"loss": 1e31}, {"loss_curve": [0.6, -1e31]}, {"tested_sums": [1e31, *[1.0] * 9]}])
def test_a_figure_that_no_record_holds_is_as_good_as_none(
    large: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Task, "_is_share", lambda *_: False)
    with pytest.raises(NumericalError, match="is not a finite number; use a lower --lr"):
        with_epoch(blank(), 1, 64, [replace(MEASURED, **large)], resumed=False)
