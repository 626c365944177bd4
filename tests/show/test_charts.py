"""Charts state what their intervals show. Their texts neither overlap nor leave the picture, whatever the study is."""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.judge.judgement import Judgement
from ddpbench.record import Epoch, Record
from ddpbench.show import charts, drawing
from ddpbench.show.charts.style import WIDTH, Chart, colour_of
from ddpbench.turns import Launch, TurnArm
from tests.judge.studies import complete, ended_after, faster, judge, launches, over_hosts, swept, two_arms, whole_runs
from tests.records import (
    GLOO,
    MACHINE,
    NONE,
    NOTHING,
    ONE,
    SETTINGS,
    SHM,
    TRUTH,
    TWO,
    at,
    ddp,
    make_launch,
    make_record,
)

Measured = Sequence[Record | Launch]
FOUR = [replace(arm, world_size=4) for arm in (SHM, NONE, NOTHING)]
WORLDS = {
    **TRUTH,
    at(FOUR[0]): 0.009,
    at(FOUR[1]): 0.0065,
    at(FOUR[2]): 0.0068,
    at(FOUR[0], 1024): 0.022,
    at(SHM, 512): 0.02,
    at(ONE, 64): 0.006,
}


def drawn(judgement: Judgement) -> dict[str, Chart]:
    """Return every chart of a study by its name."""
    return {chart.slug: chart for chart in [*charts.build(judgement), *charts.build_originals(judgement)]}


def stalled(count: int, spread: float = 0.1) -> list[Launch]:
    """Return launches that differ by much, and in which every seventh block is stalled."""

    def factor(number: int) -> Callable[[TurnArm, int], float]:
        moved = math.exp(spread * (number - (count - 1) / 2))
        return lambda turn, each: (moved if turn.arm.world_size > 1 else 1) * (9 if each % 7 == 6 else 1 + 0.01 * each)

    return [make_launch(number, factor(number), rounds=20) for number in range(count)]


def evenly(launch: Launch) -> Launch:
    """Return a launch in which every rank waits equally long for the others."""
    visits = [
        each if each.late_s is None else replace(each, late_s=[[max(row)] * len(row) for row in each.late_s])
        for each in launch.visits
    ]
    return replace(launch, visits=visits)


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
    canvas: Any = FigureCanvasAgg(figure)  # Any, because its methods have no types
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


def rows_of(axes: Axes) -> list[str]:
    """Return the labels of the rows, the first at the top."""
    return [label.get_text() for label in axes.get_yticklabels()]


def xs(line: Line2D) -> list[float]:
    """Return where the points of a line lie, from left to right."""
    return [float(each) for each in np.asarray(line.get_xdata())]


def ys(line: Line2D) -> list[float]:
    """Return how high the points of a line lie."""
    return [float(each) for each in np.asarray(line.get_ydata())]


def bars_of(axes: Axes) -> list[Rectangle]:
    """Return the bars, which have a width and a height; a shaded margin is as high as the axes."""
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


