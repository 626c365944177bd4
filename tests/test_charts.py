"""Charts state their finding, and nothing in them overlaps or is cut off, whatever the study looks like."""

import io
from pathlib import Path

import msgspec
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ddpbench.judge import arms, charts, study
from ddpbench.record import Arm
from tests.records import SETTINGS, ddp, make_record, put
from tests.test_judge import two_arms


def results_of(folder: Path, *records: object) -> tuple[study.Study, list[arms.ArmResult]]:
    put(folder, *records)  # type: ignore[arg-type]
    loaded = study.load([folder])
    return loaded, arms.judge(loaded)


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
    drawn = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure) if not undrawn(text, figure)]
    for said, box in drawn:
        assert box.x0 >= -1, said
        assert box.x1 <= width + 1, said
    for index, (said, box) in enumerate(drawn):
        for other, other_box in drawn[:index]:
            overlap_x = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
            overlap_y = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
            assert min(overlap_x, overlap_y) < 2, (said, other)


@pytest.mark.parametrize("seeds", [1, 3])
def test_charts_of_a_study_are_legible(seeds: int, tmp_path: Path) -> None:
    _, results = results_of(tmp_path, *two_arms(seeds))
    reference = arms.reference_of(results)
    figures = [charts.draw_comparison(results)]
    figures += [draw(result, reference) for result in results for draw in (charts.draw_loss, charts.draw_accuracy)]

    for figure in figures:
        require_legible(figure)


def test_titles_state_the_finding_and_the_conditions(tmp_path: Path) -> None:
    _, results = results_of(tmp_path, *two_arms())
    said = [text.get_text() for text in texts(charts.draw_comparison(results))]

    assert "ddp 2 x 1, gloo is 0.81x as fast as the best single process" in said
    assert any("Test CPU, 2 cores; cnn on mnist; global batch 256, 3 epochs" in text for text in said)
    assert "training time per epoch (s)" in said


def test_bars_begin_at_zero_and_a_cut_axis_says_so(tmp_path: Path) -> None:
    _, results = results_of(tmp_path, *two_arms())
    time, accuracy = charts.draw_comparison(results).axes

    assert time.get_xlim()[0] == 0
    assert accuracy.get_xlim()[0] > 0
    assert "axis cut" in accuracy.get_xlabel()


def test_a_single_epoch_and_many_epochs_can_be_drawn(tmp_path: Path) -> None:
    for epochs in (1, 2, 30):
        folder = tmp_path / str(epochs)
        changes = {"train_s": [4.0] * epochs, "settings": msgspec.structs.replace(SETTINGS, epochs=epochs)}
        loaded, results = results_of(folder, make_record(**changes), ddp(**changes))  # type: ignore[arg-type]
        require_legible(charts.draw_loss(results[0], results[0]))
        assert len(charts.draw_all(loaded, results)) == 5


def test_one_colour_an_arm() -> None:
    reference = Arm("baseline", 1, 2, None)
    colours = [
        charts.colour_of(arm, reference)
        for arm in (reference, Arm("ddp", 2, 1, "gloo"), Arm("ddp", 2, 1, "nccl"), Arm("data_parallel", 1, 2, None))
    ]

    assert len(set(colours)) == 4
