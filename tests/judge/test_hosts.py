"""Several hosts: what they bring over one, which of them is slower or another machine, and what may be compared."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ddpbench.arm import Arm, arm_of
from ddpbench.errors import UserError
from ddpbench.judge import cautions, study
from ddpbench.judge.hosts import others
from ddpbench.judge.judgement import Judgement
from ddpbench.record import read_record
from ddpbench.turns import Launch, read_launch
from tests.judge.studies import BOTH, FLAT, SINGLES, judge, launches, over_hosts
from tests.records import BATCH, MACHINE, ONE, SHM, TRUTH, at, ddp, make_record, put

OTHER = replace(MACHINE, cpu_model="Other CPU", cores=4, commit="1" * 12, load_1m=9.0)


def about_hosts(judgement: Judgement) -> list[cautions.Caution]:
    return [each for each in cautions.collect(judgement) if each.text.startswith("host ")]


def test_an_arm_says_on_how_many_hosts_it_is_and_one_host_says_nothing() -> None:
    assert [arm.label for arm in (SHM, SINGLES, BOTH)] == [
        "ddp 2 x 1, shm",
        "2 hosts x 1 x 2, gloo",
        "2 hosts x 2 x 1, shm+gloo",
    ]
    controls = [replace(BOTH, comm=comm).label for comm in ("none", "nothing", "powersgd")]
    assert controls == [
        "2 hosts x 2 x 1, no communication",
        "2 hosts x 2 x 1, nothing exchanged",
        "2 hosts x 2 x 1, powersgd (other arithmetic)",
    ]
    assert [arm.slug for arm in (SHM, BOTH)] == ["ddp-2x1-shm", "ddp-2x2x1-shm+gloo"]
    assert BOTH.ranks_per_host == 2
    assert replace(BOTH, hosts=1) != BOTH


def test_hosts_are_compared_with_one_of_them_and_with_one_worker(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *over_hosts())
    rows = {row.turn: row for row in judgement.scaling}

    def found(arm: Arm, batch: int = BATCH) -> tuple[str, float, float, float]:
        row = rows[at(arm, batch)]
        assert row.over_one_host is not None
        assert row.host_efficiency is not None
        assert row.efficiency is not None
        shares = (row.over_one_host.value, row.host_efficiency.value, row.efficiency.value)
        return row.scaling, *(round(share, 3) for share in shares)  # type: ignore[return-value]  # three of them

    assert found(BOTH) == ("strong", 1.5, 0.75, 0.5)  # 15 ms over shm, 20 ms of one worker
    assert found(FLAT) == ("strong", 1.25, 0.625, 0.417)
    assert found(SINGLES) == ("strong", 1.6, 0.8, 0.8)  # one rank of a host is the worker itself
    assert found(BOTH, 4 * BATCH) == ("weak", 1.786, 0.893, 0.714)  # 25 ms of one host for half of its batch
    assert found(SINGLES, 2 * BATCH) == ("weak", 1.778, 0.889, 0.889)
    assert rows[at(SHM)].over_one_host is None
    assert judgement.parallel is not None
    assert judgement.reference is not None
    assert (judgement.parallel.arm, judgement.reference.arm.hosts) == (SINGLES, 1)
    assert judgement.breakdown is not None
    assert judgement.breakdown["exchange"] is not None, "hosts have controls of their own"


def test_a_host_that_was_not_measured_alone_is_compared_with_nothing(tmp_path: Path) -> None:
    truth = {at(ONE): 0.020, at(BOTH): 0.010}
    made = [replace(each, hosts=2, others=[MACHINE]) for each in launches(truth=truth)]
    (row,) = (row for row in judge(tmp_path, *made).scaling if row.turn.arm == BOTH)

    assert row.efficiency is not None
    assert row.over_one_host is row.host_efficiency is None


@pytest.mark.parametrize("times", [1.2, 1.05, 0.8])
def test_a_host_that_is_not_as_fast_is_found_and_named(times: float, tmp_path: Path) -> None:
    judgement = judge(tmp_path, *over_hosts(times_as_long=times))
    (host,) = others(judgement.study)
    (caution,) = about_hosts(judgement)

    assert host.times_as_long is not None
    assert host.times_as_long.value == pytest.approx(times, rel=0.01)
    assert caution.text.startswith(f"host 1 takes {host.times_as_long.value:.2f}x ({host.times_as_long.low:.2f} - ")
    assert f"look at what else runs on host {1 if times > 1 else 0}" in caution.text
    assert caution.touches, "the answer is about both hosts"


@pytest.mark.parametrize(
    ("count", "times", "wobble"),
    [
        (5, 1.0, 0.01),
        (5, 1.02, 0.002),  # shown, and surely smaller than what matters
        (5, 1.025, 0.008),  # shown, and probably smaller
        (5, 1.1, 0.1),  # not shown
        (1, 1.5, 0.0),  # one launch has no interval
    ],
)
def test_equal_hosts_and_differences_that_are_not_shown_are_not_named(
    count: int, times: float, wobble: float, tmp_path: Path
) -> None:
    judgement = judge(tmp_path, *over_hosts(count, times, wobble=wobble))

    assert len(others(judgement.study)) == 1
    assert about_hosts(judgement) == []


def test_an_unlike_host_does_not_touch_an_answer_about_one_host(tmp_path: Path) -> None:
    made = []
    for launch in over_hosts(times_as_long=1.5):
        visits = [each for each in launch.visits if each.turn.arm.hosts == 1]
        made.append(replace(launch, visits=visits, order=[[*range(len(visits))]] * len(launch.order)))
    (caution,) = about_hosts(judge(tmp_path, *made))

    assert not caution.touches


def test_a_host_that_is_another_machine_is_named_with_what_differs(tmp_path: Path) -> None:
    (caution,) = about_hosts(judge(tmp_path, *over_hosts(other=OTHER)))

    assert caution.text == (
        "host 1 is another machine than host 0: cpu_model differs (Test CPU, Other CPU); cores differs (2, 4); "
        "use equal ones"
    )


def test_launches_on_other_hosts_are_not_judged_together(tmp_path: Path) -> None:
    *before, newest = over_hosts(3)
    mixed = [*before, replace(newest, others=[OTHER])]
    (tmp_path / "alone").mkdir()
    alone = put(tmp_path / "alone", *before, launches(3, TRUTH)[2])
    judgement = judge(tmp_path / "mixed", *mixed)

    assert len(judgement.study.launches) == 1
    assert "host 1.cpu_model differs (Test CPU, Other CPU)" in judgement.study.left_out[0]
    with pytest.raises(UserError, match=r"unfair comparison: hosts differs \(2, 1\)"):
        study.load(alone)


def test_runs_of_one_host_and_of_several_are_judged_together(tmp_path: Path) -> None:
    both = ddp(world_size=4, hosts=2, others=[OTHER], minute=1)
    judgement = judge(tmp_path, make_record(), both)

    assert arm_of(both).label == "2 hosts x 2 x 1, gloo"
    assert [result.arm.hosts for result in judgement.results] == [1, 2]
    assert judgement.study.left_out == []
    assert [host.machine for host in others(judgement.study)] == [OTHER]
    assert len(about_hosts(judgement)) == 1


def test_threads_are_counted_host_by_host(tmp_path: Path) -> None:
    assert not [each for each in cautions.find(judge(tmp_path / "1", *over_hosts())) if "threads on" in each]
    crowded = ddp(world_size=6, hosts=2, others=[MACHINE], minute=1)
    found = cautions.find(judge(tmp_path / "2", make_record(), crowded))

    assert "3 ranks of 1 thread: 3 threads on 2 cores; ranks take turns; use fewer" in found


@pytest.mark.parametrize(
    "changes",
    [{"hosts": 2}, {"others": [MACHINE]}, {"hosts": 0}, {"hosts": 3, "world_size": 4, "others": [MACHINE, MACHINE]}],
)
def test_hosts_that_no_run_has_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    (path,) = put(tmp_path, ddp(**changes))
    with pytest.raises(UserError, match="hosts holds a value that no run produces"):
        read_record(path)


@pytest.mark.parametrize(
    ("field", "launch"),
    [
        ("hosts", replace(over_hosts(1)[0], hosts=3)),
        (r"visits\[1\].turn", launches(1, {at(ONE): 0.020, at(BOTH): 0.010})[0]),  # an arm on more hosts than it has
        (r"visits\[0\].turn", launches(1, {at(replace(BOTH, world_size=3)): 0.020})[0]),
    ],
)
def test_hosts_that_no_launch_has_are_refused(field: str, launch: Launch, tmp_path: Path) -> None:
    (path,) = put(tmp_path, launch)
    with pytest.raises(UserError, match=f"{field} holds a value that no launch produces"):
        read_launch(path)


def test_a_row_of_hosts_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (launch,) = over_hosts(1)
    first, *rest = launch.visits
    assert first.hosts_s is not None
    short = replace(first, hosts_s=[row[:1] for row in first.hosts_s])
    (path,) = put(tmp_path, replace(launch, visits=[short, *rest]))
    with pytest.raises(UserError, match=r"visits\[0\].hosts_s holds a value that no launch produces"):
        read_launch(path)
