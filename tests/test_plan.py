"""What launch.sh will do: which arms, in which order, on how many ranks."""

import pytest

from ddpbench import estimate, plan
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError


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
    assert plan.default_world_size(cores, gpus, batch) == size


def labels(*args: object) -> list[str]:
    return [arm.label for arm in plan.study_arms(*args)]  # type: ignore[arg-type]


def test_two_cores_run_two_baselines_ddp_and_its_control() -> None:
    assert labels([2], 2, 0, ["gloo"]) == [
        "baseline, 1 thread",
        "baseline, 2 threads",
        "ddp 2 x 1, gloo",
        "ceiling 2 x 1 (no comm)",
    ]


def test_shared_memory_is_shown_beside_gloo_and_alone_gets_the_controls_of_a_larger_batch() -> None:
    arms = plan.study_arms([2], 2, 0, ["gloo", "shm"])

    assert [arm.label for arm in arms][2:] == ["ddp 2 x 1, gloo", "ddp 2 x 1, shm", "ceiling 2 x 1 (no comm)"]
    assert [(arm.comm, batch) for arm, batch in plan.controls(arms, 256, 60_000) if arm.kind == "ddp"] == [("shm", 512)]


def test_the_one_worker_arm_is_always_there() -> None:
    assert labels([2, 4], 8, 0, ["gloo"])[:4] == [
        "baseline, 1 thread",
        "baseline, 2 threads",
        "baseline, 4 threads",
        "baseline, 8 threads",
    ]


def test_one_gpu_shows_the_overhead_of_both_wrappers() -> None:
    assert labels([1], 8, 1, ["nccl"]) == ["baseline, 8 threads", "data parallel, 8 threads", "ddp 1 x 8, nccl"]


def test_several_gpus_have_a_control() -> None:
    assert labels([2], 8, 2, ["nccl"]) == [
        "baseline, 4 threads",
        "data parallel, 4 threads",
        "ddp 2 x 4, nccl",
        "ceiling 2 x 4 (no comm)",
    ]


def test_seeds_run_every_arm_once_and_none_always_first() -> None:
    arms = [plan.Job(arm, 256, None, 3) for arm in plan.study_arms([2], 2, 0, ["gloo"])]
    runs = plan.interleave(arms, [0, 1, 2])

    assert sorted(runs, key=str) == sorted(((seed, arm) for seed in (0, 1, 2) for arm in arms), key=str)
    assert [seed for seed, _ in runs] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({runs[index][1] for index in (0, 4, 8)}) == 3


def test_numbers_are_read_in_order_without_repeats() -> None:
    assert plan.numbers("SEEDS", " 2 0  2 1", at_least=0) == [2, 0, 1]
    assert plan.numbers("WORLD_SIZES", "", at_least=1) == []


@pytest.mark.parametrize("text", ["x", "1.5", "0", "-1", "2,4"])
def test_other_than_whole_numbers_are_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match=f'WORLD_SIZES="{text}" must be whole numbers from 1 up'):
        plan.numbers("WORLD_SIZES", text, at_least=1)


def test_the_default_batch_moves_to_the_nearest_one_that_divides() -> None:
    assert [plan.nearest_multiple(256, of) for of in (1, 2, 3, 6, 500)] == [256, 256, 255, 258, 500]


def test_durations_read_as_people_say_them() -> None:
    assert (plan.minutes(42.4), plan.minutes(89), plan.minutes(170)) == ("42 s", "89 s", "3 min")


def test_controls_are_one_worker_at_the_rank_batch_and_both_arms_at_the_weak_batch() -> None:
    controls = plan.controls(plan.study_arms([2], 2, 0, ["gloo"]), 256, 60_000)

    assert [(arm.label, batch) for arm, batch in controls] == [
        ("baseline, 1 thread", 128),
        ("ddp 2 x 1, gloo", 512),
        ("baseline, 2 threads", 512),
    ]
    assert plan.controls(plan.study_arms([1], 8, 1, ["nccl"]), 256, 60_000) == []
    assert [batch for _, batch in plan.controls(plan.study_arms([2], 2, 0, ["gloo"]), 256, 300)] == [128]


@pytest.mark.parametrize(
    ("step_s", "steps", "epochs"),
    [(0.01, 150, 2), (0.001, 234, 5), (10.0, 1, 2), (0.0064, 234, 3)],
)
def test_a_timed_run_is_short_and_never_longer_than_a_few_passes(
    step_s: float, steps: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "step_s", lambda *_: step_s)
    job = plan.timed(plan.Arm("baseline", 1, 1, None), 256, TrainConfig(), 60_000)

    assert (job.steps, job.epochs) == (steps, epochs)


def test_a_job_is_told_to_the_scripts_by_flags() -> None:
    whole = plan.Job(plan.Arm("ddp", 2, 1, "none"), 256, None, 3)
    short = plan.Job(plan.Arm("data_parallel", 1, 2, None), 64, 10, 2)

    assert whole.flags(1) == "--seed 1 --global-batch 256 --epochs 3 --comm none"
    assert short.flags(0) == "--seed 0 --global-batch 64 --epochs 2 --steps 10 --data-parallel"
