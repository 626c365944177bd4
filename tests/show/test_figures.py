"""A metric of any kind goes through the whole judge: its name, its unit, which way is better, and its margin."""

import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from ddpbench.errors import UserError
from ddpbench.judge import gates, study
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria
from ddpbench.record import Epoch, Metric
from ddpbench.show import answer, charts, figures, html, layout, markdown, report, summary, tables
from ddpbench.show.answer import Answer
from ddpbench.show.charts.style import Chart
from tests.judge.studies import complete, faster, judge, launches, scored
from tests.judge.test_comparison import options
from tests.records import ACCURACY, GLUCOSE, PERPLEXITY, SETTINGS, ddp, make_launch, make_record, put
from tests.show.test_charts import require_legible, rows_of, texts

BEFORE_AND_AFTER = [(12.30, 12.40), (12.32, 12.43), (12.34, 12.43)]  # 0.10 more, +- 0.01
WORSE = [(12.2, 14.1), (12.3, 14.3), (12.4, 14.5)]  # 2.0 more, +- 0.1


def language(folder: Path, criteria: Criteria | None = None) -> Judgement:
    """Return a study of a language model: lower is better, and there is neither a part nor a margin."""
    return judge(folder, *launches(6, faster(1.25)), *scored(PERPLEXITY, BEFORE_AND_AFTER), criteria=criteria)


def glucose(folder: Path) -> Judgement:
    """Return a study of an error in a unit, which rises by more than its margin."""
    return judge(folder, *launches(6, faster(1.25)), *scored(GLUCOSE, WORSE))


def drawn(judgement: Judgement) -> dict[str, Chart]:
    return {chart.slug: chart for chart in [*charts.build(judgement), *charts.build_originals(judgement)]}


def rows(written: Answer) -> dict[str, str]:
    return dict(written.rows)


def test_a_metric_without_a_margin_is_shown_and_not_judged(tmp_path: Path) -> None:
    written = answer.write(language(tmp_path))

    assert written.title == "FASTER"
    # Student's t at 95 % over 0.10, 0.11, 0.09: 4.303 * 0.01 / sqrt(3) = 0.0248.
    assert rows(written)["perplexity"] == (
        "not judged: the task gives no margin; 12.42 and 12.32 "
        "(difference +0.1000, 95 % interval +0.0752 to +0.1248, n = 3 seeds)"
    )
    assert "accuracy" not in rows(written)


def test_a_user_may_give_the_margin_that_a_task_does_not(tmp_path: Path) -> None:
    same = answer.write(language(tmp_path / "same", Criteria(margin=0.2)))
    worse = answer.write(language(tmp_path / "worse", Criteria(margin=0.05)))

    assert rows(same)["perplexity"].startswith("the same: 12.42 and 12.32 (difference +0.1000, 90 % interval +0.0831")
    assert rows(same)["perplexity"].endswith("n = 3 seeds, margin 0.2)")
    assert worse.title == "FASTER, BUT LEARNS LESS"


def test_an_error_that_rises_by_more_than_its_margin_is_lost(tmp_path: Path) -> None:
    written = answer.write(glucose(tmp_path))

    assert written.title == "FASTER, BUT LEARNS LESS"
    assert rows(written)["mean absolute error"] == (
        "worse: 14.30 mg/dl and 12.30 mg/dl "
        "(difference +2.000 mg/dl, 95 % interval +1.752 to +2.248, n = 3 seeds, margin 0.5)"
    )
    assert rows(written)["so"].startswith("mean absolute error first: ")


@pytest.mark.parametrize(
    ("change", "word"),
    [((-2.1, -2.0, -1.9), "better"), ((0.1, 0.0, -0.1), "the same"), ((-0.5, -0.4, 0.2), "at least as good")],
)
def test_an_error_that_falls_is_better(change: tuple[float, ...], word: str, tmp_path: Path) -> None:
    written = answer.write(judge(tmp_path, *scored(GLUCOSE, [(12.3, 12.3 + each) for each in change])))

    assert rows(written)["mean absolute error"].startswith(f"{word}: ")
    assert "LEARNS LESS" not in written.title


def test_tables_have_the_name_and_the_unit(tmp_path: Path) -> None:
    judgement, other = language(tmp_path / "language"), glucose(tmp_path / "glucose")
    table = {row[0]: row for row in tables.arms_table(judgement)}
    every = {row[0]: row for row in tables.all_arms_table(other)}

    assert table["arm"][3] == "test perplexity"
    assert (table["baseline, 2 threads"][3], table["ddp 2 x 1, shm"][3]) == ("12.32 ± 0.02", "12.42 ± 0.02")
    assert table["baseline, 1 thread"][3] == "not measured"
    assert every["arm"][4] == "test mean absolute error"
    assert every["baseline, 2 threads"][4] == "12.30 ± 0.10 mg/dl"


