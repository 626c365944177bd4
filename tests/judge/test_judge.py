"""Which runs are judged together, what is divided by what, and how the report states it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from msgspec.structs import replace

from ddpbench.errors import UserError
from ddpbench.judge import cautions, epochs, fairness, study
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.judgement import Judgement
from ddpbench.record import Record
from ddpbench.show import answer, charts, report
from ddpbench.turns import FIRST_LOOK
from tests.conftest import PROJECT
from tests.judge.studies import STEPS, complete, ended_after, judge, launches, two_arms
from tests.records import MACHINE, SETTINGS, ddp, make_launch, make_record, put

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_runs_that_reached_a_target_at_different_times_are_judged_whole(tmp_path: Path) -> None:
    """One arm may need an epoch more. Seconds per epoch are compared, and nothing is left out."""
    judgement = judge(tmp_path, *(ended_after(record, 2 if record.kind == "ddp" else 3) for record in two_arms()))

    assert judgement.study.left_out == []
    assert judgement.parallel is not None
    assert judgement.parallel.speed is not None
    assert [chart.slug for chart in charts.build(judgement) if chart.png]


@pytest.mark.slow
def test_runs_of_one_arm_that_differ_in_length_are_drawn_and_judged(tmp_path: Path) -> None:
    made = [ended_after(record, 3 if record.seed else 2) for record in two_arms()]
    judgement = judge(tmp_path, *made[:-1], replace(made[-1], seed=7))
    drawn = [*charts.build(judgement), *charts.build_originals(judgement)]
    pictures = {chart.slug: chart for chart in drawn if chart.png}
    axes = pictures["Loss-parallel-True"].figure.axes[0]

    assert "the mean ends with the shortest" in pictures["learning"].conditions
    assert "the mean ends with the shortest" in pictures["Loss-parallel-False"].conditions
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [4, 4, 6, 6]  # two short ones: a run, and the mean
    assert axes.get_xlim() == (0, 3)
    assert any("runs end when they reach 98%" in caution for caution in cautions.find(judgement))


def test_a_run_that_missed_its_target_or_was_too_quick_to_warm_up_is_named(tmp_path: Path) -> None:
    quick = ended_after(make_record(), 1)
    judgement = judge(tmp_path, quick, ended_after(ddp(), 3, reached=False))
    found = " ".join(cautions.find(judgement))

    assert "baseline, 2 threads, seed 0: only its first epoch counts, with its warm-up" in found
    assert "ddp 2 x 1, gloo, seed 0: did not reach 98% in 3 epochs" in found


@pytest.mark.parametrize("name", ["resumed", "suspended"])
def test_an_epoch_that_was_interrupted_is_not_timed(name: str, tmp_path: Path) -> None:
    run = ddp(train_s=(9, 60, 3))
    epochs = [replace(each, eval_s=30.0, **{name: True}) if each.epoch == 2 else each for each in run.epochs]
    judgement = judge(tmp_path, make_record(), replace(run, epochs=epochs))
    drawn = next(chart for chart in charts.build(judgement) if chart.slug == "learning")

    assert parallel_of(judgement).step_s.value == pytest.approx(3 / STEPS)
    assert "interrupted epochs are drawn as long as the others" in drawn.conditions
    assert max(x for line in drawn.figure.axes[1].lines for x in line.get_xdata()) < 21  # with 3 s of start-up
    caution = "ddp 2 x 1, gloo, seed 0: was suspended for a while in epoch 2, which is not timed"
    assert (caution in cautions.find(judgement)) == (name == "suspended")


def report_of(judgement: Judgement) -> str:
    return report.format_report(judgement, answer.write(judgement))


def parallel_of(judgement: Judgement) -> ArmResult:
    assert judgement.parallel is not None
    return judgement.parallel


def test_the_reference_is_the_best_single_process(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *two_arms())

    assert judgement.reference is not None
    assert judgement.reference.arm.label == "baseline, 2 threads"
    assert [result.arm.label for result in judgement.results] == [
        "baseline, 1 thread",
        "baseline, 2 threads",
        "ddp 2 x 1, gloo",
        "2 x 1, no communication",
    ]


def test_speed_is_against_the_reference_and_efficiency_against_one_worker(tmp_path: Path) -> None:
    parallel = parallel_of(judge(tmp_path, *two_arms(seeds=1)))

    assert parallel.arm.label == "ddp 2 x 1, gloo"
    assert parallel.speed is not None
    assert parallel.speed.value == pytest.approx(4 / 5)
    assert parallel.efficiency is not None
    assert parallel.efficiency.value == pytest.approx(6 / 5 / 2)
    assert parallel.step_s.value == pytest.approx(5 / STEPS)


def test_the_first_epoch_is_warm_up_unless_it_is_the_only_one() -> None:
    one = replace(SETTINGS, epochs=1)

    assert epochs.run_epoch_s(make_record(train_s=(9, 4, 5))) == 4.5
    assert epochs.run_epoch_s(make_record(train_s=(9,), settings=one)) == 9


def test_efficiency_without_the_one_worker_arm_is_not_measured(tmp_path: Path) -> None:
    judgement = judge(tmp_path, make_record(threads=2), ddp())

    assert parallel_of(judgement).efficiency is None


def test_on_gpus_one_worker_is_one_gpu_whatever_its_threads(tmp_path: Path) -> None:
    cuda = {"settings": replace(SETTINGS, device="cuda")}
    judgement = judge(
        tmp_path,
        make_record(threads=8, train_s=(9, 4, 4), **cuda),
        ddp(threads=4, comm="nccl", train_s=(9, 2.5, 2.5), **cuda),
    )

    efficiency = parallel_of(judgement).efficiency
    assert efficiency is not None
    assert efficiency.value == pytest.approx(4 / 2.5 / 2)


def test_a_control_is_never_the_result(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *two_arms())
    control = next(result for result in judgement.results if result.arm.is_control)

    assert control.step_s.value < parallel_of(judgement).step_s.value
    assert control.metric is None
    assert "90.00" not in report_of(judgement)


def test_no_common_seed_is_said(tmp_path: Path) -> None:
    assert "share no seed" in report_of(judge(tmp_path, make_record(seed=1), ddp(seed=2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": replace(SETTINGS, lr=0.1)}, "lr differs (0.01, 0.1)"),
        ({"settings": replace(SETTINGS, global_batch=64)}, "global_batch differs (256, 64)"),
        ({"settings": replace(SETTINGS, model="mlp")}, "model differs (cnn, mlp)"),
        (
            {"environment": replace(MACHINE, torch="2.10.0")},
            "environment.torch differs (2.14.1, 2.10.0)",
        ),
        ({"environment": replace(MACHINE, cpu_model="Other")}, "environment.cpu_model differs"),
        (
            {"environment": replace(MACHINE, variables=["OMP_PROC_BIND=close", "OMP_PLACES=cores"])},
            "environment.variables differs (none, [OMP_PROC_BIND=close, OMP_PLACES=cores])",
        ),
        ({"settings": replace(SETTINGS, target_accuracy=0.98)}, "target_accuracy differs (none, 0.98)"),
        ({"parameters": 7}, "parameters differs (56826, 7)"),
    ],
)
def test_an_unfair_comparison_is_refused_and_the_fields_named(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    paths = put(tmp_path, make_record(), ddp(minute=1, **change))
    for named in (paths, [tmp_path]):
        with pytest.raises(UserError, match="unfair comparison") as problem:
            study.load(named)

        assert message in str(problem.value)


def test_what_an_arm_is_may_differ() -> None:
    assert fairness.differences([make_record(seed=1, minute=1), ddp(seed=2, minute=2, study="other")]) == {}


def test_earlier_runs_with_other_flags_are_left_out_by_name(tmp_path: Path) -> None:
    other = replace(SETTINGS, model="mlp")
    judgement = judge(
        tmp_path,
        make_record(settings=other),
        ddp(settings=other, minute=1),
        make_record(minute=2),
        ddp(minute=3),
    )

    assert {record.settings.model for record in judgement.study.records} == {"cnn"}
    assert report_of(judgement).count("left out: ") == 2
    assert "model differs (mlp, cnn)" in judgement.study.left_out[0]


def test_launches_and_runs_of_a_folder_are_judged_under_the_conditions_of_the_newest_run(tmp_path: Path) -> None:
    other = make_launch(9, settings=replace(SETTINGS, lr=0.5))
    judgement = judge(tmp_path, *complete(), other)

    assert len(judgement.study.launches) == FIRST_LOOK
    assert judgement.study.left_out == ["launch 10, of 2026-11-23T23:09:00: lr differs (0.5, 0.01)"]


def test_a_folder_of_launches_alone_is_a_study(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *launches())

    assert (judgement.study.records, judgement.outcome) == ([], "slower")
    assert study.load(list(tmp_path.glob("*.json"))).launches == judgement.study.launches


def test_a_copy_of_a_launch_is_no_second_launch(tmp_path: Path) -> None:
    put(tmp_path, *launches())
    (tmp_path / "turns-007.json").write_bytes((tmp_path / "turns-000.json").read_bytes())
    loaded = study.load([tmp_path])

    assert len(loaded.launches) == FIRST_LOOK
    assert loaded.left_out == ["turns-007.json: the same launch as turns-000.json"]


def test_a_launch_that_a_hook_watched_is_no_result(tmp_path: Path) -> None:
    put(tmp_path, make_launch(0, injected="losses.py:slow-rank=3"))
    with pytest.raises(UserError, match=r"turns-000.json was watched by a hook \(losses.py:slow-rank=3\): no result"):
        study.load([tmp_path])
    assert study.load([tmp_path], allow_injected=True).launches


@pytest.mark.parametrize("status", ["running", "failed", "preempted"])
def test_unfinished_runs_are_left_out_by_name(status: str, tmp_path: Path) -> None:
    unfinished = make_record(seed=7, status=status, epochs=[], ranks=[])
    judgement = judge(tmp_path, make_record(), ddp(), unfinished)

    assert len(judgement.study.records) == 2
    assert judgement.study.left_out == [f"baseline, 2 threads, seed 7: {status} (20261124-000200-run.json)"]
    assert judgement.study.left_out[0] in report_of(judgement)


def test_the_newest_study_is_judged(tmp_path: Path) -> None:
    for name, minute in (("b-old", 10), ("a-new", 20)):
        (tmp_path / name).mkdir()
        put(tmp_path / name, make_record(study=name, minute=minute), ddp(study=name, minute=minute), start=40 - minute)

    assert study.load([tmp_path]).name == "a-new"
    assert study.load([tmp_path / "b-old"]).name == "b-old"


def test_a_renamed_record_is_a_record_and_a_copy_is_no_second_run(tmp_path: Path) -> None:
    put(tmp_path, make_record(), ddp(minute=1))
    (tmp_path / "20261124-000000-run.json").rename(tmp_path / "my best run.json")
    (tmp_path / "copy.json").write_bytes((tmp_path / "my best run.json").read_bytes())
    loaded = study.load([tmp_path])

    assert [record.kind for record in loaded.records] == ["baseline", "ddp"]
    assert loaded.left_out == ["my best run.json: the same run as copy.json"]


STRAYS = {
    "notes.json": b'{"todo": ["more seeds"]}',
    "list.json": b"[1, 2]",
    "seed.json": b'{"seed": 3}',
    "empty.json": b"",
    "torn.json": b'{"todo": [',
    "old-summary.json": b'{"schema": 1, "study": "x", "verdict": "pays", "why": "", "next": ""}',
    "other plan.json": b'{"request": {"settings": {"epochs": 3}}, "jobs": [{"seed": 0, "epochs": 3}], "schema": 1}',
    "._a.json": b"\0\5\x16\7Mac OS X",
    "\udcff.json": b"{}",
}


def test_what_is_no_record_is_passed_over_and_named_once(tmp_path: Path) -> None:
    put(tmp_path, make_record(), ddp())
    (tmp_path / "summary.json").write_bytes(b"{}")
    (tmp_path / "plan.json").write_bytes(b'{"schema": 1, "jobs": []}')
    (tmp_path / "folder.json").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    put(tmp_path / ".ipynb_checkpoints", make_record(minute=59))
    for name, content in STRAYS.items():
        (tmp_path / name).write_bytes(content)
    by_folder, by_hand = (
        study.load([tmp_path]),
        study.load([path for path in tmp_path.glob("*.json") if path.is_file()]),
    )

    assert by_folder.records == by_hand.records
    assert len(by_folder.records) == 2
    (reason,) = by_folder.left_out
    assert reason.startswith("._a.json, empty.json, folder.json, list.json, ")
    assert r", \udcff.json: no records" in reason
    assert "plan.json, " not in reason.replace("other plan.json, ", "")
    assert by_hand.left_out[0].count(".json") == len(STRAYS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'{"schema": 6}'),
        ("a.json", b'{"schema": 5, "study": "x"'),
        ("a.json", b'{"kind": "ddp", "comm": "shm", "world_size": 2, "threads_per_rank": 1, "seed": 0, "sett'),
        ("20261124-130249-baseline-1x1-seed0.json", b""),
        ("20261124-130249-baseline-1x1-seed0.json", bytes(500)),
    ],
)
def test_a_damaged_record_is_refused_and_not_passed_over(name: str, content: bytes, tmp_path: Path) -> None:
    put(tmp_path, make_record(), ddp())
    (tmp_path / name).write_bytes(content)
    for named in ([tmp_path], list(tmp_path.glob("*.json"))):
        with pytest.raises(UserError, match=f"{name} is "):
            study.load(named)


def test_files_that_are_all_no_records_are_bad_input(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_bytes(b"{}")
    for paths, message in (
        ([tmp_path], r"no records in .* \(notes.json: no records\); run: "),
        ([tmp_path / "notes.json"], "notes.json: no record of a run; name a study's folder"),
    ):
        with pytest.raises(UserError, match=message):
            study.load(paths)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no records in"),
        ([make_record(status="running")], "no complete run among 1 record: baseline, 2 threads, seed 0: running"),
    ],
)
def test_too_little_to_compare_says_what_to_run(records: list[Record], message: str, tmp_path: Path) -> None:
    put(tmp_path, *records)
    with pytest.raises(UserError, match=message):
        study.load([tmp_path])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([make_record(), ddp(status="running", epochs=[], ranks=[])], "torchrun --nproc_per_node=2 ddp_train.py"),
        ([make_record(), ddp(comm="none")], "torchrun --nproc_per_node=2 ddp_train.py"),
        ([ddp()], "python baseline_train.py"),
    ],
)
def test_half_a_study_says_what_can_be_said(records: list[Record], message: str, tmp_path: Path) -> None:
    judgement = judge(tmp_path, *records)

    assert report_of(judgement).startswith("CANNOT TELL")
    assert message in report_of(judgement)
    assert f"{1e3 * records[0].epochs[1].train_s / STEPS:.2f}" in report_of(judgement)


def test_the_whole_report_reads_so(tmp_path: Path) -> None:
    assert report_of(judge(tmp_path, *complete())) == GOLDEN


# Read it when it changes; then: python -m tests.judge.test_judge
GOLDEN_FILE = PROJECT / "tests/golden/report.txt"
GOLDEN = GOLDEN_FILE.read_text().rstrip("\n")


def test_noise_larger_than_the_effect_is_no_difference(tmp_path: Path) -> None:
    singles = [make_record(seed=seed, train_s=(9, 4 + seed, 4 + seed)) for seed in range(3)]
    report = report_of(
        judge(tmp_path, *singles, *(ddp(seed=seed, train_s=(9, 6 - seed, 6 - seed)) for seed in range(3)))
    )

    assert report.startswith("CANNOT TELL")
    assert "baseline, 2 threads: epoch times vary by 20%" in " ".join(report.split())


def test_one_run_each_has_no_interval_and_says_so(tmp_path: Path) -> None:
    judgement = judge(tmp_path, make_record(), ddp())
    text = report_of(judgement)

    assert "caution: an arm has only 1 run" in text
    assert "±" not in text


def compare_without(run_script: Run, modules: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run compare.py in a Python in which these modules cannot be imported."""
    code = f"import sys, runpy; sys.modules.update(dict.fromkeys({modules!r}));"
    code += f"sys.argv = {['compare.py', *map(str, arguments)]!r}; runpy.run_path('compare.py', run_name='__main__')"
    return run_script(sys.executable, "-c", code)


