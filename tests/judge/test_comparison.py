"""Two arms against each other: whole runs, cost, agreement of turns with runs, and a study against an older one."""

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.errors import GateFailedError, UserError
from ddpbench.findings import Check
from ddpbench.judge import arms, cautions, gates
from ddpbench.judge.change import between, change
from ddpbench.judge.comparison import Comparison, WholeRun
from ddpbench.judge.epochs import run_s
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria
from ddpbench.record import Record
from tests.judge.studies import STEPS, complete, ended_after, faster, judge, launches, whole_runs
from tests.records import MACHINE, SETTINGS, SHM, TWO, at, ddp, make_launch, make_record


def compared(judgement: Judgement) -> Comparison:
    assert judgement.comparison is not None
    return judgement.comparison


def test_a_whole_run_has_its_start_and_its_evaluations(tmp_path: Path) -> None:
    """Steps are faster by a quarter, and three epochs with a later start take longer all the same."""
    step_s = 0.012 / 1.25
    runs = whole_runs(parallel_step_s=step_s, startup_s=(3.0, 7.0))
    found = compared(judge(tmp_path, *launches(3, faster(1.25), spread=0.001), *runs))
    assert found.whole_run is not None
    whole = found.whole_run

    assert found.outcome == "faster"
    assert whole.reference_s.value == pytest.approx(3 + 3 * (STEPS * 0.012 + 0.5))
    assert whole.parallel_s.value == pytest.approx(7 + 3 * (STEPS * step_s + 0.5), rel=0.01)
    assert whole.times_as_long.value > 1
    assert (whole.epochs, whole.later_start_s) == (3, pytest.approx(4))
    # 4 s are made up for by 2.808 s x (1 - 1 / 1.25) = 0.5616 s in every epoch.
    assert whole.turning.epochs == pytest.approx(4 / 0.5616, rel=0.01)
    assert whole.turning.least < whole.turning.epochs < whole.turning.most < math.inf


@pytest.mark.parametrize(
    ("times", "spread", "least", "most"), [(0.8, 0.001, math.inf, math.inf), (1.02, 0.03, 1.0, math.inf)]
)
def test_what_is_not_surely_faster_may_never_be_ahead(
    times: float, spread: float, least: float, most: float, tmp_path: Path
) -> None:
    found = compared(judge(tmp_path, *launches(3, faster(times), spread=spread), *whole_runs()))
    assert found.whole_run is not None

    assert found.whole_run.turning.least >= least
    assert found.whole_run.turning.most == most


def test_a_later_start_that_is_none_is_made_up_for_at_once(tmp_path: Path) -> None:
    runs = whole_runs(startup_s=(3.0, 3.0))
    found = compared(judge(tmp_path, *launches(3, faster(1.25), spread=0.001), *runs))
    assert found.whole_run is not None

    assert found.whole_run.turning.epochs == 0


@pytest.mark.parametrize("name", ["resumed", "suspended"])
def test_an_epoch_that_was_disturbed_decides_nothing_about_a_whole_run(name: str, tmp_path: Path) -> None:
    """The second epoch of one run stands still for ten minutes in training, and for ten in evaluation."""

    def whole(folder: str, runs: list[Record]) -> WholeRun:
        found = compared(judge(tmp_path / folder, *launches(3, faster(1.25), spread=0.001), *runs)).whole_run
        assert found is not None
        return found

    first, *others = whole_runs()
    usual = first.epochs[1]
    stood_still = replace(usual, train_s=usual.train_s + 600, eval_s=usual.eval_s + 600, **{name: True})
    disturbed = replace(first, epochs=[first.epochs[0], stood_still, first.epochs[2]])

    assert run_s(disturbed) == pytest.approx(run_s(first))
    assert whole("still", [disturbed, *others]) == whole("usual", [first, *others])


def test_a_whole_run_is_told_by_the_seeds_that_both_arms_have(tmp_path: Path) -> None:
    """A fourth run of the single process started late, evaluated slowly, and learnt more."""
    runs = whole_runs()
    one, other = (
        compared(judge(tmp_path / name, *launches(3, faster(1.25), spread=0.001), *runs, *more))
        for name, more in (
            ("paired", []),
            ("alone", [make_record(seed=9, minute=59, startup_s=50.0, accuracy=0.5, train_s=(99, 99, 99))]),
        )
    )

    assert len(other.reference.runs) == 4
    assert other.whole_run == one.whole_run
    assert other.metrics == one.metrics == (pytest.approx(99), pytest.approx(99))


