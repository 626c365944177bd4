"""Cautions: each says what to do, and a calm study has none."""

from pathlib import Path

import msgspec
import pytest

from ddpbench.findings import Check, EqualGradient
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


def touching(folder: Path, *measured: Record | Launch) -> list[str]:
    return [caution.text for caution in cautions.collect(judge(folder, *measured)) if caution.touches]


def test_a_caution_touches_the_answer_where_it_is_about_an_arm_of_it(tmp_path: Path) -> None:
    # The arm of 4 ranks is slower than that of 2, so the answer is about 2 ranks until those are gone.
    two, four, one = ddp(train_s=(9, 2, 2)), ddp(world_size=4, train_s=(9, 3, 3)), make_record()
    about_four = "4 ranks of 1 thread: 4 threads on 2 cores; ranks take turns; use fewer"

    assert about_four in cautions.find(judge(tmp_path / "other", one, two, four))
    assert about_four not in touching(tmp_path / "again", one, two, four)
    assert about_four in touching(tmp_path / "answer", one, four)


def test_code_that_changed_touches_the_answer_and_code_without_a_commit_does_not(tmp_path: Path) -> None:
    first, second, dirty = (msgspec.structs.replace(MACHINE, commit=name) for name in ("0123", "4567", "4567-dirty"))

    changed = touching(tmp_path / "changed", *(make_launch(n, environment=(first, second)[n % 2]) for n in range(5)))
    assert [text.partition(" (")[0] for text in changed] == ["runs were made from different commits"]
    assert touching(tmp_path / "dirty", *(make_launch(n, environment=dirty) for n in range(5))) == []


@pytest.mark.parametrize(("found", "touches"), [("exact", False), ("batch_loss", True), ("not_shown", True)])
def test_what_the_check_says_touches_the_answer_unless_gradients_are_equal(
    found: EqualGradient, touches: bool, tmp_path: Path
) -> None:
    check = Check(equal_gradient=found, findings=["a sentence"], took_s=1.0)
    measured = [make_launch(0, check=check), *launches(5)[1:]]

    assert ("a sentence" in touching(tmp_path, *measured)) == touches


def test_a_calm_study_has_no_cautions(tmp_path: Path) -> None:
    assert cautions.find(judge(tmp_path / "runs", *paired([2.0, 2.05, 2.02]))) == []
    assert cautions.find(judge(tmp_path / "turns", *complete())) == []
