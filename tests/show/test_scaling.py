"""The chart of speedup: a line joins points that are compared with the same worker, and its name says which."""

from pathlib import Path

from matplotlib.axes import Axes
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.judge.judgement import Judgement
from ddpbench.show.charts import scaling
from tests.judge.studies import judge, launches
from tests.records import BATCH, ONE, SETTINGS, TWO, at, make_launch
from tests.show.test_charts import require_legible

FOUR = Arm("baseline", 1, 4, None)
# Four cores: two ranks of two threads each, and four of one.
WIDE, NARROW = Arm("ddp", 2, 2, "shm"), Arm("ddp", 4, 1, "shm")
STEPS_S = {
    at(ONE): 0.020,
    at(TWO): 0.012,
    at(FOUR): 0.008,
    at(WIDE): 0.007,
    at(NARROW): 0.006,
    at(replace(WIDE, comm="none")): 0.0062,
    at(replace(NARROW, comm="none")): 0.0055,
    at(WIDE, 2 * BATCH): 0.0125,
    at(NARROW, 4 * BATCH): 0.022,
}


def drawn_lines(axes: Axes) -> dict[str, int]:
    """Return how many points each line of the legend has."""
    legend = axes.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    return {name: len(line.get_xdata()) for line in axes.get_lines() if (name := str(line.get_label())) in named}  # type: ignore[arg-type]


def on_gpus(folder: Path) -> Judgement:
    """Judge ranks of two GPUs and of four, which have unlike threads, as they share the cores out."""
    settings = replace(SETTINGS, device="cuda")
    comms = {"shm": "nccl", "none": "none", None: None}
    truth = {
        at(replace(turn.arm, comm=comms[turn.arm.comm]), turn.global_batch): step_s for turn, step_s in STEPS_S.items()
    }
    return judge(folder, *(make_launch(number, truth=truth, settings=settings) for number in range(3)))


def test_points_of_unlike_threads_are_lines_of_unlike_names_and_the_worker_is_named(tmp_path: Path) -> None:
    chart = scaling.speedup(judge(tmp_path, *launches(3, STEPS_S, spread=0.001)))
    above, below = chart.figure.axes

    assert drawn_lines(above) == {"ideal": 2, "shm, 2 threads each": 1, "shm, 1 thread each": 1}
    assert {*drawn_lines(below)} == {"shm, 2 threads each, weak scaling", "shm, 1 thread each, weak scaling"}
    assert len({line.get_marker() for line in above.get_lines() if str(line.get_label()).startswith("shm")}) == 2
    assert "speed over that of one worker, a process of as many threads as a rank has; weak" in chart.conditions
    require_legible(chart.figure)


def test_where_one_worker_is_one_gpu_threads_part_no_line(tmp_path: Path) -> None:
    chart = scaling.speedup(on_gpus(tmp_path))

    assert drawn_lines(chart.figure.axes[0]) == {"ideal": 2, "nccl": 2}
    assert "speed over that of one worker; weak" in chart.conditions
