"""Which arms take turns, on how many ranks, at which batches, and which runs follow in which order."""

from collections.abc import Sequence
from typing import Any

import pytest

from ddpbench.arm import Arm
from ddpbench.study import designs
from ddpbench.study.designs import Resources
from ddpbench.study.plan import Job, Plan, Request
from ddpbench.turns import Pair, TurnArm
from tests.records import SETTINGS

TWO_CORES, EIGHT_CORES = Resources(2, 2, 0), Resources(8, 4, 0)
TWO_GPUS = Resources(8, 8, 2)
NUM_TRAIN = 60_000


@pytest.mark.parametrize(
    ("cores", "gpus", "batch", "size"),
    [
        (2, 0, 256, 2),
        (4, 0, 256, 4),
        (8, 0, 256, 4),
        (6, 0, 256, 2),  # 3 would not divide the batch
        (6, 0, 255, 3),
        (5, 0, 256, 4),
        (1, 0, 256, 1),
        (2, 1, 256, 1),
        (8, 4, 256, 4),
        (64, 8, 256, 8),
    ],
)
def test_ranks_are_the_gpus_or_share_the_cores_out_evenly(cores: int, gpus: int, batch: int, size: int) -> None:
    assert designs.default_world_size(cores, gpus, batch) == size


def shape(turn: TurnArm) -> tuple[str, int, int, str | None, int]:
    arm = turn.arm
    return arm.kind, arm.world_size, arm.threads_per_rank, arm.comm, turn.global_batch


def test_every_cause_of_lost_time_is_an_arm_of_a_launch() -> None:
    turns = designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, NUM_TRAIN)

    assert [shape(turn) for turn in turns] == [
        ("baseline", 1, 1, None, 256),
        ("baseline", 1, 2, None, 256),
        ("ddp", 2, 1, "gloo", 256),
        ("ddp", 2, 1, "shm", 256),
        ("ddp", 2, 1, "none", 256),
        ("ddp", 2, 1, "nothing", 256),
        ("baseline", 1, 1, None, 128),
        ("ddp", 2, 1, "shm", 512),
        ("baseline", 1, 2, None, 512),
    ]
    assert designs.ranks_of(turns) == 2


def test_data_that_is_read_while_training_is_a_cause_with_arms_of_its_own() -> None:
    """What can be chosen reads its data. What explains trains on batches in memory, and so do the comms once more."""
    turns = designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, NUM_TRAIN, reads=True)

    assert [shape(turn) for turn in turns if not turn.replayed] == [
        ("baseline", 1, 1, None, 256),
        ("baseline", 1, 2, None, 256),
        ("ddp", 2, 1, "gloo", 256),
        ("ddp", 2, 1, "shm", 256),
        ("ddp", 2, 1, "shm", 512),
        ("baseline", 1, 2, None, 512),
    ]
    assert [shape(turn) for turn in turns if turn.replayed] == [
        ("baseline", 1, 1, None, 256),
        ("ddp", 2, 1, "gloo", 256),
        ("ddp", 2, 1, "shm", 256),
        ("ddp", 2, 1, "none", 256),
        ("ddp", 2, 1, "nothing", 256),
        ("baseline", 1, 1, None, 128),
    ]


def test_several_world_sizes_take_turns_in_one_launch() -> None:
    turns = designs.turns([2, 4], EIGHT_CORES, ["shm"], 256, NUM_TRAIN)
    alone = [shape(turn)[2:] for turn in turns if turn.arm.kind == "baseline"]
    weak = [shape(turn)[1:] for turn in turns if turn.global_batch > 256]

    assert alone[:4] == [(1, None, 256), (2, None, 256), (4, None, 256), (8, None, 256)]
    assert [each for each in alone if each[2] < 256] == [(4, None, 128), (2, None, 64)], "workers at the rank batch"
    assert weak == [(2, 4, "shm", 512), (1, 8, None, 512), (4, 2, "shm", 1024), (1, 8, None, 1024)]
    assert len(turns) == len(set(turns))
    assert designs.ranks_of(turns) == 4


def test_weak_scaling_needs_a_batch_that_the_data_has() -> None:
    assert max(turn.global_batch for turn in designs.turns([2], TWO_CORES, ["shm"], 256, 511)) == 256


def test_the_one_worker_arm_is_always_there() -> None:
    assert [arm.threads_per_rank for arm in designs.singles([2, 4], EIGHT_CORES)] == [1, 2, 4, 8]


def test_one_rank_has_nobody_to_communicate_with() -> None:
    turns = designs.turns([1], TWO_CORES, ["gloo", "shm"], 256, NUM_TRAIN)

    assert [shape(turn) for turn in turns if turn.arm.kind == "ddp"] == [("ddp", 1, 2, "shm", 256)]
    assert {turn.global_batch for turn in turns} == {256}


def test_on_gpus_there_is_one_thread_count_and_data_parallel() -> None:
    turns = designs.turns([2], TWO_GPUS, ["nccl"], 256, NUM_TRAIN)

    assert {turn.arm.threads_per_rank for turn in turns} == {4}
    assert [turn.arm.kind for turn in turns[:2]] == ["baseline", "data_parallel"]
    assert [turn.arm.comm for turn in turns if turn.arm.kind == "ddp"] == ["nccl", "none", "nothing", "nccl"]


