"""The report in a terminal: the answer, one table of what a user could choose, and nothing else before cautions."""

from pathlib import Path

from ddpbench.judge.judgement import Judgement
from ddpbench.show import answer, explain, report, tables
from ddpbench.show.layout import Page
from tests.judge.studies import complete, judge, launches, whole_runs
from tests.records import ddp
from tests.show.test_answer import noisy_control


def report_of(judgement: Judgement) -> str:
    return report.format_report(judgement, answer.write(judgement))


def test_the_answer_comes_first_with_its_interval_as_a_strip(tmp_path: Path) -> None:
    lines = report_of(judge(tmp_path, *complete(5))).split("\n")

    assert lines[:3] == [
        "SLOWER   2 workers (DDP, shared memory) against one process (2 threads)",
        "  speed      20 % slower: 18 to 22 % (95 %, n = 5 launches)",
        "             slower 0.67x ······-o-·······|················ 1.5x faster",
    ]
    assert max(map(len, lines)) <= 80


def test_the_one_table_has_no_control_and_says_what_was_equal_to_the_bit(tmp_path: Path) -> None:
    gloo = [ddp(seed=seed, comm="gloo", train_s=(9, 5, 5), accuracy=0.98) for seed in range(3)]
    shm = whole_runs(accuracies=(0.99, 0.98))
    judgement = judge(tmp_path, *complete()[:3], *shm, *gloo)
    table = {row[0]: row[1:] for row in tables.arms_table(judgement)}
    text = report_of(judgement)

    assert table["baseline, 2 threads"] == ("12.00", "1 (reference)", "99.00 ± 0.00 %", "3")
    assert table["ddp 2 x 1, gloo"][2] == "98.00 ± 0.00 %"
    assert table["ddp 2 x 1, shm"][2] == "equal to the bit"
    assert "equal to the bit: ddp 2 x 1, shm learnt exactly what ddp 2 x 1, gloo learnt" in text
    assert "no communication" not in text
    assert "nothing exchanged" not in text
    assert [row[0] for row in tables.all_arms_table(judgement)][-1] == "ddp 2 x 1, nothing exchanged (control)"


def test_n_counts_launches_and_then_runs_where_they_differ(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *complete(5))
    counts = {row[0]: row[-1] for row in tables.arms_table(judgement)}

    assert (counts["baseline, 1 thread"], counts["ddp 2 x 1, shm"]) == ("5", "5, 3")
    assert "n: launches, then whole runs" in report_of(judgement)


def test_words_of_a_term_say_that_it_may_be_nothing(tmp_path: Path) -> None:
    text = " ".join(explain.explain(judge(tmp_path, *noisy_control()), Page()).split())

    assert "**DDP's bookkeeping and exchanging gradients, +2.50 ms" in text
    assert "%, which of them is not known**: DDP's bookkeeping: what DDP does in each step" in text


def test_a_study_without_one_worker_says_that_where_the_time_goes_was_not_measured(tmp_path: Path) -> None:
    text = explain.explain(judge(tmp_path, *whole_runs()), Page())

    assert text == ("Where the time goes was not measured in this study: bash launch.sh measures what\nit takes.\n")


def test_one_launch_is_no_ground_for_advice_on_causes(tmp_path: Path) -> None:
    written = dict(answer.write(judge(tmp_path, *launches(1))).rows)

    assert "exchanging gradients" in written["why"]
    assert written["so"] == "until then stay with one process (2 threads)"
