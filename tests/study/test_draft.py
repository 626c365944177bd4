"""Which study is begun or gone on with, with a fake of the process that asks torch."""

from pathlib import Path
from typing import Any

import pytest

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.questions import Machine
from ddpbench.settings import Settings
from ddpbench.study import folders, options
from ddpbench.study.draft import Draft
from tests.records import MACHINE, make_launch, put


class FakeInquiry:
    """Knows a machine of two cores, and remembers what it was asked to check."""

    def __init__(self, gpus: int = 0) -> None:
        self.checked: list[tuple[int, int]] = []
        self._gpus = gpus

    def describe(self, cfg: TrainConfig) -> Machine:
        given = {name: getattr(cfg, name) for name in Settings.__struct_fields__}
        resolved = {
            "device": "cpu",
            "lr": cfg.lr or 0.003,
            "model": cfg.model or "cnn",
            "dataset": cfg.dataset or "mnist",
        }
        settings = Settings(**given | resolved)
        return Machine(MACHINE, settings, "cpu", "shm", self._gpus, 50_000, 60_000, 10_000, start_s=2.0)

    def check(self, cfg: TrainConfig, ranks: int) -> None:
        self.checked.append((cfg.global_batch, ranks))


def make(results: Path, *argv: str, design: Any = "comparison", gpus: int = 0) -> tuple[Draft, FakeInquiry]:
    inquiry = FakeInquiry(gpus)
    words = ["--world-sizes", "2", "--results", str(results), *argv]
    return Draft.make(options.read(design, words, {}), inquiry), inquiry  # type: ignore[arg-type]


def start(results: Path, name: str, *argv: str, **more: Any) -> Path:
    """Make the folder of a study that has begun."""
    (results / name).mkdir()
    folders.write_plan(results / name, make(results, *argv, **more)[0].plan)
    return results / name


def test_every_world_size_is_checked_at_every_batch_before_anything_starts(tmp_path: Path) -> None:
    _, inquiry = make(tmp_path, "--world-sizes", "2", "4", "--batches", "64", "128", design="sweep")

    assert inquiry.checked == [(64, 2), (64, 4), (128, 2), (128, 4)]


def test_a_default_batch_moves_to_one_that_all_ranks_can_share_and_a_given_one_stays(tmp_path: Path) -> None:
    moved, _ = make(tmp_path, "--world-sizes", "3")
    given, _ = make(tmp_path, "--world-sizes", "3", "--global-batch", "256")

    assert moved.options.train.global_batch == moved.plan.request.settings.global_batch == 255
    assert {turn.global_batch for turn in moved.plan.turns} == {255, 85, 765}
    assert given.options.train.global_batch == 256


def test_data_parallel_does_not_take_part_where_its_threads_would_forget_bf16(tmp_path: Path) -> None:
    kinds = [
        {turn.arm.kind for turn in make(tmp_path, *argv, gpus=2)[0].plan.turns}
        for argv in ([], ["--precision", "bf16"])
    ]

    assert kinds == [{"baseline", "data_parallel", "ddp"}, {"baseline", "ddp"}]


def test_a_compiled_arm_takes_part_where_it_is_asked_for(tmp_path: Path) -> None:
    plain, compiled = (make(tmp_path, *argv)[0].plan for argv in ([], ["--compile"]))

    assert [turn for turn in compiled.turns if turn.arm.kind != "compiled"] == plain.turns
    assert (plain.request.compile, compiled.request.compile) == (False, True)
    with pytest.raises(UserError, match="--compile adds an arm to a study of one batch, and a sweep has many"):
        options.read("sweep", ["--compile"], {})


def test_resume_goes_on_with_a_study_and_its_launches(tmp_path: Path) -> None:
    folder = start(tmp_path, "1")
    put(folder, make_launch(0), make_launch(1))
    found, new = make(tmp_path, "--resume")[0], make(tmp_path, "--resume", "--lr", "0.5")[0]

    assert (found.folder, [launch.number for launch in found.launches], found.notice) == (folder, [0, 1], "")
    assert (new.folder, new.launches) == (None, [])
    assert "starting a new one. Unfinished: " in new.notice


def test_a_damaged_launch_is_named_before_anything_starts(tmp_path: Path) -> None:
    folder = start(tmp_path, "1")
    (path,) = put(folder, make_launch())
    path.write_bytes(path.read_bytes()[:100])

    for flag in ("--resume", "--more"):
        with pytest.raises(UserError, match=str(path)) as refused:
            make(tmp_path, flag)
        assert "\n" not in str(refused.value)
    assert make(tmp_path)[0].folder is None


def test_more_goes_on_with_a_study_of_other_seeds_and_needs_one(tmp_path: Path) -> None:
    folder = start(tmp_path, "1", "--seeds", "5")
    found, _ = make(tmp_path, "--more")

    assert (found.folder, found.plan.request.seeds) == (folder, [5])
    with pytest.raises(UserError, match=r"--more goes on with a study of the same settings.*design comparison, now sp"):
        make(tmp_path, "--more", design="speed")
