"""The plan of a study: what is complete is not run again, what has begun goes on; and which study to go on with."""

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from ddpbench.arm import arm_of
from ddpbench.record import Record, write_record
from ddpbench.study import folders
from ddpbench.study.plan import Job, Plan, Request
from ddpbench.turns import TurnArm
from tests.records import ddp, make_record

RECORD = make_record()
REQUEST = Request(
    design="comparison", seeds=[0, 1], world_sizes=[2], batches=[], settings=RECORD.settings, injected=None
)


TURNS = [TurnArm(arm=arm_of(record), global_batch=256) for record in (RECORD, ddp())]


def job_of(record: Record) -> Job:
    return Job(arm=arm_of(record), seed=record.seed)


def plan(request: Request = REQUEST, jobs: Sequence[Job] = (), *, is_measured: bool = False) -> Plan:
    return Plan(request=request, turns=TURNS, jobs=[*jobs], is_measured=is_measured)


def test_what_is_complete_is_left_out_and_what_has_begun_goes_on(tmp_path: Path) -> None:
    begun = ddp(status="preempted", epochs=[], ranks=[])
    jobs = [job_of(RECORD), job_of(begun), replace(job_of(begun), seed=7)]
    for number, record in enumerate((RECORD, begun)):
        write_record(tmp_path / f"{number}.json", record)
    (tmp_path / "damaged.json").write_bytes(b"{")
    folders.write_plan(tmp_path, plan(jobs=jobs))
    known = folders.read_plan(tmp_path)

    assert known is not None
    assert known.pending(folders.records_in(tmp_path)) == [(jobs[1], True), (jobs[2], False)]


def test_a_record_of_other_settings_covers_nothing() -> None:
    whole = plan(jobs=[job_of(RECORD)])
    other = replace(RECORD, settings=replace(RECORD.settings, lr=0.5))

    assert whole.pending([RECORD]) == []
    assert whole.pending([other]) == [(whole.jobs[0], False)]


def test_a_study_is_finished_when_its_launches_are_over_and_its_runs_complete() -> None:
    assert not plan().is_finished([]), "its launches choose its runs"
    assert plan(is_measured=True).is_finished([]), "a sweep has no runs"
    assert not plan(jobs=[job_of(RECORD)], is_measured=True).is_finished([])
    assert plan(jobs=[job_of(RECORD)], is_measured=True).is_finished([RECORD])


def test_the_seeds_of_a_plan_are_those_asked_for_and_those_that_more_has_added() -> None:
    assert plan(jobs=[replace(job_of(RECORD), seed=seed) for seed in (0, 1, 5)]).seeds == [0, 1, 5]


def test_the_batches_are_those_of_a_sweep_or_the_one_of_the_settings() -> None:
    assert plan().batches == [RECORD.settings.global_batch]
    assert plan(replace(REQUEST, design="sweep", batches=[64, 128])).batches == [64, 128]


def other(request: Request, **settings: object) -> Request:
    return replace(request, settings=replace(request.settings, **settings))


def put(results: Path, name: str, request: Request) -> Path:
    (results / name).mkdir()
    folders.write_plan(results / name, plan(request, [job_of(RECORD)], is_measured=True))
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


def test_more_goes_on_with_the_newest_study_of_the_same_settings_whatever_its_seeds(tmp_path: Path) -> None:
    put(tmp_path, "1", REQUEST)
    newest = put(tmp_path, "2", replace(REQUEST, seeds=[7, 8]))
    put(tmp_path, "3", replace(REQUEST, world_sizes=[4]))
    put(tmp_path, "4", replace(REQUEST, design="speed"))

    found = folders.find_alike(REQUEST, tmp_path)

    assert found is not None
    assert found[0] == newest
    assert found[1].request.seeds == [7, 8]


def test_where_more_has_no_study_to_go_on_with_a_line_names_what_differs(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    other_batch = put(tmp_path, "1", replace(other(REQUEST, lr=0.5), seeds=[3]))

    assert folders.find_alike(other(REQUEST, lr=0.1), tmp_path) is None
    message = folders.explain_unlike(other(REQUEST, lr=0.1), tmp_path)
    assert message == (
        "--more goes on with a study of the same settings, and there is none: "
        f"{other_batch} (lr 0.5, now 0.1); leave it out"
    )
    assert folders.explain_unlike(REQUEST, tmp_path / "none").endswith("has none; leave it out to start one")


def test_a_plan_of_another_version_is_no_plan(tmp_path: Path) -> None:
    folders.write_plan(tmp_path, replace(plan(), schema=99))
    assert folders.read_plan(tmp_path) is None
    (tmp_path / folders.PLAN).write_bytes(b'{"request": ')
    assert folders.read_plan(tmp_path) is None
