"""Which arms a study has, in which order, on how many ranks."""

import pytest

from ddpbench.arm import Arm
from ddpbench.study import designs


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


def labels(*args: object) -> list[str]:
    return [arm.label for arm in designs.arms(*args)]  # type: ignore[arg-type]


def test_two_cores_run_two_baselines_ddp_and_its_control() -> None:
    assert labels([2], 2, 2, 0, ["gloo"]) == [
        "baseline, 1 thread",
        "baseline, 2 threads",
        "ddp 2 x 1, gloo",
        "ceiling 2 x 1 (no comm)",
    ]


def test_shared_memory_is_shown_beside_gloo_and_alone_gets_the_controls_of_a_larger_batch() -> None:
    arms = designs.arms([2], 2, 2, 0, ["gloo", "shm"])

    assert [arm.label for arm in arms][2:] == ["ddp 2 x 1, gloo", "ddp 2 x 1, shm", "ceiling 2 x 1 (no comm)"]
    assert [(arm.comm, batch) for arm, batch in designs.controls(arms, 256, 60_000) if arm.kind == "ddp"] == [
        ("shm", 512)
    ]


def test_the_one_worker_arm_is_always_there() -> None:
    assert labels([2, 4], 8, 8, 0, ["gloo"])[:4] == [
        "baseline, 1 thread",
        "baseline, 2 threads",
        "baseline, 4 threads",
        "baseline, 8 threads",
    ]


def test_one_gpu_shows_the_overhead_of_both_wrappers() -> None:
    assert labels([1], 8, 8, 1, ["nccl"]) == ["baseline, 8 threads", "data parallel, 8 threads", "ddp 1 x 8, nccl"]


def test_several_gpus_have_a_control() -> None:
    assert labels([2], 8, 8, 2, ["nccl"]) == [
        "baseline, 4 threads",
        "data parallel, 4 threads",
        "ddp 2 x 4, nccl",
        "ceiling 2 x 4 (no comm)",
    ]


def test_seeds_run_every_arm_once_and_none_always_first() -> None:
    arms = [designs.whole(arm, 256, 3) for arm in designs.arms([2], 2, 2, 0, ["gloo"])]
    runs = designs.interleave(arms, [0, 1, 2])

    assert sorted(runs, key=str) == sorted((arm.with_seed(seed) for seed in (0, 1, 2) for arm in arms), key=str)
    assert [job.seed for job in runs] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({runs[index].arm for index in (0, 4, 8)}) == 3


def test_the_default_batch_moves_to_the_nearest_one_that_divides() -> None:
    assert [designs.nearest_multiple(256, of) for of in (1, 2, 3, 6, 500)] == [256, 256, 255, 258, 500]


def test_controls_are_one_worker_at_the_rank_batch_and_both_arms_at_the_weak_batch() -> None:
    controls = designs.controls(designs.arms([2], 2, 2, 0, ["gloo"]), 256, 60_000)

    assert [(arm.label, batch) for arm, batch in controls] == [
        ("baseline, 1 thread", 128),
        ("ddp 2 x 1, gloo", 512),
        ("baseline, 2 threads", 512),
    ]
    assert designs.controls(designs.arms([1], 8, 8, 1, ["nccl"]), 256, 60_000) == []
    assert [batch for _, batch in designs.controls(designs.arms([2], 2, 2, 0, ["gloo"]), 256, 300)] == [128]


@pytest.mark.parametrize(
    ("step_s", "steps", "epochs"),
    [(0.01, 150, 2), (0.001, 234, 5), (10.0, 1, 2), (0.0064, 234, 3)],
)
def test_a_timed_run_is_short_and_never_longer_than_a_few_passes(step_s: float, steps: int, epochs: int) -> None:
    job = designs.timed(Arm("baseline", 1, 1, None), 256, lambda *_: step_s, 60_000)

    assert (job.steps, job.epochs) == (steps, epochs)


def test_shared_memory_is_compared_with_gloo_unless_a_sweep_has_no_time_for_it() -> None:
    assert designs.comms("shm", is_sweep=False) == ["gloo", "shm"]
    assert designs.comms("shm", is_sweep=True) == ["shm"]
    assert designs.comms("gloo", is_sweep=False) == ["gloo"]


def test_a_check_of_a_sweep_trains_as_many_samples_as_its_arm_did_at_the_nearest_batch() -> None:
    arms = designs.arms([2], 2, 2, 0, ["shm"])[:2]
    jobs = designs.sweep(arms, [64, 256], lambda _, batch: batch / 64_000, 60_000)
    near = {job.arm: job for job in jobs if job.global_batch == 256}
    checks = designs.checks(jobs, [192], [5, 6], 60_000)

    assert {(job.arm, job.seed) for job in checks} == {(arm, seed) for arm in arms for seed in (5, 6)}
    for job in checks:
        assert (job.global_batch, job.epochs, job.is_check) == (192, near[job.arm].epochs, True)
        assert abs((job.steps or 0) * 192 - (near[job.arm].steps or 0) * 256) <= 192
    assert [job.steps for job in designs.checks(jobs, [192], [5], 1_000)] == [5, 5], "at most one pass over the data"
    assert designs.checks(jobs, [], [5], 60_000) == []


def test_every_cause_of_lost_time_is_an_arm_of_a_launch() -> None:
    labels = [(turn.arm.label, turn.global_batch) for turn in designs.turns(2, 2, 2, ["gloo", "shm"], 256)]

    assert labels == [
        ("baseline, 1 thread", 256),
        ("baseline, 2 threads", 256),
        ("ddp 2 x 1, gloo", 256),
        ("ddp 2 x 1, shm", 256),
        ("ceiling 2 x 1 (no comm)", 256),
        ("ddp 2 x 1, nothing", 256),
        ("baseline, 1 thread", 128),
        ("ddp 2 x 1, shm", 512),
    ]


def test_four_ranks_of_eight_cores_have_two_threads_and_their_worker_too() -> None:
    arms = [turn.arm for turn in designs.turns(4, 8, 4, ["shm"], 256)]

    assert [(arm.world_size, arm.threads_per_rank) for arm in arms] == [
        *((1, 1), (1, 2), (1, 4), (1, 8)),
        *((4, 2), (4, 2), (4, 2)),
        *((1, 2), (4, 2)),
    ]