def test_compare_runs_where_torch_is_not_installed(tmp_path: Path, run_script: Run) -> None:
    put(tmp_path, *complete())
    done = compare_without(run_script, ["torch", "torchvision"], tmp_path)

    assert done.returncode == 0, done.stderr
    assert GOLDEN in done.stdout
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {
        f"{name}.png" for name in ("strip", "comparison", "breakdown", "whole-run", "launches", "learning", "ranks")
    } | {f"{what}-parallel-{which}.png" for what in ("Loss", "Accuracy") for which in (False, True)}
    assert {path.name for path in tmp_path.iterdir()} >= {"report.html", "summary.json", "summary.md"}


def test_compare_prints_before_it_needs_matplotlib(tmp_path: Path, run_script: Run) -> None:
    put(tmp_path, *complete())
    done = compare_without(run_script, ["matplotlib"], "--no-charts", tmp_path)

    assert (done.returncode, done.stdout) == (0, GOLDEN + "\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "cannot read gone: No such file or directory"),
        (["x" * 300], "File name too long"),
        (["--wat"], "--wat"),
        (["empty"], "no records in"),
    ],
)
def test_compare_says_what_is_wrong_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, run_script: Run
) -> None:
    (tmp_path / "empty").mkdir()
    words = [str(tmp_path / word) if word == "empty" else word for word in arguments]
    done = run_script(sys.executable, "compare.py", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("compare.py: ")
    assert message in done.stderr


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        GOLDEN_FILE.write_text(report_of(judge(Path(folder), *complete())) + "\n")