def test_summary_md_and_the_report_tell_the_metric(tmp_path: Path) -> None:
    judgement = language(tmp_path)
    written = answer.write(judgement)
    text, page = markdown.format_markdown(judgement, written), report.format_report(judgement, written)

    assert "; **perplexity** not judged: the task gives no margin; 12.42 and 12.32 (" in text
    assert "| arm | ms a step | speed (95 %) | test perplexity | n |" in text
    assert "\n  perplexity not judged: the task gives no margin; 12.42 and 12.32" in page
    assert "accura" not in text + page


def test_summary_json_has_the_metric_in_the_unit_that_is_shown(tmp_path: Path) -> None:
    judgement, other = language(tmp_path / "language"), glucose(tmp_path / "glucose")
    content, second = (json.loads(summary.encode(each, answer.write(each))) for each in (judgement, other))
    share = judge(tmp_path / "share", *complete())
    third = json.loads(summary.encode(share, answer.write(share)))

    found = content["metric"]
    assert {name: found[name] for name in ("name", "unit", "lower_is_better", "margin", "outcome", "p")} == {
        "name": "perplexity",
        "unit": "",
        "lower_is_better": True,
        "margin": None,
        "outcome": "not_judged",
        "p": None,
    }
    assert found["difference"]["value"] == pytest.approx(0.1)
    assert (second["metric"]["unit"], second["metric"]["margin"], second["metric"]["outcome"]) == ("mg/dl", 0.5, "lost")
    assert [each["metric"]["value"] for each in second["arms"] if each["metric"]] == [
        pytest.approx(12.3),
        pytest.approx(14.3),
    ]
    assert [each["metric"]["value"] for each in third["arms"] if each["metric"]] == [pytest.approx(99)] * 2
    assert content["settings"]["task"] == "mnist"


def test_the_page_tells_the_metric_and_never_speaks_of_accuracy(tmp_path: Path) -> None:
    page, second = (
        html.render(each, answer.write(each), charts.build(each))
        for each in (language(tmp_path / "language"), glucose(tmp_path / "glucose"))
    )

    assert "perplexity, lower is better, no margin: not judged" in page
    assert "mean absolute error, in mg/dl, lower is better, margin 0.5 mg/dl" in second
    assert "fasting, after a meal" in second
    assert "<h3>Mean absolute error by part: " in second
    assert 'id="classes"' not in page
    assert "perplexity comes from whole runs" in page
    for each in (page, second):
        assert "accura" not in re.sub(r"target.accuracy", "", each)


def test_charts_of_a_metric_without_parts_leave_those_by_class_out(tmp_path: Path) -> None:
    pictures = drawn(language(tmp_path))
    strip, comparison = (pictures[name].figure.axes[1] for name in ("strip", "comparison"))

    assert {"Loss-parallel-False", "Loss-parallel-True", "learning"} <= {*pictures}
    assert {"classes", "Accuracy-parallel-False", "Accuracy-parallel-True"} & {*pictures} == set()
    assert strip.get_xlabel() == "difference in test perplexity"
    assert rows_of(strip) == ["seeds, n = 3", "95 % interval"]
    sides = [text.get_text() for text in texts(pictures["strip"].figure)]
    assert [each for each in sides if each in ("better", "worse")] == ["better", "worse"], "lower is on the left"
    assert "shaded: a difference that does not matter (3 % of speed)" in pictures["strip"].conditions
    assert comparison.get_xlabel() == "test perplexity, axis cut: does not begin at 0"
    assert "perplexity: a dot a run, 95 % intervals" in pictures["comparison"].conditions
    assert "shaded" not in pictures["comparison"].conditions
    assert comparison.get_xlim()[1] < 13


def test_charts_of_an_error_have_its_unit_and_its_parts(tmp_path: Path) -> None:
    pictures = drawn(glucose(tmp_path))
    strip = pictures["strip"].figure.axes[1]

    assert strip.get_xlabel() == "difference in test mean absolute error (mg/dl)"
    assert "3 % of speed, 0.5 mg/dl of mean absolute error" in pictures["strip"].conditions
    assert "Difference in mean absolute error, in mg/dl: +2.000 (" in pictures["strip"].alt
    assert pictures["classes"].finding == "Mean absolute error by part: 12.30 and 14.30 mg/dl in total"
    assert "shaded: 0.5 mg/dl" in pictures["comparison"].conditions
    alone = pictures["Accuracy-parallel-True"]
    assert alone.finding == "ddp 2 x 1, shm: 14.30 mg/dl in total"
    assert rows_of(alone.figure.axes[0]) == ["total", "fasting", "after a meal"]
    assert alone.figure.axes[0].get_xlabel().startswith("test mean absolute error (mg/dl)")


@pytest.mark.slow
@pytest.mark.parametrize("study_of", [language, glucose])
def test_charts_of_any_metric_are_legible(study_of: object, tmp_path: Path) -> None:
    assert callable(study_of)
    for chart in drawn(study_of(tmp_path)).values():
        require_legible(chart.figure)