def test_a_compiled_network_stands_beside_the_single_process_with_the_most_threads_and_trains_whole_runs() -> None:
    turns = designs.with_compiled(designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, NUM_TRAIN))

    assert [shape(turn) for turn in turns[:4]] == [
        ("baseline", 1, 1, None, 256),
        ("baseline", 1, 2, None, 256),
        ("compiled", 1, 2, None, 256),
        ("ddp", 2, 1, "gloo", 256),
    ]
    assert [turn.arm.kind for turn in turns].count("compiled") == 1
    jobs = designs.runs(plan_of(turns), [pair_of(turns, 0, 3)], is_more=False)
    assert [job.arm.kind for job in jobs[:3]] == ["baseline", "ddp", "compiled"]
    assert [arm.kind for arm in designs.expected_arms(turns)] == ["baseline", "ddp", "compiled"]


def test_a_sweep_has_single_processes_and_the_fastest_comm_at_every_batch() -> None:
    turns = designs.sweep([2], TWO_CORES, "shm", [64, 256])

    assert [shape(turn)[2:] for turn in turns] == [
        (thread, comm, batch) for batch in (64, 256) for thread, comm in ((1, None), (2, None), (1, "shm"))
    ]


def test_shared_memory_is_compared_with_gloo() -> None:
    assert designs.comms("shm") == ["gloo", "shm"]
    assert designs.comms("gloo") == ["gloo"]


def test_named_comms_are_compared_in_one_order_whatever_the_fastest_last_and_other_arithmetic_first() -> None:
    assert designs.comms("shm", ["shm", "powersgd", "gloo"]) == ["powersgd", "gloo", "shm"]
    assert designs.comms("shm", ["gloo", "fp16", "bf16"]) == ["bf16", "fp16", "gloo"]
    assert designs.comms("nccl", ["fp16", "nccl", "gloo"]) == ["fp16", "gloo", "nccl"]
    assert designs.comms("nccl", ["fp16"]) == ["fp16"]


def pair_of(turns: list[TurnArm], reference: int, parallel: int) -> Pair:
    return Pair(turns[parallel], turns[reference], 0.1, 0.1, 1.0, 0.9, 1.1, "no_difference", is_known=True, enough=0.03)


def plan_of(turns: list[TurnArm], design: Any = "comparison", jobs: Sequence[Job] = ()) -> Plan:
    request = Request(design=design, seeds=[3, 1], world_sizes=[2], batches=[], settings=SETTINGS, injected=None)
    return Plan(request=request, turns=turns, jobs=[*jobs])


def test_the_arms_that_the_launches_choose_train_whole_runs() -> None:
    cpu = designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, NUM_TRAIN)
    gpu = designs.turns([2], TWO_GPUS, ["nccl"], 256, NUM_TRAIN)
    on_cpu = designs.runs(plan_of(cpu), [pair_of(cpu, 0, 2)], is_more=False)
    on_gpu = designs.runs(plan_of(gpu), [pair_of(gpu, 0, 2)], is_more=False)

    assert on_cpu == designs.interleave([cpu[0].arm, cpu[2].arm], [3, 1])
    assert [job.arm.kind for job in on_gpu[:3]] == ["baseline", "ddp", "data_parallel"]
    assert designs.runs(plan_of(cpu, "speed"), [pair_of(cpu, 0, 2)], is_more=True) == []


def test_more_adds_two_seeds_to_the_arms_that_have_runs() -> None:
    turns = designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, NUM_TRAIN)
    before = designs.runs(plan_of(turns), [pair_of(turns, 0, 2)], is_more=False)
    after = designs.runs(plan_of(turns, jobs=before), [pair_of(turns, 0, 2)], is_more=True)

    assert after[: len(before)] == before, "what is there is kept"
    assert [(job.arm, job.seed) for job in after[len(before) :]] == [
        *((turns[0].arm, 4), (turns[2].arm, 4)),
        *((turns[2].arm, 5), (turns[0].arm, 5)),
    ]


def test_an_arm_that_is_the_fastest_only_after_more_launches_trains_with_the_old_seeds_too() -> None:
    """Otherwise the answer would be about an arm without whole runs."""
    turns = designs.turns([2], TWO_CORES, ["gloo", "shm"], 256, NUM_TRAIN)
    before = designs.runs(plan_of(turns), [pair_of(turns, 0, 2)], is_more=False)
    after = designs.runs(plan_of(turns, jobs=before), [pair_of(turns, 0, 3)], is_more=True)

    assert after[: len(before)] == before, "what is there is kept"
    assert len(after) == len(set(after))
    seeds = {arm: {job.seed for job in after if job.arm == arm} for arm in (turns[0].arm, turns[2].arm, turns[3].arm)}
    assert seeds == {arm: {3, 1, 4, 5} for arm in seeds}
    assert len(after) == 3 * 4


def test_the_expected_arms_are_all_cores_and_the_fastest_comm_of_the_most_ranks() -> None:
    turns = designs.turns([2, 4], EIGHT_CORES, ["gloo", "shm"], 256, NUM_TRAIN)

    assert designs.expected_arms(turns) == [Arm("baseline", 1, 8, None), Arm("ddp", 4, 2, "shm")]


def test_seeds_run_every_arm_once_and_none_always_first() -> None:
    arms = [turn.arm for turn in designs.turns([2], TWO_CORES, ["gloo"], 256, NUM_TRAIN)[:3]]
    jobs = designs.interleave(arms, [0, 1, 2])

    assert {(job.arm, job.seed) for job in jobs} == {(arm, seed) for seed in (0, 1, 2) for arm in arms}
    assert [job.seed for job in jobs] == [0] * 3 + [1] * 3 + [2] * 3
    assert len({jobs[index].arm for index in (0, 3, 6)}) == 3


def test_the_default_batch_moves_to_the_nearest_one_that_divides() -> None:
    assert [designs.nearest_multiple(256, of) for of in (1, 2, 3, 6, 500)] == [256, 256, 255, 258, 500]
