"""The seam between training and judging: strict on reading, finite on writing."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from ddpbench.arm import Arm, arm_of
from ddpbench.errors import UserError
from ddpbench.record import Metric, read_record, write_record
from tests.records import ACCURACY, GLUCOSE, PERPLEXITY, ddp, make_record


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = ddp(seed=3)
    write_record(tmp_path / "run.json", record)

    assert read_record(tmp_path / "run.json") == record


@pytest.mark.parametrize("metric", [PERPLEXITY, GLUCOSE])
def test_a_metric_of_any_size_and_unit_is_recorded(metric: Metric, tmp_path: Path) -> None:
    record = make_record(metric=metric, accuracy=123.4)
    write_record(tmp_path / "run.json", record)

    assert read_record(tmp_path / "run.json").metric == metric
    assert (metric.shown(12.5), record.metric.shown(record.epochs[-1].metric)) == (12.5, 123.4)


def test_a_class_without_a_sample_in_the_test_set_makes_no_record_unreadable(tmp_path: Path) -> None:
    record = make_record(metric=replace(ACCURACY, counts=[0.0, *[100.0] * 9]))
    write_record(tmp_path / "run.json", record)

    assert read_record(tmp_path / "run.json") == record


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_never_written(bad: float, tmp_path: Path) -> None:
    record = msgspec.structs.replace(make_record(), startup_s=bad)

    with pytest.raises(ValueError, match=r"\$\.startup_s is"):
        write_record(tmp_path / "run.json", record)
    assert not (tmp_path / "run.json").exists()


def damaged(change: Any) -> bytes:
    content = json.loads(msgspec.json.encode(make_record()))
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "run.json is empty"),
        (b"   \n", "run.json is empty"),
        (msgspec.json.encode(make_record())[:400], "is not a whole record"),
        (b"[1, 2]", "is not a whole record"),
        (b"\xff\xfe", "is not a whole record"),
        (b"[" * 100_000, "is not a whole record"),
        (
            damaged(lambda r: r.update(schema=7)),
            "has schema 7; this program reads 6: judge it with the version of ddpbench that wrote it",
        ),
        (damaged(lambda r: r.pop("schema")), "missing required field `schema`"),
        (damaged(lambda r: r.pop("seed")), "missing required field `seed`"),
        (damaged(lambda r: r.update(speed=1)), "unknown field `speed`"),
        (damaged(lambda r: r.update(comm="mpi")), "Invalid enum value 'mpi' - at `$.comm`"),
        (
            damaged(lambda r: r["epochs"][1].update(train_s="4")),
            "Expected `float`, got `str` - at `$.epochs[1].train_s`",
        ),
        (damaged(lambda r: r["epochs"][1].update(train_s=float("nan"))), "is not a whole record"),
        (damaged(lambda r: r["epochs"][1].update(train_s=0)), "Expected `float` >= 1e-09 - at `$.epochs[1].train_s`"),
        (damaged(lambda r: r["epochs"][0].update(metric=1.2)), "epochs[0].metric holds a value"),
        (damaged(lambda r: r["epochs"][0].update(metric=1e300)), "`$.epochs[0].metric`"),
        (damaged(lambda r: r["epochs"][0].update(metric_sums=[1])), "epochs[0].metric_sums holds a value"),
        (damaged(lambda r: r["epochs"][0].update(metric_sums=[101.0] * 10)), "epochs[0].metric_sums holds a value"),
        (damaged(lambda r: r["metric"].update(counts=[5])), "metric.counts holds a value"),
        (damaged(lambda r: r["metric"].update(counts=[0.0] * 10)), "metric.counts holds a value"),
        (damaged(lambda r: r["metric"].update(counts=[-1.0, *[100.0] * 9])), "metric.counts holds a value"),
        (damaged(lambda r: r["metric"].update(margin=0)), "metric.margin holds a value"),
        (damaged(lambda r: r["metric"].update(unit="<b>")), "`$.metric.unit`"),
        (damaged(lambda r: r.update(world_size=0)), "world_size holds a value"),
        (
            damaged(lambda r: r["environment"].update(cpu_model="\x1b[31mred")),
            "Expected text without control characters, < and > - at `$.env",
        ),
        (
            damaged(lambda r: r["environment"].update(cpu_model="<script>alert(1)</script>")),
            "`$.environment.cpu_model`",
        ),
        (damaged(lambda r: r["environment"].update(cpu_model="\u202egnp.exe")), "`$.environment.cpu_model`"),
        (damaged(lambda r: r.update(study="x" * 301)), "`$.study`"),
        (damaged(lambda r: r["metric"].update(parts=["a\nb", "c"])), "`$.metric.parts[0]`"),
        (damaged(lambda r: r["epochs"][0].update(train_s=1e-320)), "`$.epochs[0].train_s`"),
        (damaged(lambda r: r["epochs"][0].update(train_s=1e300)), "`$.epochs[0].train_s`"),
        (damaged(lambda r: r["epochs"][0].update(train_loss=1e300)), "`$.epochs[0].train_loss`"),
        (damaged(lambda r: r.update(parameters=2**60)), "`$.parameters`"),
        (damaged(lambda r: r["ranks"][0].update(train_s=[1.0])), "ranks.train_s holds a value"),
        (damaged(lambda r: r["settings"].update(steps=3)), "unknown field `steps` - at `$.settings`"),
        (damaged(lambda r: r["settings"].update(device="auto")), "settings holds a value"),
        (damaged(lambda r: r["settings"].update(lr=None)), "settings holds a value"),
        (damaged(lambda r: r["settings"].update(model=None)), "settings holds a value"),
        (damaged(lambda r: r["settings"].pop("task")), "missing required field `task` - at `$.settings`"),
        (damaged(lambda r: r["settings"].pop("lr")), "missing required field `lr` - at `$.settings`"),
        (damaged(lambda r: r.update(study="a")).replace(b'"study"', b'"seed":0,"study"', 1), "`seed` is given twice"),
        (b'{"schema":6,"study":' + b"[" * 100_000, "not a whole record"),
        *(
            (
                damaged(lambda r, schema=schema: r.update(schema=schema)),
                f"has schema {schema}, of ddpbench 0.1.0; this program reads 6: judge it with that version",
            )
            for schema in (1, 2, 3, 4, 5)
        ),
        (damaged(lambda r: r.update(ranks=[])), "ranks holds a value"),
        (damaged(lambda r: r.update(epochs=[])), "epochs holds a value"),
    ],
)
def test_a_bad_record_is_one_line_that_names_file_and_field(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)

    with pytest.raises(UserError) as problem:
        read_record(path)

    assert said in str(problem.value)
    assert str(path) in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone\.json: No such file"):
        read_record(tmp_path / "gone.json")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(UserError, match="larger than"):
        read_record(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("arm", "label", "slug"),
    [
        (Arm("baseline", 1, 1, None), "baseline, 1 thread", "baseline-1x1"),
        (Arm("baseline", 1, 8, None), "baseline, 8 threads", "baseline-1x8"),
        (Arm("data_parallel", 1, 2, None), "data parallel, 2 threads", "data-parallel-1x2"),
        (Arm("ddp", 2, 1, "gloo"), "ddp 2 x 1, gloo", "ddp-2x1-gloo"),
        (Arm("ddp", 4, 2, "none"), "4 x 2, no communication", "ddp-4x2-none"),
        (Arm("ddp", 2, 1, "nothing"), "ddp 2 x 1, nothing exchanged", "ddp-2x1-nothing"),
    ],
)
def test_arms_have_one_name_each(arm: Arm, label: str, slug: str) -> None:
    assert (arm.label, arm.slug) == (label, slug)


def test_runs_of_an_arm_differ_in_their_seed_alone() -> None:
    assert arm_of(ddp(seed=1)) == arm_of(ddp(seed=2)) != arm_of(make_record(seed=1))
