"""summary.json, summary.md, the gates of CI, and several studies side by side."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ddpbench.judge import study
from ddpbench.record import Record
from ddpbench.show import markdown, outputs, summary, verdict
from tests.judge.studies import judge, paired, swept, three_seeds
from tests.records import MACHINE, ddp, make_record, put, timed

Run = Callable[..., subprocess.CompletedProcess[str]]
ESTIMATE = {"value", "low", "high", "n"}


def summary_of(folder: Path, *records: Record) -> dict[str, object]:
    judgement = judge(folder, *records)
    content: dict[str, object] = json.loads(summary.encode(judgement, verdict.write(judgement)))
    return content


def markdown_of(folder: Path, *records: Record) -> str:
    judgement = judge(folder, *records)
    return markdown.format_markdown(judgement, verdict.write(judgement))


def test_summary_json_has_the_promised_names(tmp_path: Path) -> None:
    content = summary_of(tmp_path, *three_seeds())

    assert content["schema"] == 1
    assert content["verdict"] in {"pays", "does_not_pay", "cannot_tell"}
    for name in ("speedup", "efficiency", "accuracy_difference"):
        assert isinstance(content[name], dict)
        assert set(content[name]) == ESTIMATE
    terms = content["breakdown"]
    assert isinstance(terms, list)
    assert {"term", "seconds", "share", "measured_by"} <= set(terms[0])
    assert content["crossover_batch"] is None


def test_what_was_not_measured_is_null(tmp_path: Path) -> None:
    content = summary_of(tmp_path, make_record(threads=2), ddp(train_s=(9, 5, 5)))

    assert content["efficiency"] is None
    assert content["break_even_epochs"] is None
    assert isinstance(content["breakdown"], list)
    assert content["breakdown"][0] == {
        "term": "ideal",
        "seconds": None,
        "share": None,
        "measured_by": "not measured",
        "part_of": None,
    }


def test_a_sweep_is_summarized_by_its_crossover(tmp_path: Path) -> None:
    content = summary_of(tmp_path, *swept((64, 256, 1024)))

    assert content["verdict"] is None
    assert content["crossover_batch_predicted"] == pytest.approx(300, rel=0.03)
    assert isinstance(content["sweep"], list)
    assert [point["verdict"] for point in content["sweep"]] == ["does_not_pay", "does_not_pay", "pays"]


def test_summary_md_states_the_conditions_of_whole_runs_where_a_timed_run_is_newer(tmp_path: Path) -> None:
    text = markdown_of(tmp_path, *paired([2.0]), timed(64, 0.002, minute=9))

    assert "global batch 256, 3 epochs" in text


@pytest.mark.slow
def test_a_summary_is_no_record_when_a_study_is_read_again(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *paired([2.0, 2.1]))
    outputs.write_all(judgement, verdict.write(judgement))

    assert len(study.load([tmp_path]).records) == 4


def test_summary_md_is_markdown_that_strings_cannot_break(tmp_path: Path) -> None:
    sly = msgspec.structs.replace(MACHINE, cpu_model="a | b")
    text = markdown_of(tmp_path, make_record(environment=sly), ddp(environment=sly))

    assert text.startswith("**Verdict** Cannot tell")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0].count("|") == table[1].count("|") == table[2].count("|")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--fail-below-speedup", "1.5"], 0, ""),
        (["--fail-below-speedup", "2.5"], 1, "compare.py: gate failed: speedup is 1.9"),
        (["--fail-below-efficiency", "0.5"], 1, "efficiency is not measured"),
        (["--fail-if-accuracy-lost", "0.5"], 1, "accuracy difference in points is -1, required at least -0.5"),
        (["--fail-if-accuracy-lost", "1.5"], 0, ""),
    ],
)
def test_gates_end_with_code_1_and_one_line(
    flags: list[str], code: int, message: str, tmp_path: Path, run_script: Run
) -> None:
    put(tmp_path, *paired([2.0, 2.1], accuracy=0.98))
    done = run_script(sys.executable, "compare.py", "--no-charts", tmp_path, *flags)

    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == (1 if code else 0)


def test_several_studies_stand_side_by_side_and_are_never_divided(tmp_path: Path, run_script: Run) -> None:
    for name, cpu, time_s in (("laptop", "Small CPU", 5.0), ("server", "Big CPU", 2.0)):
        (tmp_path / name).mkdir()
        machine = msgspec.structs.replace(MACHINE, cpu_model=cpu)
        put(tmp_path / name, *(msgspec.structs.replace(each, environment=machine) for each in paired([time_s, time_s])))
    done = run_script(sys.executable, "compare.py", "--no-charts", tmp_path / "laptop", tmp_path / "server")

    assert done.returncode == 0, done.stderr
    _, laptop, server = (part.replace("\n", " ") for part in done.stdout.split("study: "))
    assert all(text in laptop for text in ("laptop ", "Small CPU, 2 cores", "0.80", "DDP does not pay here"))
    assert all(text in server for text in ("server ", "Big CPU, 2 cores", "2.00", "DDP pays here"))


def test_a_spoilt_run_is_refused_unless_allowed(tmp_path: Path, run_script: Run) -> None:
    put(tmp_path, make_record(), ddp(injected="slow-rank=2"))
    refused = run_script(sys.executable, "compare.py", "--no-charts", tmp_path)
    allowed = run_script(sys.executable, "compare.py", "--no-charts", "--allow-injected", tmp_path)

    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "was spoilt on purpose (slow-rank=2)" in refused.stderr
    assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "100"])
def test_a_margin_that_cannot_be_is_refused(margin: str, run_script: Run) -> None:
    done = run_script(sys.executable, "compare.py", "--margin", margin, "docs/example")

    assert done.returncode == 2
    assert "--margin must be between 0 and 100 points" in done.stderr
