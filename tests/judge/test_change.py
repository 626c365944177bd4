"""Whether a study has become slower: the fastest way to train in parallel is judged, whichever arm that is by now."""

from pathlib import Path

import pytest

from ddpbench.errors import UserError
from ddpbench.judge.change import between, change
from ddpbench.show import report
from tests.judge.studies import faster, judge, launches, swept
from tests.records import GLOO, ONE, SHM, TRUTH, TWO, at, make_record

STEPS_S = {**TRUTH, at(GLOO): 0.018}


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_largest_batch_of_a_sweep_is_judged_by_its_parallel_arm(tmp_path: Path) -> None:
    old = judge(tmp_path / "old", *swept())
    # A step of 1,024 samples takes 17.3 ms, and took 14.2; that of one process is as before.
    slower = judge(tmp_path / "new", *swept(parallel=(0.004, 1.3e-5)))
    found = change(old, slower)
    text = report.format_change(found)

    assert (found.fastest.before, found.fastest.turn) == (at(GLOO, 1024), at(GLOO, 1024))
    assert found.outcome == "slower"
    assert found.arms[0].turn == at(GLOO, 1024)
    assert text.startswith("SLOWER THAN BEFORE   2 workers (DDP, gloo), batch 1024\n")
    assert "global batch" not in text, "a sweep has none of its own"


def test_a_slow_down_is_seen_where_another_arm_has_become_the_fastest(tmp_path: Path) -> None:
    """Gloo alone is as fast as before. Shared memory was faster than it, and is slower by now."""
    old = judge(tmp_path / "old", *launches(5, STEPS_S, spread=0.002))
    new = judge(tmp_path / "new", *launches(5, {**STEPS_S, at(SHM): 0.020}, spread=0.002))
    found = change(old, new)
    text = report.format_change(found)

    assert (found.fastest.before, found.fastest.turn) == (at(SHM), at(GLOO))
    assert found.fastest.times_as_fast.value == pytest.approx(15 / 18)
    assert found.outcome == "slower"
    assert change(new, old).outcome == "faster"
    assert "2 workers (DDP, gloo); before: 2 workers (DDP, shared memory)" in words(text)
    shown = {each.turn: each.times_as_fast.value for each in found.arms}
    assert (shown[at(SHM)], shown[at(GLOO)]) == (pytest.approx(15 / 20), pytest.approx(1.0))
    assert all(each.before == each.turn for each in found.arms)


def test_what_is_fastest_in_one_study_must_be_measured_in_the_other(tmp_path: Path) -> None:
    without = {turn: step_s for turn, step_s in STEPS_S.items() if turn != at(SHM)}
    both = judge(tmp_path / "both", *launches(5, STEPS_S))
    gloo = judge(tmp_path / "gloo", *launches(5, without))
    alone = judge(tmp_path / "alone", make_record())

    for pair in ((gloo, both), (both, gloo)):
        with pytest.raises(UserError, match=r"^gloo has not measured ddp 2 x 1, shm at batch 256, the fastest way of "):
            change(*pair)
    with pytest.raises(UserError, match=r"^alone has nothing that trains in parallel at batch 256; compare studies of"):
        between([alone, alone], is_required=True)
    small, large = (judge(tmp_path / str(most), *swept((64, 256, most))) for most in (512, 1024))
    with pytest.raises(UserError, match=r"^512 has nothing that trains in parallel at batch 1024"):
        change(small, large)


@pytest.mark.parametrize(("count", "said"), [(1, "(one launch: no interval)"), (2, "(95 %)")])
def test_a_change_without_an_interval_does_not_claim_one(count: int, said: str, tmp_path: Path) -> None:
    old, new = (judge(tmp_path / str(times), *launches(count, faster(times))) for times in (1.25, 1.1))
    line = report.format_change(change(old, new)).split("\n")[1]

    assert line.startswith("  speed      12 % slower")
    assert line.endswith(f" {said}")


def test_an_arm_that_only_one_study_has_is_not_in_the_table(tmp_path: Path) -> None:
    fewer = {turn: STEPS_S[turn] for turn in (at(TWO), at(GLOO), at(SHM))}
    found = change(judge(tmp_path / "old", *launches(5, fewer)), judge(tmp_path / "new", *launches(5, STEPS_S)))

    assert [each.turn for each in found.arms] == [at(SHM), at(TWO), at(GLOO)]
    assert at(ONE) in found.new.timing.turns
