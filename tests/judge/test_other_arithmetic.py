"""A study whose answer is about gradients in fewer bits says so, and names the runs that lost what they remembered."""

from pathlib import Path

from ddpbench.arm import Arm
from ddpbench.judge import cautions
from tests.judge.studies import judge, launches, paired
from tests.records import SHM, TRUTH, at, ddp, make_record

POWERSGD = Arm("ddp", 2, 1, "powersgd")
CAUTION = (
    "ddp 2 x 1, powersgd (other arithmetic): its gradients are rounded or approximated, so a difference in accuracy is "
    "not DDP's fault; to see DDP's own, name other --comms"
)


def test_the_answer_is_cautioned_where_its_arm_is_of_that_kind_and_not_where_another_is(tmp_path: Path) -> None:
    faster, slower = ({**TRUTH, at(POWERSGD): factor * TRUTH[at(SHM)]} for factor in (0.8, 1.2))

    assert CAUTION in cautions.find(judge(tmp_path / "faster", *launches(truth=faster)))
    others = cautions.find(judge(tmp_path / "slower", *launches(truth=slower)))
    assert [each for each in others if "rounded" in each] == []


def test_whole_runs_are_cautioned_too(tmp_path: Path) -> None:
    found = cautions.find(judge(tmp_path, make_record(), ddp(comm="fp16")))

    assert any(each.startswith("ddp 2 x 1, fp16 (other arithmetic): its gradients are rounded") for each in found)


def test_a_restarted_run_of_powersgd_is_named_and_one_of_another_comm_is_not(tmp_path: Path) -> None:
    said = "ddp 2 x 1, powersgd (other arithmetic), seed 0: was restarted, and what powersgd had not sent yet is in no"

    for comm, attempts, is_named in (("powersgd", 2, True), ("powersgd", 1, False), ("fp16", 2, False)):
        folder = tmp_path / f"{comm}-{attempts}"
        found = cautions.find(judge(folder, make_record(), ddp(comm=comm, attempts=attempts)))
        assert any(each.startswith(said) for each in found) == is_named


def test_a_study_without_it_says_nothing_of_it(tmp_path: Path) -> None:
    assert [each for each in cautions.find(judge(tmp_path, *paired([2.0, 2.05, 2.02]))) if "rounded" in each] == []
