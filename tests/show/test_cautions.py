"""Cautions: each says what to do, and a calm study has none."""

from pathlib import Path

import msgspec
import pytest

from ddpbench.judge import cautions
from ddpbench.record import Record
from ddpbench.turns import Launch
from tests.judge.studies import complete, judge, launches, paired
from tests.records import MACHINE, ddp, make_launch, make_record


@pytest.mark.parametrize(
    ("measured", "caution"),
    [
        (paired([2.0]), "only 1 run"),
        (launches(2), "speed is from 2 of at least 5 launches; bash launch.sh --more adds some"),
        (paired([2.0, 3.0, 4.0]), "epoch times vary by 33%; measure in turns: bash launch.sh"),
        (paired([2.0, 2.0, 2.0, 2.0, 2.5]), "seed 4: 2.50 s an epoch against 2.00 s of the others; it is counted"),
        (
            [make_launch(n, stolen_s=[0.2] * 9) for n in range(3)],
            "the host took 10% of the CPU time away during the launches; use a quieter machine",
        ),
        (
            [make_record(environment=msgspec.structs.replace(MACHINE, load_1m=1.5)), ddp()],
            "busy before the first run (load 1.5)",
        ),
        ([make_record(), ddp(world_size=4)], "4 ranks of 1 thread: 4 threads on 2 cores; ranks take turns"),
        ([make_record(environment=msgspec.structs.replace(MACHINE, commit="0123-dirty")), ddp()], "different commits"),
        (
            [each(environment=msgspec.structs.replace(MACHINE, commit="0123-dirty")) for each in (make_record, ddp)],
            "the code differed from commit 0123; commit, then run again",
        ),
    ],
)
def test_every_caution_comes_with_advice(measured: list[Record | Launch], caution: str, tmp_path: Path) -> None:
    found = cautions.find(judge(tmp_path, *measured))

    assert any(caution in each for each in found), found


def test_a_calm_study_has_no_cautions(tmp_path: Path) -> None:
    assert cautions.find(judge(tmp_path / "runs", *paired([2.0, 2.05, 2.02]))) == []
    assert cautions.find(judge(tmp_path / "turns", *complete())) == []
