"""How a study over several hosts spreads its ranks: the flag, the arms, and what is checked before anything starts."""

from pathlib import Path

import pytest

from ddpbench.arm import Arm
from ddpbench.errors import UserError
from ddpbench.study import commands, designs, options, preview
from ddpbench.study.designs import Resources
from ddpbench.study.draft import Draft
from ddpbench.study.layouts import Layout, read
from ddpbench.study.plan import Job
from ddpbench.turns import TurnArm
from tests.judge.studies import BOTH
from tests.study.test_draft import FakeInquiry

TWO_CORES = Resources(2, 2, 0)
EVERY = ["1x1", "1x2", "2x1", "2x2"]


def drafted(tmp_path: Path, *argv: str, hosts: int = 2, gpus: int = 0) -> tuple[Draft, FakeInquiry]:
    inquiry = FakeInquiry(gpus)
    words = ["--results", str(tmp_path), *argv]
    return Draft.make(options.read("comparison", words, {}, hosts), inquiry), inquiry  # type: ignore[arg-type]


def parallel(turns: list[TurnArm], global_batch: int) -> list[str]:
    """Return the names of the arms of several ranks that a user could choose at a batch."""
    choices = designs.choices(turns, global_batch)
    return [turn.label for turn in choices if turn.arm.kind == "ddp"]


def test_layouts_are_hosts_by_ranks_in_the_order_given() -> None:
    assert read(EVERY, 2) == [Layout(1, 1), Layout(1, 2), Layout(2, 1), Layout(2, 2)]
    assert read(["2x2,1x2"], 2) == [Layout(2, 2), Layout(1, 2)]
    assert read([], 1) == read([], 2) == []
    assert [str(layout) for layout in read(EVERY, 2)] == EVERY
    assert Layout(3, 4).size == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["3x1"], "--layouts 3x1 needs 3 hosts, and this job has 2; name no more"),
        (["0x1"], "--layouts 0x1: a layout is HOSTSxRANKS, both from 1 up, as in --layouts 1x2 2x2"),
        (["1x0"], "--layouts 1x0: a layout is HOSTSxRANKS"),
        (["2"], "--layouts 2: a layout is HOSTSxRANKS"),
        (["2x2x1"], "--layouts 2x2x1: a layout is HOSTSxRANKS"),
        (["-1x2"], "--layouts: expected at least one argument"),
        (["2x99999"], "--layouts 2x99999: a layout is HOSTSxRANKS"),
        (["1x2", "2x2", "1x2"], "--layouts 1x2 2x2 1x2: 1x2 is there twice; name each once"),
        (["1x2", "--world-sizes", "2"], "--layouts says how many ranks there are on each host, and so does"),
    ],
)
def test_layouts_that_a_job_cannot_have_are_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        options.read("comparison", ["--layouts", *words], {}, 2)

    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_one_host_has_no_layouts() -> None:
    with pytest.raises(UserError, match="--layouts is for several hosts, and this job has one; use --world-sizes 2 4"):
        options.read("speed", ["--layouts", "1x2"], {})


def test_memory_is_shared_inside_a_host_and_single_ranks_meet_over_sockets() -> None:
    assert designs.fitting(["gloo", "shm"], Layout(1, 2)) == ["gloo", "shm"]
    assert designs.fitting(["gloo", "shm"], Layout(2, 2)) == ["gloo", "shm+gloo"]
    assert designs.fitting(["gloo", "shm"], Layout(2, 1)) == ["gloo"]
    assert designs.fitting(["powersgd", "shm+gloo"], Layout(1, 4)) == ["powersgd", "shm"]
    assert designs.fitting(["nccl"], Layout(2, 4)) == ["nccl"]


def test_without_layouts_one_host_and_all_hosts_are_compared_and_one_rank_on_each(tmp_path: Path) -> None:
    (on_two, inquiry), (on_one, _) = drafted(tmp_path, "--world-sizes", "2"), drafted(tmp_path, hosts=1)

    assert parallel(on_two.plan.turns, 256) == [
        "ddp 2 x 1, gloo",
        "ddp 2 x 1, shm",
        "2 hosts x 2 x 1, gloo",
        "2 hosts x 2 x 1, shm+gloo",
        "2 hosts x 1 x 2, gloo",
    ]
    assert on_two.plan.request.layouts == [Layout(2, 2), Layout(2, 1)]
    assert on_two.plan.request.world_sizes == [2]
    assert inquiry.checked == [(256, 2), (256, 1)]
    assert on_one.plan.request.layouts == []
    assert {turn.arm.hosts for turn in on_one.plan.turns} == {1}


