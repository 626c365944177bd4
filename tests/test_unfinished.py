"""A study that was interrupted: what is complete is not run again, what has begun goes on, the rest is new."""

from pathlib import Path

from msgspec.structs import replace

from ddpbench import unfinished
from ddpbench.record import write_record
from tests.records import ddp, make_record

RUNS = [
    "baseline\t1\t2\t--seed 0 --global-batch 256 --epochs 3\tbaseline, 2 threads, seed 0",
    "ddp\t2\t1\t--seed 0 --global-batch 256 --epochs 3 --comm gloo\tddp 2 x 1, gloo, seed 0",
    "ddp\t2\t1\t--seed 1 --global-batch 256 --epochs 3 --comm gloo\tddp 2 x 1, gloo, seed 1",
    "baseline\t1\t2\t--seed 0 --global-batch 256 --epochs 3 --steps 9\tbaseline, 2 threads, timed, seed 0",
]
COMMAND = unfinished.command_of("0 1", "2", "", ["--epochs", "3", "--resume"])


def test_what_is_complete_is_left_out_and_what_has_begun_is_resumed(tmp_path: Path) -> None:
    plan = tmp_path / "study" / unfinished.PLAN
    unfinished.keep(plan, COMMAND, RUNS)
    alone, ranks = make_record(), ddp(status="preempted", epochs=[], ranks=[])
    told = {"global_batch": 256, "epochs": 3, "steps": None}
    for number, record in enumerate((alone, ranks)):
        settings = replace(record.settings, **told)
        epochs = [alone.epochs[0]] * 3 if record is alone else []
        ranks_of = [replace(rank, **three(rank)) for rank in record.ranks]
        write_record(plan.parent / f"{number}.json", replace(record, settings=settings, epochs=epochs, ranks=ranks_of))
    (plan.parent / "damaged.json").write_bytes(b"{")
    todo, done = unfinished.left(plan)

    assert done == 1
    assert [line.split("\t")[4] for line in todo] == [line.split("\t")[4] for line in RUNS[1:]]
    assert [line.split("\t")[3].rsplit(" ", 1)[1] for line in todo] == ["--resume", "--no-resume", "--no-resume"]


def three(rank: object) -> dict[str, object]:
    """Lists of three epochs."""
    names = ("train_s", "wait_s", "cpu_s", "reduce_s", "late_s")
    return {name: [1.0] * 3 if getattr(rank, name) is not None else None for name in names}


def test_a_study_is_found_by_its_command_the_newest_first(tmp_path: Path) -> None:
    other = unfinished.command_of("0 1", "2", "", ["--epochs", "4"])
    for name, command in (("1", COMMAND), ("2", COMMAND), ("3", other)):
        unfinished.keep(tmp_path / name / unfinished.PLAN, command, RUNS)

    assert unfinished.newest(tmp_path, unfinished.command_of("0 1", "2", "", ["--epochs", "3"])) == tmp_path / "2"
    assert unfinished.newest(tmp_path, unfinished.command_of("0", "2", "", ["--epochs", "3"])) is None
