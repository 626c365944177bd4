"""The ways to combine gradients that a study compares: named by --comms, remembered in its plan."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from tests.study.test_draft import FakeInquiry, make, start


def comms_of(results: Path, *argv: str, design: str = "comparison") -> list[str | None]:
    """Return the comms of the arms that take turns at the study's own batch, without the controls."""
    turns = make(results, *argv, design=design)[0].plan.turns
    return list(dict.fromkeys(turn.arm.comm for turn in turns if turn.arm.kind == "ddp" and not turn.arm.is_control))


def test_the_named_comms_take_turns_and_the_fastest_stands_for_all(tmp_path: Path) -> None:
    plan = make(tmp_path, "--comms", "shm", "gloo", "powersgd")[0].plan
    weak = [turn.arm.comm for turn in plan.turns if turn.arm.kind == "ddp" and turn.global_batch > 256]

    assert plan.request.comms == ["powersgd", "gloo", "shm"]
    assert comms_of(tmp_path, "--comms", "shm", "gloo", "powersgd") == ["powersgd", "gloo", "shm"]
    assert comms_of(tmp_path) == ["gloo", "shm"]
    assert weak == ["shm"]


def test_a_sweep_follows_the_named_comm(tmp_path: Path) -> None:
    assert comms_of(tmp_path, "--comms", "gloo", design="sweep") == ["gloo"]
    assert comms_of(tmp_path, design="sweep") == ["shm"]
    assert make(tmp_path, design="sweep")[0].plan.request.comms == ["shm"]


def test_resume_and_more_find_the_study_of_the_same_comms_in_any_order(tmp_path: Path) -> None:
    usual, other = start(tmp_path, "1"), start(tmp_path, "2", "--comms", "gloo", "fp16")

    for flag in ("--resume", "--more"):
        assert make(tmp_path, flag)[0].folder == usual
        assert make(tmp_path, flag, "--comms", "shm", "gloo")[0].folder == usual, "the usual ones by their names"
        assert make(tmp_path, flag, "--comms", "fp16", "gloo")[0].folder == other
    assert "comms fp16 gloo, now bf16" in make(tmp_path, "--resume", "--comms", "bf16")[0].notice
    with pytest.raises(UserError, match="comms fp16 gloo, now bf16"):
        make(tmp_path, "--more", "--comms", "bf16")


def test_what_a_run_would_refuse_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: FakeInquiry, cfg: TrainConfig, ranks: int) -> None:
        if cfg.comm == "nccl":
            raise UserError(f"--comm nccl cannot be, on {ranks} ranks")

    monkeypatch.setattr(FakeInquiry, "check", check)
    assert make(tmp_path, "--comms", "gloo")[0].plan.request.comms == ["gloo"]
    with pytest.raises(UserError, match="--comm nccl cannot be, on 2 ranks"):
        make(tmp_path, "--comms", "gloo", "nccl")


def test_a_plan_names_the_comms_and_what_cannot_be_is_one_line(
    tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    study = ("bash", "launch.sh", "--plan", "--dataset", "synthetic", "--device", "cpu", "--world-sizes", "2")
    planned = run_script(*study, "--results", tmp_path, "--comms", "shm", "gloo", "powersgd")
    refused = run_script(*study, "--results", tmp_path, "--comms", "nccl")

    assert planned.returncode == 0, planned.stderr
    (arms,) = (line for line in planned.stdout.splitlines() if line.startswith("arms that take turns: "))
    for comm in ("shm", "gloo", "powersgd (other arithmetic)"):
        assert f"ddp 2 x 1, {comm} | " in arms
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--comm nccl needs a CUDA GPU per rank and this run trains on the CPU" in refused.stderr