STUDIES: dict[str, Callable[[], Measured]] = {
    "faster, less accurate": lambda: [*launches(6, faster()), *whole_runs(3, accuracies=(0.99, 0.97))],
    "one launch": lambda: launches(1),
    "two launches, one seed": lambda: [*stalled(2), *whole_runs(1)],
    "stalled": lambda: [*stalled(5), *whole_runs(2, accuracies=(1.0, 0.98))],
    "by hand": two_arms,
    "four workers": lambda: launches(4, WORLDS),
    "two hosts": lambda: [*over_hosts(times_as_long=1.2), *whole_runs(1)],
    "sweep": lambda: swept((16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192), check=320),
    "sweep, one launch": lambda: swept(count=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_charts_are_legible_and_can_stand_in_a_page(name: str, tmp_path: Path) -> None:
    for chart in drawn(judge(tmp_path, *STUDIES[name]())).values():
        require_legible(chart.figure)
        drawing.embed(chart)


def test_what_was_measured_decides_which_charts_there_are(tmp_path: Path) -> None:
    def names(folder: str, *measured: Record | Launch) -> list[str]:
        return [chart.slug for chart in charts.build(judge(tmp_path / folder, *measured))]

    first, runs = ["strip", "comparison", "breakdown"], whole_runs(accuracies=(0.99, 0.98))
    assert names("whole", *launches(), *runs) == [*first, "whole-run", "launches", "learning", "classes", "ranks"]
    assert names("equal", *launches(), *whole_runs()) == [*first, "whole-run", "launches", "learning", "ranks"]
    assert names("speed", *launches()) == [*first, "launches", "ranks"]
    assert names("one launch", *launches(1)) == first
    assert names("worlds", *map(evenly, launches(3, WORLDS))) == [*first, "launches", "speedup"]
    assert names("hand", *runs) == ["strip", "comparison", "whole-run", "launches", "learning", "classes"]
    assert names("half", make_record()) == ["comparison"]
    assert names("sweep", *swept()) == ["sweep"]


@pytest.mark.parametrize(
    ("times", "spread", "count", "title"),
    [
        (1.25, 0.01, 6, "2 workers are 22 % to 28 % faster than one process"),
        (2.2, 0.01, 6, "2 workers are 2.15 to 2.25 times as fast as one process"),
        (0.8, 0.01, 6, "2 workers are 18 % to 22 % slower than one process"),
        (1.0, 0.002, 6, "No difference that matters: 2 workers are between 0.5 % slower and 0.5 % faster"),
        (1.0, 0.05, 6, "Cannot tell: 2 workers are between 11 % slower and 13 % faster"),
        (1.0, 0.5, 2, "Cannot tell: 2 workers are between more than 90 % slower and more than 10 times as fast"),
        (1.25, 0.01, 1, "Cannot tell: measured once, there is no interval"),
    ],
)
def test_the_strip_says_what_its_interval_shows(
    times: float, spread: float, count: int, title: str, tmp_path: Path
) -> None:
    judgement = judge(tmp_path, *launches(count, faster(times), spread=spread))
    chart = drawn(judgement)["strip"]
    (axes,) = chart.figure.axes
    dots = axes.get_lines()[1]
    assert judgement.comparison is not None
    speed = judgement.comparison.speed
    assert speed is not None

    assert chart.finding == title
    assert len(xs(dots)) == count
    low, high = axes.get_xlim()
    assert low * high == pytest.approx(1)
    assert low < speed.value < high
    if count == 6:
        assert low < (speed.low or 0) < (speed.high or math.inf) < high
    assert "shaded: a difference that does not matter (3 % of speed)" in chart.conditions


def test_pictures_state_the_machine_and_what_was_trained(tmp_path: Path) -> None:
    for chart in charts.build(judge(tmp_path, *complete())):
        assert "Test CPU, 2 cores; cnn on mnist; global batch 256" in chart.conditions, chart.slug
        assert "shm" in chart.finding + chart.conditions + chart.alt, chart.slug


def test_the_strip_shows_the_interval_of_accuracy_that_was_tested(tmp_path: Path) -> None:
    runs = [
        replace(run, epochs=[replace(epoch, metric=0.99 + 0.001 * run.seed) for epoch in run.epochs])
        if run.kind == "ddp"
        else run
        for run in whole_runs()
    ]
    judgement = judge(tmp_path, *launches(), *runs)
    axes = drawn(judgement)["strip"].figure.axes[1]
    assert judgement.comparison is not None
    assert judgement.comparison.learnt is not None
    tested = judgement.comparison.learnt.tested
    ends = [xs(line) for line in axes.get_lines() if len(xs(line)) == 2]

    assert [tested.low, tested.high] in [pytest.approx(pair) for pair in ends]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["seeds, n = 3", "90 % interval"]


def test_arms_are_sorted_and_controls_stand_apart(tmp_path: Path) -> None:
    chart = drawn(judge(tmp_path, *launches(6, {**faster(1.25), at(GLOO): 0.02})))["comparison"]
    (axes,) = chart.figure.axes

    assert rows_of(axes) == [
        "ddp 2 x 1, shm",
        "baseline, 2 threads",
        "baseline, 1 thread",
        "ddp 2 x 1, gloo",
        "controls (no results)",
        "2 x 1, no communication",
        "ddp 2 x 1, nothing exchanged",
    ]
    assert chart.finding == "Against one process, ddp 2 x 1, gloo is slower; ddp 2 x 1, shm is faster"
    assert "ddp 2 x 1, shm 9.60 ms" in chart.alt
    assert "Test CPU, 2 cores; cnn on mnist; global batch 256" in chart.conditions


def test_arms_that_are_equal_to_the_bit_are_one_row(tmp_path: Path) -> None:
    runs = [
        *whole_runs(accuracies=(0.99, 0.98)),
        *(ddp(seed=seed, accuracy=0.98, minute=30 + seed) for seed in range(3)),
    ]
    truth = {**TRUTH, at(GLOO): 0.02}
    accuracy = drawn(judge(tmp_path, *launches(3, truth), *runs))["comparison"].figure.axes[1]

    assert rows_of(accuracy) == ["baseline, 2 threads", "ddp 2 x 1, shm\n= ddp 2 x 1, gloo, to the bit"]


def test_bars_begin_at_zero_and_a_cut_axis_says_so(tmp_path: Path) -> None:
    time, accuracy = drawn(judge(tmp_path, *two_arms()))["comparison"].figure.axes

    assert time.get_xlim()[0] == 0
    assert accuracy.get_xlim()[0] > 0
    assert "axis cut" in accuracy.get_xlabel()


def test_the_waterfall_ends_where_the_step_did(tmp_path: Path) -> None:
    chart = drawn(judge(tmp_path, *launches(6, spread=0.001)))["breakdown"]
    (axes,) = chart.figure.axes
    ends = [bar.get_x() + bar.get_width() for bar in bars_of(axes)]

    assert ends[0] == pytest.approx(10, rel=0.01)
    assert ends[-1] == pytest.approx(15, rel=0.01)
    assert rows_of(axes)[:5] == [
        "2 ideal workers",
        "smaller batches",
        "sharing the machine",
        "DDP's bookkeeping",
        "exchanging gradients",
    ]
    assert chart.finding == (
        "Lost from a step: exchanging gradients (13 %), sharing the machine (10 %), smaller batches (7 %) "
        "and DDP's bookkeeping (3 %)"
    )
    assert axes.get_xlim()[0] > 0
    assert "does not begin at 0" in axes.get_xlabel()


def test_causes_that_are_not_certain_are_one_bar_and_in_no_title(tmp_path: Path) -> None:
    """The controls wobble by more than the terms on either side of them."""

    def factor(number: int) -> Callable[[TurnArm, int], float]:
        wobble = 0.2 * (-1) ** number
        return lambda turn, _: {NONE: 1 + wobble, NOTHING: 1 - wobble}.get(turn.arm, 1.0)

    chart = drawn(judge(tmp_path, *(make_launch(number, factor(number)) for number in range(4))))["breakdown"]
    labels = rows_of(chart.figure.axes[0])

    assert labels == [
        "2 ideal workers",
        "smaller batches",
        "not certain:\nsharing the machine\n+ DDP's bookkeeping\n+ exchanging gradients",
        "observed",
    ]
    assert chart.finding == "Lost from a step: smaller batches (7 %)"
    once = drawn(judge(tmp_path / "once", *launches(1)))["breakdown"]
    assert once.finding == "Where a step goes, measured once: no cause is certain"


def test_a_whole_run_is_shown_with_its_start_and_its_turn(tmp_path: Path) -> None:
    def judged(name: str, times: float, later_s: float) -> Judgement:
        step_s = TRUTH[at(TWO)] / times
        runs = whole_runs(parallel_step_s=step_s, startup_s=(3.0, 3.0 + later_s))
        return judge(tmp_path / name, *launches(6, faster(times), spread=0.001), *runs)

    judgement = judged("turns", 1.25, 4.0)
    chart = drawn(judgement)["whole-run"]
    (axes,) = chart.figure.axes
    (crossing,) = (line for line in axes.get_lines() if line.get_label() == "crossing")
    assert judgement.comparison is not None
    assert judgement.comparison.whole_run is not None

    assert chart.finding == "For 3 epochs, one process is done first; 2 workers would be ahead from about 8 epochs on"
    assert xs(crossing) == [pytest.approx(judgement.comparison.whole_run.turning.epochs)]
    assert axes.get_xlim()[1] > judgement.comparison.whole_run.turning.epochs
    assert ys(axes.get_lines()[0])[0] == 3.0
    assert drawn(judged("never", 0.8, 4.0))["whole-run"].finding.endswith("2 workers never would be ahead")
    ahead = "For 3 epochs, 2 workers are done first; 2 workers would be ahead from the first epoch on"
    assert drawn(judged("at once", 1.25, -1.0))["whole-run"].finding == ahead


def test_the_losses_of_the_last_epoch_are_of_the_seeds_that_both_arms_have(tmp_path: Path) -> None:
    def learnt(run: Record, loss: float) -> Record:
        return replace(run, epochs=[replace(each, train_loss=loss, loss_curve=[loss, loss]) for each in run.epochs])

    runs = [learnt(run, 0.4 if run.kind == "ddp" else 0.2) for run in two_arms(2)]
    chart = drawn(judge(tmp_path, *runs, learnt(make_record(seed=9), 5.0)))["learning"]

    assert chart.finding == "The loss of the last epoch is 0.400 against 0.200"


def test_launches_show_the_interval_that_narrows_and_what_was_stolen(tmp_path: Path) -> None:
    made = launches(7)
    chart = drawn(judge(tmp_path / "stolen", *made))["launches"]
    speeds, stolen = chart.figure.axes
    (line,) = (line for line in speeds.get_lines() if line.get_markersize() == 8)

    assert chart.finding == "After 7 launches the interval is ±2 %; after 5 it was ±3 %"
    assert ys(line) == pytest.approx([0.8 * math.exp(-0.01 * step) for step in range(-3, 4)])
    assert [bar.get_height() for bar in bars_of(stolen)] == [pytest.approx(0.5)] * 7
    unstolen = [replace(launch, stolen_s=[0.0] * len(launch.stolen_s)) for launch in made]
    assert len(drawn(judge(tmp_path / "alone", *unstolen))["launches"].figure.axes) == 1


def test_stalled_rounds_are_counted_and_do_not_rule_the_axis(tmp_path: Path) -> None:
    made = [
        make_launch(number, lambda turn, each: 20 if turn.arm == SHM and each in (2, 5) else 1 + 0.01 * each, rounds=20)
        for number in range(3)
    ]
    chart = drawn(judge(tmp_path, *made))["launches"]

    assert "6 of them outside the picture" in chart.conditions
    assert chart.figure.axes[0].get_ylim()[0] > 0.5


def test_learning_says_where_curves_lie_on_each_other(tmp_path: Path) -> None:
    runs = whole_runs(accuracies=(0.99, 0.98))

    def scaled(epoch: Epoch, factor: float) -> Epoch:
        curve = [factor * loss for loss in epoch.loss_curve]
        return replace(epoch, train_loss=factor * epoch.train_loss, loss_curve=curve)

    def losses_times(factor: float) -> list[Record]:
        factors = {"ddp": factor, "baseline": 1.0}
        return [replace(run, epochs=[scaled(each, factors[run.kind]) for each in run.epochs]) for run in runs]

    same = drawn(judge(tmp_path / "same", *whole_runs()))["learning"]
    near = drawn(judge(tmp_path / "near", *losses_times(1.01)))["learning"]
    far = drawn(judge(tmp_path / "far", *losses_times(1.2)))["learning"]

    assert same.finding == "Both learn the same, to the bit, step by step"
    assert near.finding == "Step by step the curves lie on each other: 1 % apart on average"
    assert far.finding == "The loss of the last epoch is 0.200 against 0.167"
    starts = [xs(line)[0] for line in far.figure.axes[1].get_lines()]
    assert min(starts) > 3.0
    assert max(starts) > 7.0


def test_noise_between_classes_makes_no_headline(tmp_path: Path) -> None:
    chart = drawn(judge(tmp_path, *whole_runs(accuracies=(0.99, 0.98))))["classes"]

    assert chart.finding == "Accuracy by class: 99.00 and 98.00 % in total"
    assert "one may differ by chance" in chart.conditions


def test_ranks_are_shown_only_where_one_lags(tmp_path: Path) -> None:
    lagging = drawn(judge(tmp_path / "lags", *launches()))
    assert lagging["ranks"].finding.startswith("Rank 1 is the slowest: others wait 0.75 (")
    assert "ranks" not in drawn(judge(tmp_path / "even", *map(evenly, launches())))


def test_speedup_needs_three_world_sizes(tmp_path: Path) -> None:
    chart = drawn(judge(tmp_path, *launches(3, WORLDS, spread=0.001)))["speedup"]

    assert chart.finding == "4 workers are 2.2 (2.2 to 2.2) times as fast as one worker"
    assert "shm, weak scaling" in [text.get_text() for text in texts(chart.figure)]


def test_a_sweep_is_titled_by_what_intervals_show(tmp_path: Path) -> None:
    checked = drawn(judge(tmp_path / "checked", *swept(check=320)))["sweep"]
    (axes,) = checked.figure.axes
    labels = [line.get_label() for line in axes.get_lines()]

    assert checked.finding == "2 workers are slower up to batch 256, and faster from 320 on"
    assert "predicted crossing: 300" in labels
    assert "its check at 320" in labels
    assert axes.get_xscale() == axes.get_yscale() == "log"
    slower = drawn(judge(tmp_path / "slower", *swept(parallel=(0.004, 3e-5))))["sweep"]
    assert slower.finding == "2 workers are slower at every batch from 64 to 1024"
    once = drawn(judge(tmp_path / "once", *swept(count=1)))["sweep"]
    assert once.finding == "2 workers are neither shown to be slower nor faster from batch 64 to 1024"


def test_original_charts_have_equal_axes_and_no_accuracy_above_100(tmp_path: Path) -> None:
    runs = [
        replace(run, epochs=[replace(epoch, loss_curve=[0.01, 0.02]) for epoch in run.epochs])
        if run.kind == "ddp"
        else run
        for run in whole_runs(accuracies=(1.0, 0.9))
    ]
    pictures = drawn(judge(tmp_path, *runs))
    for name in ("Loss", "Accuracy"):
        one, two = (pictures[f"{name}-parallel-{word}"].figure.axes[0] for word in ("False", "True"))
        assert one.get_xlim() == two.get_xlim()
        assert one.get_ylim() == two.get_ylim()
    assert one.get_xlim()[1] <= 100


def test_original_charts_show_runs_of_any_length(tmp_path: Path) -> None:
    runs = [ended_after(run, 2 if run.kind == "ddp" else 3) for run in whole_runs()]
    pictures = drawn(judge(tmp_path, *runs))

    assert pictures["Loss-parallel-True"].figure.axes[0].get_xlim() == (0, 3)


@pytest.mark.slow
def test_a_single_epoch_and_many_epochs_can_be_drawn(tmp_path: Path) -> None:
    for epochs in (1, 2, 30):
        changes = {"train_s": [4.0] * epochs, "settings": replace(SETTINGS, epochs=epochs)}
        judgement = judge(tmp_path / str(epochs), make_record(**changes), ddp(**changes))  # type: ignore[arg-type]
        for chart in charts.build_originals(judgement):
            require_legible(chart.figure)


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    sly = replace(MACHINE, cpu_model=r"$\frac{$ & Co")
    chart = charts.build(judge(tmp_path, make_record(environment=sly), ddp(environment=sly)))[0]

    assert chart.png.startswith(b"\x89PNG")
    assert "<svg" in chart.svg


@pytest.mark.slow
def test_pictures_of_equal_studies_are_equal(tmp_path: Path) -> None:
    for chart in charts.build(judge(tmp_path, *launches())):
        assert chart.svg == chart.svg
        assert chart.png == chart.png


def test_settings_that_were_changed_before_us_change_no_pixel(tmp_path: Path) -> None:
    """A notebook or another library may have changed settings of matplotlib in this process."""
    judgement = judge(tmp_path, *launches())
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
