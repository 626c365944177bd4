"""summary.json, summary.md, the gates of CI, and several studies side by side."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ddpbench import __version__
from ddpbench.findings import Check
from ddpbench.judge import study
from ddpbench.judge.outcome import Criteria
from ddpbench.record import Record
from ddpbench.show import answer, markdown, outputs, summary
from ddpbench.turns import Launch
from tests.conftest import PROJECT
from tests.judge.studies import complete, faster, judge, launches, paired, swept
from tests.records import MACHINE, ddp, make_launch, make_record, put

Run = Callable[..., subprocess.CompletedProcess[str]]
ESTIMATE = {"value", "low", "high", "n"}
Content = dict[str, object]


def summary_of(folder: Path, *measured: Record | Launch, criteria: Criteria | None = None) -> Content:
    judgement = judge(folder, *measured, criteria=criteria)
    content: Content = json.loads(summary.encode(judgement, answer.write(judgement)))
    return content


def part(content: Content, name: str) -> dict[str, object]:
    found = content[name]
    assert isinstance(found, dict), name
    return found


def parts(content: Content, name: str) -> list[dict[str, object]]:
    found = content[name]
    assert isinstance(found, list), name
    return found


def markdown_of(folder: Path, *measured: Record | Launch) -> str:
    judgement = judge(folder, *measured)
    return markdown.format_markdown(judgement, answer.write(judgement))


def test_summary_json_has_the_promised_names(tmp_path: Path) -> None:
    content = summary_of(tmp_path, *complete(times=1.25), criteria=Criteria(price_per_hour=1.0))
    arms = parts(content, "arms")

    assert (content["schema"], content["ddpbench"], content["outcome"]) == (3, __version__, "faster")
    assert part(content, "speed").keys() == ESTIMATE | {"unit"}
    assert part(content, "speed")["unit"] == "launch"
    assert [arm["role"] for arm in arms].count("reference") == 1
    assert [arm["label"] for arm in arms if arm["role"] == "parallel"] == ["ddp 2 x 1, shm"]
    assert {"kind", "ranks", "threads", "comm", "batch", "step_s", "speed", "efficiency", "metric"} <= arms[0].keys()
    assert {arm["comm"] for arm in arms if arm["role"] == "control"} == {"none", "nothing"}
    assert {arm["batch"] for arm in arms} == {128, 256, 512}
    assert part(content, "machine")["cpu_model"] == "Test CPU"
    assert part(content, "settings")["global_batch"] == 256
    assert part(content, "metric").keys() == {
        *("name", "unit", "lower_is_better", "margin"),
        *("difference", "tested", "outcome", "p"),
    }
    assert part(content, "metric")["margin"] == 0.3
    assert [part(arm, "metric")["value"] for arm in arms if arm["metric"]] == [pytest.approx(99)] * 2
    assert part(content, "whole_run").keys() >= {"epochs", "times_as_long", "later_start_s", "ahead_from_epochs"}
    assert part(content, "cost")["outcome"] == "pays"
    assert part(content, "agreement")["agrees"] is True
    assert part(content, "disturbance").keys() == {"stolen_share", "stalled", "minutes_needed"}
    terms = parts(content, "breakdowns")[0]["terms"]
    assert isinstance(terms, list)
    assert terms[0].keys() == {"causes", "seconds", "share", "part_of", "is_certain"}
    assert (content["launches"], content["runs"]) == (5, 6)


def test_every_name_of_summary_json_is_documented(tmp_path: Path) -> None:
    content = summary_of(tmp_path, *complete())
    page = (PROJECT / "docs/results.md").read_text().split("\n## summary.json")[1]

    assert [name for name in content if f"`{name}`" not in page.replace("[]", "")] == []
    inner = {name for each in content.values() if isinstance(each, dict) for name in each}
    inner -= {*ESTIMATE, *part(content, "settings"), *part(content, "machine"), *part(content, "rows")}
    assert [name for name in inner if f"`{name}`" not in page.replace("[]", "")] == []


def test_what_was_not_measured_is_null(tmp_path: Path) -> None:
    content = summary_of(tmp_path, *launches(1))

    assert part(content, "speed")["low"] is None
    assert [content[name] for name in ("metric", "whole_run", "cost", "agreement", "sweep")] == [None] * 5
    assert summary_of(tmp_path / "half", make_record())["speed"] is None


def test_what_the_check_of_the_task_found_is_told(tmp_path: Path) -> None:
    checked = Check(equal_gradient="batch_loss", findings=["the loss is a mean"], took_s=1.0)
    content = summary_of(tmp_path / "checked", make_launch(0, check=checked), *launches(3)[1:])

    assert content["equal_gradient"] == "batch_loss"
    assert "the loss is a mean" in parts(content, "cautions")
    assert summary_of(tmp_path / "not", *launches(2))["equal_gradient"] is None


def test_never_is_null(tmp_path: Path) -> None:
    run = part(summary_of(tmp_path, *complete()), "whole_run")

    assert run["ahead_from_epochs"] == {"epochs": None, "least": None, "most": None}


def test_a_sweep_is_summarized_by_its_crossover(tmp_path: Path) -> None:
    content = summary_of(tmp_path, *swept((64, 256, 1024)))
    sweep = part(content, "sweep")

    assert content["outcome"] is None
    assert sweep["crossover_batch_predicted"] == pytest.approx(300, rel=0.03)
    assert [point["outcome"] for point in parts(sweep, "points")] == ["slower", "slower", "faster"]


def test_summary_md_is_three_lines_and_one_table_and_the_rest_is_folded(tmp_path: Path) -> None:
    text = markdown_of(tmp_path, *complete())
    shown, _, folded = text.partition("<details>")
    title, lines, table, *rest = shown.split("\n\n")
    found, advice = lines.split("\n")

    assert title == "**SLOWER** 2 workers (DDP, shared memory) against one process (2 threads)"
    assert found.startswith(
        "- **speed** 20 % slower: 18 to 22 % (95 %, n = 5 launches); **accuracy** the same: 99.00 %"
    )
    assert advice.startswith("- **whole run** ")
    assert advice.endswith("; **so** stay with one process")
    assert table.count("\n| - | - |") == 1
    assert rest == [""]
    assert "\n- why: a step takes" in folded
    assert "global batch 256, 3 epochs" in folded
    assert folded.endswith("\n\n</details>\n")


def test_summary_md_of_a_sweep_and_of_a_study_that_cannot_tell_fit_as_well(tmp_path: Path) -> None:
    sweep, unsure = (
        markdown_of(tmp_path / "sweep", *swept((64, 256, 1024), count=5)),
        markdown_of(tmp_path / "few", *launches(2, faster(1.02))),
    )
    shown = [text.partition("\n\n<details>")[0] for text in (sweep, unsure)]
    lines = [[line for line in each.split("\n") if line and not line.startswith("|")] for each in shown]

    assert [line.split(" ")[:2] for line in lines[0]] == [["**FASTER", "FROM"], ["-", "**range**"], ["-", "**so**"]]
    assert "\n- fit: " in sweep.partition("<details>")[2]
    assert lines[1][0].startswith("**CANNOT TELL** ")
    assert " **unsure** " in lines[1][2]
    assert lines[1][3:] == ["- **caution** speed is from 2 of at least 5 launches; bash launch.sh --more adds some"]


def test_summary_md_shows_a_caution_that_touches_the_answer_and_folds_another(tmp_path: Path) -> None:
    runs = [each(environment=msgspec.structs.replace(MACHINE, commit="0-dirty")) for each in (make_record, ddp)]
    shown, _, folded = markdown_of(tmp_path, *runs).partition("<details>")

    assert "- **caution** an arm has only 1 run" in shown
    assert "- caution: the code differed from commit 0" in folded
    assert shown.count("caution") == folded.count("caution") == 1


@pytest.mark.slow
def test_a_summary_is_no_record_when_a_study_is_read_again(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *paired([2.0, 2.1]))
    outputs.write_all(judgement, answer.write(judgement))

    assert len(study.load([tmp_path]).records) == 4


def test_summary_md_is_markdown_that_strings_cannot_break(tmp_path: Path) -> None:
    sly = msgspec.structs.replace(MACHINE, cpu_model="a | b")
    text = markdown_of(tmp_path, make_record(environment=sly), ddp(environment=sly))

    assert text.startswith("**CANNOT TELL**")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0].count("|") == table[1].count("|") == table[2].count("|")

    judgement = judge(tmp_path / "hostile", make_record(), ddp())
    hostile = dataclasses.replace(judgement, study=dataclasses.replace(judgement.study, left_out=["</details><b>"]))
    folded = markdown.format_markdown(hostile, answer.write(hostile)).partition("<details>")[2]
    assert "- left out: &lt;/details>&lt;b>\n" in folded
    assert folded.count("</details>") == 1


@pytest.mark.slow
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


@pytest.mark.slow
def test_several_studies_stand_side_by_side_and_are_never_divided(tmp_path: Path, run_script: Run) -> None:
    for name, cpu, time_s in (("laptop", "Small CPU", 5.0), ("server", "Big CPU", 2.0)):
        (tmp_path / name).mkdir()
        machine = msgspec.structs.replace(MACHINE, cpu_model=cpu)
        put(tmp_path / name, *(msgspec.structs.replace(each, environment=machine) for each in paired([time_s, time_s])))
    done = run_script(sys.executable, "compare.py", "--no-charts", tmp_path / "laptop", tmp_path / "server")

    assert done.returncode == 0, done.stderr
    laptop, _, server = done.stdout.split("laptop")[-1].partition("server")
    assert all(text in laptop for text in ("Small CPU", "0.80x", "SLOWER"))
    assert all(text in server for text in ("Big CPU", "2.00x", "FASTER"))


@pytest.mark.slow
def test_a_spoilt_run_is_refused_unless_allowed(tmp_path: Path, run_script: Run) -> None:
    put(tmp_path, make_record(), ddp(injected="slow-rank=2"))
    refused = run_script(sys.executable, "compare.py", "--no-charts", tmp_path)
    allowed = run_script(sys.executable, "compare.py", "--no-charts", "--allow-injected", tmp_path)

    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "was watched by a hook (slow-rank=2)" in refused.stderr
    assert allowed.returncode == 0, allowed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("margin", ["0", "-1", "nan", "100"])
def test_a_margin_that_cannot_be_is_refused(margin: str, tmp_path: Path, run_script: Run) -> None:
    put(tmp_path, *paired([2.0]))
    done = run_script(sys.executable, "compare.py", "--margin", margin, tmp_path)

    assert done.returncode == 2
    assert "--margin must be between 0 and 100" in done.stderr
