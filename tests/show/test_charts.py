"""Charts state their finding, and their texts neither overlap nor leave the picture, whatever the study is."""

import io
from pathlib import Path

import matplotlib as mpl
import msgspec
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from ddpbench.arm import Arm
from ddpbench.show import charts
from ddpbench.show.charts.style import WIDTH, colour_of
from tests.judge.studies import judge, known, swept, two_arms
from tests.records import MACHINE, SETTINGS, ddp, make_record


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def undrawn(text: Text, figure: Figure) -> bool:
    """Whether a text labels a tick outside its axis: matplotlib keeps those in its list and does not draw them."""
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            if any(text in (tick.label1, tick.label2) and not low <= tick.get_loc() <= high for tick in ticks):
                return True
    return False


def require_legible(figure: Figure) -> None:
    """Fail when two texts overlap, or when one leaves the picture."""
    canvas = FigureCanvasAgg(figure)
    figure.savefig(io.BytesIO(), format="png")
    renderer = canvas.get_renderer()
    width, _ = canvas.get_width_height()
    drawn = [(each.get_text(), each.get_window_extent(renderer)) for each in texts(figure) if not undrawn(each, figure)]
    for text, box in drawn:
        assert box.x0 >= -1, text
        assert box.x1 <= width + 1, text
    for index, (text, box) in enumerate(drawn):
        for other, other_box in drawn[:index]:
            overlap_x = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
            overlap_y = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
            assert min(overlap_x, overlap_y) < 2, (text, other)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_charts_of_a_study_are_legible(seeds: int, tmp_path: Path) -> None:
    whole = [record for seed in range(seeds) for record in known(seed)]
    shm = [ddp(seed=seed, comm="shm", train_s=(9, 5.5, 5.5)) for seed in range(seeds)]
    for name, records in (("plain", two_arms(seeds)), ("whole", whole), ("two comms", [*whole, *shm])):
        judgement = judge(tmp_path / name, *records)
        for chart in [*charts.build(judgement), *charts.build_originals(judgement)]:
            require_legible(chart.figure)


def test_the_chart_of_a_sweep_is_legible(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *swept((64, 128, 256, 512, 1024)), *swept((320,), minute=30))
    (chart,) = charts.build(judgement)

    require_legible(chart.figure)
    assert "overtakes the best single process at a global batch of" in chart.finding


def test_what_was_measured_decides_which_charts_there_are(tmp_path: Path) -> None:
    assert [chart.slug for chart in charts.build(judge(tmp_path / "whole", *known()))] == [
        "comparison",
        "breakdown",
        "speedup",
        "learning",
        "classes",
        "ranks",
    ]
    assert [chart.slug for chart in charts.build(judge(tmp_path / "half", make_record()))] == ["comparison"]


def test_titles_state_the_finding_and_the_conditions(tmp_path: Path) -> None:
    comparison = charts.build(judge(tmp_path, *two_arms()))[0]

    assert comparison.finding == "ddp 2 x 1, gloo is 0.81x as fast as the best single process"
    assert "Test CPU, 2 cores; cnn on mnist; global batch 256, 3 epochs" in comparison.conditions
    assert "baseline, 1 thread 6.06 s" in comparison.alt


def test_bars_begin_at_zero_and_a_cut_axis_says_so(tmp_path: Path) -> None:
    time, accuracy = charts.build(judge(tmp_path, *two_arms()))[0].figure.axes

    assert time.get_xlim()[0] == 0
    assert accuracy.get_xlim()[0] > 0
    assert "axis cut" in accuracy.get_xlabel()


def test_the_waterfall_ends_where_the_run_did(tmp_path: Path) -> None:
    figure = next(chart for chart in charts.build(judge(tmp_path, *known())) if chart.slug == "breakdown").figure
    bars = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]

    assert bars[-2].get_x() + bars[-2].get_width() == pytest.approx(6)
    assert (bars[-1].get_x(), bars[-1].get_width()) == (0, 6)


@pytest.mark.slow
def test_a_single_epoch_and_many_epochs_can_be_drawn(tmp_path: Path) -> None:
    for epochs in (1, 2, 30):
        changes = {"train_s": [4.0] * epochs, "settings": msgspec.structs.replace(SETTINGS, epochs=epochs)}
        judgement = judge(tmp_path / str(epochs), make_record(**changes), ddp(**changes))  # type: ignore[arg-type]
        for chart in charts.build_originals(judgement):
            require_legible(chart.figure)


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    sly = msgspec.structs.replace(MACHINE, cpu_model=r"$\frac{$ & Co")
    chart = charts.build(judge(tmp_path, make_record(environment=sly), ddp(environment=sly)))[0]

    assert chart.png.startswith(b"\x89PNG")
    assert "<svg" in chart.svg


@pytest.mark.slow
def test_pictures_of_equal_studies_are_equal(tmp_path: Path) -> None:
    for chart in charts.build(judge(tmp_path, *known())):
        assert chart.svg == chart.svg
        assert chart.png == chart.png


def test_settings_that_were_changed_before_us_change_no_pixel(tmp_path: Path) -> None:
    """A notebook or another library may have changed settings of matplotlib in this process."""
    judgement = judge(tmp_path, *known())
    plain = charts.build(judgement)[0]
    drawn = plain.svg, plain.png
    with mpl.rc_context({"font.size": 30, "font.family": "serif", "savefig.dpi": 20, "axes.facecolor": "black"}):
        changed = charts.build(judgement)[0]
        assert (changed.svg, changed.png) == drawn


def test_charts_are_narrow_enough_for_a_phone() -> None:
    """A phone of 375 CSS pixels has 343 for a chart. The smallest font, 9 points, must be over 6 pixels high there."""
    assert 343 / (WIDTH * 96) * 9 * 96 / 72 > 6


def test_one_colour_an_arm() -> None:
    reference = colour_of(Arm("baseline", 1, 2, None), is_reference=True)
    arms = (Arm("ddp", 2, 1, "gloo"), Arm("ddp", 2, 1, "nccl"), Arm("data_parallel", 1, 2, None))

    assert len({reference, *map(colour_of, arms)}) == 4