def test_runs_until_a_target_that_differ_in_length_have_no_number_of_epochs(tmp_path: Path) -> None:
    runs = [ended_after(run, 3 if run.kind == "ddp" else 2 + run.seed % 2) for run in whole_runs()]
    equal = [ended_after(run, 2) for run in whole_runs()]
    differ = compared(judge(tmp_path / "differ", *runs)).whole_run
    alike = compared(judge(tmp_path / "alike", *equal)).whole_run
    assert differ is not None
    assert alike is not None

    assert (differ.epochs, differ.lengths, differ.turning) == (None, ((2, 3), (3, 3)), None)
    assert alike.epochs == 2
    assert alike.turning is not None


def test_runs_are_paired_by_seed_and_a_seed_of_one_arm_is_in_no_pair(tmp_path: Path) -> None:
    runs = [
        make_record(seed=0, train_s=(9, 4, 4)),
        make_record(seed=9, train_s=(9, 8, 8)),
        ddp(seed=0, train_s=(9, 2, 2)),
    ]
    found = compared(judge(tmp_path, *runs))

    assert found.speed is not None
    assert (found.speed.value, found.speed.n) == (pytest.approx(2), 1)
    assert found.learnt is not None
    assert found.learnt.difference.n == 1


@pytest.mark.parametrize(
    ("times", "dearer", "verdict"), [(1.25, 0.8, "pays"), (0.8, 1.25, "does_not_pay"), (1.0, 1.0, "cannot_tell")]
)
def test_an_epoch_has_a_price(times: float, dearer: float, verdict: str, tmp_path: Path) -> None:
    """Two threads of one process take the cores of two workers, so both cost as much an hour."""
    criteria = Criteria(price_per_hour=0.5)
    measured = [*launches(3, faster(times), spread=0.01), *whole_runs()]
    found = compared(judge(tmp_path, *measured, criteria=criteria)).cost
    assert found is not None

    assert found.reference == pytest.approx(STEPS * 0.012 / 3600 * 0.5 * 2)
    assert found.times_as_dear.value == pytest.approx(dearer, rel=0.01)
    assert found.verdict == verdict


@pytest.mark.parametrize("gpus", [1, 4])
def test_data_parallel_pays_for_every_gpu(gpus: int, tmp_path: Path) -> None:
    wrapped = Arm("data_parallel", 1, 2, None)
    machine = replace(MACHINE, gpu_models=["Test GPU"] * gpus)
    more = {"settings": replace(SETTINGS, device="cuda"), "environment": machine}
    runs = [make_record(**more), make_record("data_parallel", minute=1, **more)]
    made = [make_launch(number, truth={at(TWO): 0.012, at(wrapped): 0.006}, **more) for number in range(3)]
    found = compared(judge(tmp_path, *made, *runs, criteria=Criteria(price_per_hour=1.0))).cost
    assert found is not None

    assert found.times_as_dear.value == pytest.approx(gpus / 2)


def test_without_a_price_nothing_pays(tmp_path: Path) -> None:
    assert compared(judge(tmp_path, *complete())).cost is None


def test_turns_and_runs_that_agree_need_no_caution_and_others_get_one(tmp_path: Path) -> None:
    alike = judge(tmp_path / "alike", *launches(5, spread=0.005), *whole_runs())
    apart = judge(tmp_path / "apart", *launches(5, spread=0.005), *whole_runs(parallel_step_s=0.013))

    assert [line for line in cautions.find(alike) if "disagree" in line] == []
    assert [line for line in cautions.find(apart) if "disagree" in line] == [
        "the speeds disagree (0.80 in turns, 0.92 in whole runs); believe neither before you know why: "
        "run the study again"
    ]
    assert compared(judge(tmp_path / "one", *launches(5), *whole_runs(1))).agreement is not None


def test_what_the_check_found_counts_for_arms_that_share_a_batch(tmp_path: Path) -> None:
    checked = Check(equal_gradient="batch_norm", findings=[], took_s=1.0)
    one = at(Arm("ddp", 1, 2, "shm"))
    alone = {at(TWO): 0.012, one: 0.011}
    shared = judge(tmp_path / "two", make_launch(0, check=checked), make_launch(1))
    single = judge(tmp_path / "one", make_launch(0, truth=alone, check=checked))

    assert compared(shared).equal_gradient == "batch_norm"
    assert compared(judge(tmp_path / "none", *launches(2))).equal_gradient is None
    assert compared(single).parallel.turn == one
    assert compared(single).equal_gradient is None


