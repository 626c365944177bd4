"""bash launch.sh speed, as a person runs it: on data that needs no download, with a small budget."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ddpbench.turns import read_launches

pytestmark = pytest.mark.slow
Run = Callable[..., subprocess.CompletedProcess[str]]
FLAGS = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--global-batch", "64", "--minutes", "0.1")


def test_speed_is_measured_in_turns_and_answered_in_a_few_lines(tmp_path: Path, run_script: Run) -> None:
    done = run_script("bash", "launch.sh", "speed", *FLAGS, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    launches = read_launches(folder)

    assert len(launches) == 3, "the budget is over, and three launches are the least"
    assert [launch.number for launch in launches] == [0, 1, 2]
    for launch in launches:
        rounds, arms = len(launch.order), len(launch.visits)
        assert rounds >= 1
        assert all(sorted(order) == [*range(arms)] for order in launch.order)
        assert len(launch.round_s) == len(launch.stolen_s) == rounds
        for visits in launch.visits:
            size = visits.turn.arm.world_size
            assert [len(ranks) for ranks in visits.block_s] == [size] * rounds
            reduces = size > 1 and visits.turn.arm.comm != "none"
            assert (visits.reduce_s is not None, visits.late_s is not None) == (reduces, reduces)
    assert len({tuple(map(tuple, launch.order)) for launch in launches}) > 1 or len(launches[0].order) == 1
    first, *_ = done.stdout.splitlines()
    assert first.split("   ")[0] in {"FASTER", "SLOWER", "NO DIFFERENCE THAT MATTERS", "CANNOT TELL"}
    assert "3 launches" in done.stderr
    assert "ddp 2 x 1, exchanging nothing" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 96


def test_bad_input_is_one_line_before_anything_starts(tmp_path: Path, run_script: Run) -> None:
    done = run_script("bash", "launch.sh", "speed", "--within", "0", "--results", tmp_path / "none")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "launch.sh: --within must be between 0.1% and 100%, as in 3%; got '0'\n"
    assert not (tmp_path / "none").exists()