def test_every_layout_has_its_controls_its_worker_and_weak_scaling() -> None:
    across = [Layout(2, 2), Layout(2, 1)]
    turns = designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, 60_000, across=across)
    both, single = Arm("ddp", 4, 1, "none", 2), Arm("ddp", 2, 2, "none", 2)
    found = {(turn.arm, turn.global_batch) for turn in turns}

    for control in (both, single):
        assert {(control, 256), (Arm("ddp", *control_shape(control), "nothing", 2), 256)} <= found
    assert {(Arm("baseline", 1, 1, None), 64), (Arm("baseline", 1, 2, None), 128)} <= found, "workers at a rank's batch"
    weak = {(turn.label, turn.global_batch) for turn in turns if turn.global_batch > 256 and turn.arm.kind == "ddp"}
    assert weak == {("ddp 2 x 1, shm", 512), ("2 hosts x 2 x 1, shm+gloo", 1024), ("2 hosts x 1 x 2, gloo", 512)}
    assert len(turns) == len(set(turns))
    assert designs.ranks_of(turns) == 2, "on each host"
    assert turns[: len(own := designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, 60_000))][:6] == own[:6]


def control_shape(arm: Arm) -> tuple[int, int]:
    return arm.world_size, arm.threads_per_rank


def test_named_layouts_are_those_of_the_study_also_without_one_on_a_single_host(tmp_path: Path) -> None:
    every, _ = drafted(tmp_path, "--layouts", *EVERY)
    few, inquiry = drafted(tmp_path, "--layouts", "2x2")

    assert parallel(every.plan.turns, 256)[0] == "ddp 1 x 2, shm"
    assert (every.plan.request.world_sizes, len(every.plan.request.layouts)) == ([1, 2], 2)
    assert parallel(few.plan.turns, 256) == ["2 hosts x 2 x 1, gloo", "2 hosts x 2 x 1, shm+gloo"]
    assert {turn.arm.threads_per_rank for turn in few.plan.turns if turn.arm.kind == "baseline"} == {1, 2}
    assert inquiry.checked == [(256, 2)]
    assert "2 CPU cores on the first of 2 hosts" in next(iter(preview.describe(few, tmp_path)))
    words = commands.by_hand(Job(arm=BOTH, seed=0), few.options, tmp_path, resume=False)
    assert " ".join(words[:5]) == "torchrun --nnodes=2 --node-rank=K --master-addr=HOST_0 --nproc_per_node=2"


def test_a_batch_is_one_that_all_ranks_of_all_hosts_can_share(tmp_path: Path) -> None:
    moved, _ = drafted(tmp_path, "--layouts", "1x2", "3x2", hosts=3)

    assert moved.plan.request.settings.global_batch == 258
    with pytest.raises(UserError, match="--global-batch 256 does not divide over 6 ranks; use 252 or 258"):
        drafted(tmp_path, "--layouts", "1x2", "3x2", "--global-batch", "256", hosts=3)
    with pytest.raises(UserError, match="--global-batch 250 does not divide over 4 ranks"):
        drafted(tmp_path, "--layouts", "1x2", "2x1", "--global-batch", "250")  # all ranks of a launch check the task


def test_a_sweep_over_several_hosts_follows_one_comm_in_every_layout() -> None:
    turns = designs.sweep([2], TWO_CORES, "shm", [64, 256], [Layout(2, 2), Layout(2, 1)])

    assert parallel(turns, 64) == ["ddp 2 x 1, shm", "2 hosts x 2 x 1, shm+gloo", "2 hosts x 1 x 2, gloo"]
    assert {turn.global_batch for turn in turns} == {64, 256}


def test_a_whole_run_over_several_hosts_starts_its_ranks_on_each() -> None:
    assert Job(arm=Arm("ddp", 4, 1, "gloo", 2), seed=0).ranks == 2
    assert Job(arm=Arm("ddp", 4, 1, "gloo"), seed=0).ranks == 4


def test_another_layout_is_another_study(tmp_path: Path) -> None:
    one, other = (drafted(tmp_path, "--layouts", *words)[0].plan.request for words in (["1x2", "2x2"], ["1x2", "2x1"]))

    assert one.differences(other) == ["layouts 2x1, now 2x2"]