def test_a_figure_that_is_no_mean_of_its_parts_is_not_drawn_by_part(tmp_path: Path) -> None:
    """`score` makes a perplexity of a loss: the parts are losses still, and belong on no axis of perplexities."""
    metric = replace(GLUCOSE, name="perplexity", unit="")

    def scored_by_exp(epoch: Epoch) -> Epoch:
        return replace(epoch, metric_sums=[2.5 * count for count in metric.counts])

    runs = [
        replace(run, epochs=[scored_by_exp(each) for each in run.epochs]) for run in scored(metric, BEFORE_AND_AFTER)
    ]
    pictures = drawn(judge(tmp_path, *runs))

    assert "strip" in pictures
    assert {"classes", "Accuracy-parallel-True"} & {*pictures} == set()


def test_a_part_without_a_sample_is_in_no_chart(tmp_path: Path) -> None:
    metric = replace(ACCURACY, counts=[0.0, *[100.0] * 9])
    pictures = drawn(judge(tmp_path, *scored(metric, [(0.99, 0.98), (0.98, 0.97)])))

    assert rows_of(pictures["classes"].figure.axes[0]) == ["total", *"123456789"]
    assert rows_of(pictures["Accuracy-parallel-True"].figure.axes[0]) == ["total", *"123456789"]


def test_a_metric_of_many_parts_has_no_endless_chart(tmp_path: Path) -> None:
    metric = replace(ACCURACY, parts=[str(each) for each in range(1000)], counts=[10.0] * 1000)
    pictures = drawn(judge(tmp_path, *scored(metric, [(0.99, 0.98), (0.98, 0.97)])))

    assert {"classes", "Accuracy-parallel-True"} & {*pictures} == set()


def test_a_long_name_is_cut_and_no_name_hides_another_row(tmp_path: Path) -> None:
    long = replace(PERPLEXITY, name="n" * 300, unit="u" * 300)
    judgement = judge(tmp_path / "long", *scored(long, BEFORE_AND_AFTER))
    hiding = answer.write(judge(tmp_path / "speed", *scored(replace(PERPLEXITY, name="speed"), BEFORE_AND_AFTER)))

    assert max(map(len, report.format_report(judgement, answer.write(judgement), layout.Page(60)).split("\n"))) <= 60
    assert [word for word, _ in hiding.rows][:2] == ["speed", "test speed"]
    for chart in drawn(judgement).values():
        require_legible(chart.figure)


def test_launches_alone_do_not_know_the_metric_of_a_users_task(tmp_path: Path) -> None:
    mine = replace(SETTINGS, task="mine.py", dataset="mine")
    judgement = judge(tmp_path, *(make_launch(number, settings=mine) for number in range(2)))

    assert rows(answer.write(judgement))["metric"] == "not measured: bash launch.sh"
    assert tables.arms_table(judgement)[0][3] == "test metric"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(ACCURACY, margin=0.5), "metric.margin differs (0.3, 0.5)"),
        (replace(ACCURACY, name="top-5 accuracy"), "metric.name differs (accuracy, top-5 accuracy)"),
        (replace(ACCURACY, counts=[50.0] * 10), "metric.counts differs"),
    ],
)
def test_runs_that_measure_something_else_are_not_compared(changed: Metric, said: str, tmp_path: Path) -> None:
    paths = put(tmp_path, make_record(), ddp(minute=1, metric=changed))
    with pytest.raises(UserError, match="unfair comparison") as problem:
        study.load(paths)

    assert said in str(problem.value)


@pytest.mark.parametrize(("limit", "said"), [(1.5, "is 2, required at most 1.5"), (2.5, None)])
def test_the_gate_of_what_is_lost_knows_which_way_is_better(limit: float, said: str | None, tmp_path: Path) -> None:
    failure = gates.find_failure(glucose(tmp_path), options(fail_if_accuracy_lost=limit))  # type: ignore[arg-type]

    assert failure == (None if said is None else f"gate failed: mean absolute error difference in mg/dl {said}")


@pytest.mark.parametrize(
    ("figure", "sign", "shown"),
    [
        (12.3456, "", "12.35"),
        (0.0123456, "", "0.01235"),
        (123_456.7, "", "123457"),
        (0.0, "+", "+0.000"),
        (-1e-9, "+", "-1.000e-09"),
        (0.00001234, "", "1.234e-05"),
        (2.5e8, "", "2.500e+08"),
    ],
)
def test_a_figure_has_four_digits_that_count(figure: float, sign: str, shown: str) -> None:
    assert figures.number(PERPLEXITY, figure, sign) == shown


@pytest.mark.parametrize(
    ("figure", "like", "shown"), [(-0.0001, 12.0, "0.00"), (-0.01, 12.0, "-0.01"), (-0.2, 5e4, "0")]
)
def test_a_figure_that_is_rounded_to_zero_has_no_minus(figure: float, like: float, shown: str) -> None:
    assert figures.number(PERPLEXITY, figure, like=like) == shown


def test_figures_of_a_share_are_in_percent_with_two_decimals() -> None:
    assert figures.value(ACCURACY, 99.034, 0.051) == "99.03 ± 0.05 %"
    assert figures.value(GLUCOSE, 12.3) == "12.30 mg/dl"
    assert figures.value(PERPLEXITY, 12.3) == "12.30"
    assert (figures.tested("test loss"), figures.tested("accuracy")) == ("test loss", "test accuracy")