def test_few_launches_and_a_host_that_takes_time_away_are_said(tmp_path: Path) -> None:
    found = cautions.find(judge(tmp_path, make_launch(0, stolen_s=[0.5] * 9)))

    assert "speed is from 1 of at least 5 launches; bash launch.sh --more adds some" in found
    assert "the host took 25% of the CPU time away during the launches; use a quieter machine" in found


def test_arms_that_learn_the_same_are_equal_to_the_bit(tmp_path: Path) -> None:
    runs = [ddp(seed=seed, comm=comm) for seed in range(2) for comm in ("gloo", "shm")]
    gloo, shm = judge(tmp_path / "a", *runs).results
    other = judge(tmp_path / "b", *runs[:-1], ddp(seed=1, comm="shm", accuracy=0.98)).results[1]

    assert arms.equal_to_the_bit(gloo, shm)
    assert not arms.equal_to_the_bit(gloo, other)


def test_a_study_that_became_slower_is_told_from_one_that_did_not(tmp_path: Path) -> None:
    old = judge(tmp_path / "old", *launches(5, spread=0.005))
    same = judge(tmp_path / "same", *launches(4, spread=0.006))
    slower = judge(tmp_path / "slower", *launches(5, {**faster(0.8), at(SHM): 0.018}, spread=0.005))

    assert change(old, same).outcome == "no_difference"
    found = change(old, slower)
    assert found.outcome == "slower"
    assert found.arms[0].turn == at(SHM)
    assert found.arms[0].times_as_fast.value == pytest.approx(15 / 18)
    assert next(arm for arm in found.arms if arm.turn == at(TWO)).outcome == "no_difference"
    assert change(slower, old).outcome == "faster"


def test_studies_of_other_settings_are_not_compared(tmp_path: Path) -> None:
    old = judge(tmp_path / "old", make_launch(0))
    new = judge(tmp_path / "new", make_launch(0, settings=replace(SETTINGS, lr=0.5)))
    with pytest.raises(UserError, match=r"old and new: lr differs \(0.01, 0.5\); compare equal studies"):
        change(old, new)


def options(**values: object) -> Namespace:
    parser = ArgumentParser()
    gates.add_flags(parser)
    return Namespace(**(vars(parser.parse_args([])) | values))


def test_a_gate_fails_where_a_step_certainly_takes_longer_than_before(tmp_path: Path) -> None:
    old = judge(tmp_path / "old", *launches(5, spread=0.005))
    slower = judge(tmp_path / "slower", *launches(5, {**faster(0.8), at(SHM): 0.018}, spread=0.005))
    both = [old, slower]
    changed = between(both, is_required=True)
    gate = options(fail_if_slower=True)

    with (
        pytest.raises(GateFailedError, match=r"gate failed: a step takes 1\.20 times as long as before"),
        gates.enforced(both, changed, gate),
    ):
        pass
    with gates.enforced(both[::-1], between(both[::-1], is_required=True), gate):
        pass
    with gates.enforced(both, changed, options()):
        pass


def test_a_change_needs_two_studies_of_equal_settings(tmp_path: Path) -> None:
    old = judge(tmp_path / "old", make_launch(0))
    other = judge(tmp_path / "other", make_launch(0, settings=replace(SETTINGS, lr=0.5)))

    assert between([old, other], is_required=False) is None
    assert between([old], is_required=False) is None
    with pytest.raises(UserError, match="needs two studies"):
        between([old], is_required=True)
    with pytest.raises(UserError, match="lr differs"):
        between([old, other], is_required=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"margin_speed": "x"}, "--margin-speed must be between 0.1% and 100%, as in 3%; got 'x'"),
        ({"margin_speed": "0%"}, "--margin-speed must be between 0.1% and 100%, as in 3%; got '0%'"),
        ({"margin": 100.0}, "--margin must be between 0 and 100, got 100"),
        ({"price_per_hour": "0"}, "--price-per-hour must be above 0 and at most 1,000,000, as in 1.20; got '0'"),
        ({"price_per_hour": "nan"}, "--price-per-hour must be above 0 and at most 1,000,000, as in 1.20; got 'nan'"),
        ({"price_per_hour": "1e9"}, "--price-per-hour must be above 0 and at most 1,000,000, as in 1.20; got '1e9'"),
    ],
)
def test_what_matters_is_a_number_that_can_matter(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as refused:
        gates.criteria(options(**values))  # type: ignore[arg-type]

    assert str(refused.value) == message
    assert gates.criteria(options(margin_speed="2.5%")).speed == pytest.approx(0.025)  # type: ignore[arg-type]
