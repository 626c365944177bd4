"""How a study over several hosts is shown: the row of the answer, the table, the chart, and summary.json."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.judge.judgement import Judgement
from ddpbench.show import answer, charts, html, phrases, sections, summary, tables
from ddpbench.show.charts.style import Chart, colour_of
from ddpbench.turns import TurnArm
from tests.judge.studies import BOTH, OVER_HOSTS, SINGLES, judge, launches, over_hosts
from tests.records import BATCH, GLOO, MACHINE, SHM, at

FOUR = replace(SINGLES, world_size=4, hosts=4)


def chart_of(judgement: Judgement) -> Chart:
    return next(chart for chart in charts.build(judgement) if chart.slug == "hosts")


def curves(axes: Axes) -> dict[str, list[float]]:
    """Return the heights of the points of every line that the legend names."""
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    return {
        name: [round(float(y), 3) for y in np.asarray(line.get_ydata())]
        for name, line in lines.items()
        if not name.startswith("_")
    }


def four_hosts(truth: dict[TurnArm, float], spread: float) -> list:  # type: ignore[type-arg]
    made = launches(5, {**truth, at(FOUR): 0.005}, spread=spread)
    return [replace(each, hosts=4, others=[MACHINE] * 3) for each in made]


def test_an_arm_on_several_hosts_has_words_and_a_colour() -> None:
    assert phrases.workers(BOTH) == "4 workers on 2 hosts"
    assert phrases.arm_in_words(SINGLES, on_gpu=False) == "2 workers of 2 threads on 2 hosts (DDP, gloo)"
    both = phrases.arm_in_words(BOTH, on_gpu=False)
    assert both == "4 workers on 2 hosts (DDP, shared memory and gloo)"
    assert len({colour_of(arm) for arm in (GLOO, SHM, BOTH)}) == 3


def test_the_answer_says_what_hosts_bring_and_what_was_held_fixed(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *over_hosts())
    rows = dict(answer.write(judgement).rows)

    assert rows["hosts"] == (
        "2 hosts are 1.60x (1.59 - 1.61) as fast as one (2 hosts x 1 x 2, gloo): 80 % of the ideal, at the same batch; "
        "where every worker keeps its batch, 89 % of the ideal"
    )
    assert "hosts" not in dict(answer.write(judge(tmp_path / "one", *launches())).rows)


def test_the_table_of_scaling_has_a_column_of_hosts_where_there_are_several(tmp_path: Path) -> None:
    several, one = judge(tmp_path, *over_hosts()).scaling, judge(tmp_path / "one", *launches()).scaling
    names, *rows = tables.scaling_table(several)
    found = {(row[0], row[1]): row[-1] for row in rows}

    assert names[-1] == "of hosts (95 %)"
    assert tables.scaling_table(one)[0][-1] == "efficiency (95 %)"
    assert found["strong", BOTH.label] == "0.75 (0.75 - 0.75)"
    assert found["weak", BOTH.label] == "0.89 (0.89 - 0.89)"
    assert found["strong", SHM.label] == "-"
    assert "the global batch stays the same" in tables.scaling_notes(one)[0]
    assert tables.scaling_notes(several)[-1].startswith("of hosts: speed / (hosts x")


def test_the_chart_has_an_ideal_line_and_a_curve_for_every_way_to_use_hosts(tmp_path: Path) -> None:
    chart = chart_of(judge(tmp_path, *over_hosts()))
    speed, of_hosts, of_workers = chart.figure.axes

    assert chart.finding == "2 hosts are 1.6 (1.6 to 1.6) times as fast as one"
    assert curves(speed) == {
        "ideal": [1.0, 2.0],
        "1 rank a host, gloo": [1.0, 1.6],
        "2 ranks a host, gloo": [1.0, 1.25],
        "2 ranks a host, shm+gloo": [1.0, 1.5],
        "1 rank a host, gloo, weak": [1.0, 1.778],
        "2 ranks a host, shm+gloo, weak": [1.0, 1.786],
    }
    assert curves(of_hosts)["2 ranks a host, shm+gloo"] == [100.0, 75.0]
    assert curves(of_workers)["2 ranks a host, shm+gloo"] == [66.667, 50.0]
    assert curves(of_workers)["1 rank a host, gloo, weak"] == [100.0, 88.889]
    assert "strong: the same global batch; weak: every worker keeps its batch" in chart.conditions


def test_a_curve_goes_on_over_more_hosts_and_its_band_is_the_interval(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *four_hosts(OVER_HOSTS, spread=0.03))
    (row,) = (row for row in judgement.scaling if row.turn == at(FOUR))
    speed = chart_of(judgement).figure.axes[0]
    (band, *_) = (each for each in speed.collections if isinstance(each, PolyCollection))
    heights = [y for _, y in np.asarray(band.get_paths()[0].vertices)]

    assert curves(speed)["ideal"] == [1.0, 4.0]
    assert curves(speed)["1 rank a host, gloo"] == [1.0, 1.6, 2.4]
    assert row.over_one_host is not None
    assert max(heights) == pytest.approx(row.over_one_host.high)
    assert row.over_one_host.low in [pytest.approx(each) for each in heights]


def test_workers_of_one_host_keep_their_own_chart(tmp_path: Path) -> None:
    four = Arm("ddp", 4, 1, "shm")
    *_, hosts, speedup = charts.build(judge(tmp_path, *four_hosts({**OVER_HOSTS, at(four): 0.01}, 0.001)))

    assert (hosts.slug, speedup.slug) == ("hosts", "speedup")
    assert curves(speedup.figure.axes[0]) == {"ideal": [1.0, 4.0], "gloo": [1.111], "shm": [1.333, 2.0]}
    assert "hosts" not in [chart.slug for chart in charts.build(judge(tmp_path / "one", *launches()))]


def test_the_page_shows_the_chart_its_table_and_every_host(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *over_hosts(other=replace(MACHINE, cpu_model="Other CPU")))
    parts = sections.sections_of(judgement, [chart_of(judgement)])
    (picture,) = parts.pictures
    (environment,) = (each for each in parts.folded if each.slug == "environment")

    assert [sheet.title for sheet in picture.sheets] == ["Strong and weak scaling beside one worker"]
    assert [sheet.rows[0][1] for sheet in environment.sheets] == ["Test CPU", "Other CPU"]
    assert environment.sheets[1].title.startswith("Environment of host 1 of the newest launch")
    assert "2 hosts x 2 x 1, shm+gloo" in html.render(judgement, answer.write(judgement), charts.build(judgement))


def test_the_summary_has_hosts_of_arms_and_the_other_hosts(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *over_hosts(times_as_long=1.2))
    found = msgspec.json.decode(summary.encode(judgement, answer.write(judgement)), type=summary.Summary)
    arms = {(arm.label, arm.batch): arm for arm in found.arms}
    (host,) = found.other_hosts

    assert (host.number, host.machine) == (1, MACHINE)
    assert host.times_as_long is not None
    assert host.times_as_long.value == pytest.approx(1.2, rel=0.01)
    both = arms[BOTH.label, BATCH]
    assert (both.hosts, both.ranks) == (2, 4)
    assert both.host_efficiency is not None
    assert both.host_efficiency.value == pytest.approx(0.75)
    assert arms[SHM.label, BATCH].host_efficiency is None
