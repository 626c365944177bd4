"""The plan of a study: what is complete is not run again, what has begun goes on, the rest is new."""

from pathlib import Path

from msgspec.structs import replace

from ddpbench.arm import Arm, arm_of
from ddpbench.record import Record, write_record
from ddpbench.study import designs, folders
from ddpbench.study.plan import Job, Plan, Request
from tests.records import ddp, make_record

RECORD = make_record()
REQUEST = Request(
    design="comparison", seeds=[0, 1], world_sizes=[2], batches=[], settings=RECORD.settings, injected=None
)


def job_of(record: Record) -> Job:
    settings = record.settings
    return Job(
        arm=arm_of(record),
        global_batch=settings.global_batch,
        steps=settings.steps,
        epochs=settings.epochs,
        seed=record.seed,
    )


def test_what_is_complete_is_left_out_and_what_has_begun_goes_on(tmp_path: Path) -> None:
    begun = ddp(status="preempted", epochs=[], ranks=[])
    jobs = [job_of(RECORD), job_of(begun), job_of(begun).with_seed(7)]
    for number, record in enumerate((RECORD, begun)):
        write_record(tmp_path / f"{number}.json", record)
    (tmp_path / "damaged.json").write_bytes(b"{")
    folders.write_plan(tmp_path, Plan(request=REQUEST, jobs=jobs))
    known = folders.read_plan(tmp_path)

    assert known is not None
    assert known.pending(folders.records_in(tmp_path)) == [(jobs[1], True), (jobs[2], False)]


def test_a_record_of_other_settings_covers_nothing() -> None:
    whole = Plan(request=REQUEST, jobs=[job_of(RECORD)])
    other = replace(RECORD, settings=replace(RECORD.settings, lr=0.5))

    assert whole.pending([RECORD]) == []
    assert whole.pending([other]) == [(whole.jobs[0], False)]


def test_a_timed_job_is_covered_by_a_timed_record_without_a_target() -> None:
    aims = replace(REQUEST, settings=replace(RECORD.settings, target_accuracy=0.99))
    timed = Job(arm=Arm("baseline", 1, 2, None), global_batch=64, steps=9, epochs=2)
    wanted = Plan(request=aims, jobs=[timed]).settings_of(timed)

    assert (wanted.steps, wanted.global_batch, wanted.epochs, wanted.target_accuracy) == (9, 64, 2, None)
    assert Plan(request=aims, jobs=[timed]).settings_of(designs.whole(timed.arm, 64, 2)).target_accuracy == 0.99


def other(request: Request, **settings: object) -> Request:
    return replace(request, settings=replace(request.settings, **settings))


def put(results: Path, name: str, request: Request) -> Path:
    (results / name).mkdir()
    folders.write_plan(results / name, Plan(request=request, jobs=[job_of(RECORD)]))
    return results / name


def test_resume_finds_the_newest_study_by_what_was_asked_for(tmp_path: Path) -> None:
    """And not by how it was spelt: `--epochs 3` and `--epochs=3` are one study."""
    put(tmp_path, "1", REQUEST)
    newest = put(tmp_path, "2", REQUEST)
    put(tmp_path, "3", other(REQUEST, lr=0.1))

    earlier = folders.find_equal(REQUEST, tmp_path)

    assert earlier is not None
    assert earlier[0] == newest


def test_where_no_study_is_equal_the_unfinished_ones_are_named_with_what_differs(tmp_path: Path) -> None:
    left = put(tmp_path, "1", replace(other(REQUEST, lr=0.5), seeds=[3, 4]))
    done = put(tmp_path, "2", other(REQUEST, epochs=RECORD.settings.epochs))
    write_record(done / "record.json", RECORD)
    request = other(REQUEST, lr=0.1)

    assert folders.find_equal(request, tmp_path) is None
    message = folders.explain_unequal(request, tmp_path)
    assert message.endswith(f": starting a new one. Unfinished: {left} (seeds 3 4, now 0 1; lr 0.5, now 0.1)")
    assert folders.explain_unequal(request, done).endswith("starting a new one")


def test_a_plan_of_another_version_is_no_plan(tmp_path: Path) -> None:
    folders.write_plan(tmp_path, Plan(request=REQUEST, jobs=[], schema=99))
    assert folders.read_plan(tmp_path) is None
    (tmp_path / folders.PLAN).write_bytes(b'{"request": ')
    assert folders.read_plan(tmp_path) is None
