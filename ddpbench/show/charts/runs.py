"""How long a whole run takes by the clock on the wall, and from how many epochs on that turns."""

import math

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpbench.arm import plural
from ddpbench.judge.comparison import Comparison, Turning, WholeRun
from ddpbench.judge.epochs import run_s
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.stats import Estimate
from ddpbench.show import phrases
from ddpbench.show.charts import words
from ddpbench.show.charts.style import INK, PALE, Chart, colour_of_result, conditions_of, write_legend

FARTHEST = 20  # times the study's epochs: a crossing beyond them is not drawn


def whole_run(judgement: Judgement, comparison: Comparison, whole: WholeRun, speed: Estimate) -> Chart:
    """Seconds since the start of python or torchrun against epochs, of both arms, and where their lines cross."""
    both = (comparison.reference, comparison.parallel)
    most, crossing = _epochs_shown(whole), whole.turning.epochs if whole.turning else math.inf

    def reference_s(epochs: float) -> float:
        return whole.startup_s[0] + epochs * (whole.train_s + whole.eval_s[0])

    def parallel_s(epochs: float, times: float = speed.value) -> float:
        return whole.startup_s[1] + epochs * (whole.train_s / times + whole.eval_s[1])

    def draw(figure: Figure) -> None:
        axes, ends = figure.subplots(), (0, most)
        lines = [list(map(reference_s, ends)), list(map(parallel_s, ends))]
        took = [[(len(run.epochs), run_s(run)) for run in result.runs] for result in both]
        highest = max(seconds for _, seconds in [*took[0], *took[1], (most, lines[0][1]), (most, lines[1][1])])
        for result, seconds, dots, dashes in zip(both, lines, took, ("-", "--"), strict=True):
            colour = colour_of_result(result)
            axes.plot(ends, seconds, dashes, color=colour, linewidth=2, label=result.arm.label)
            axes.plot(*zip(*dots, strict=True), "o", color=colour, markersize=5, markeredgecolor=INK, alpha=0.8)
        if speed.low is not None and speed.high is not None:
            least, longest = ([parallel_s(end, bound) for end in ends] for bound in (speed.high, speed.low))
            axes.fill_between(ends, least, longest, color=colour_of_result(both[1]), alpha=0.2, linewidth=0)
            # The band of few launches may be many times as high as the lines. It is cut, so that these can be read.
            highest = max(highest, min(longest[1], 1.5 * highest))
        if whole.epochs is not None:
            axes.axvline(whole.epochs, color=INK, linewidth=0.8, linestyle=":")
        if 0 < crossing <= most:
            axes.plot([crossing], [parallel_s(crossing)], "D", color=INK, markersize=7, label="crossing")
        axes.set_xlim(0, most)
        axes.set_ylim(0, 1.04 * highest)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("epochs" if whole.epochs is None else f"epochs (dotted: the study's {whole.epochs})")
        axes.set_ylabel("seconds since the start")
        axes.grid(axis="y", color=PALE, alpha=0.4)
        write_legend(axes, 3)

    small = "start-up, then epochs with evaluation; dots: whole runs, whose first epoch may take longer"
    band = "" if speed.low is None else "; band: 95 % interval of the speed"
    longer = words.interval(whole.times_as_long)
    until = "until the target" if whole.epochs is None else f"of {plural(whole.epochs, 'epoch')}"
    turns = f" {_turning(whole.turning)}." if whole.turning else ""
    return Chart(
        slug="whole-run",
        finding=_finding(comparison, whole),
        conditions=conditions_of(judgement.study.newest, f"{small}{band}"),
        alt=(
            f"Two lines of seconds against epochs. {both[0].arm.label} starts training after "
            f"{whole.startup_s[0]:.1f} s, {both[1].arm.label} after {whole.startup_s[1]:.1f} s. "
            f"Whole runs {until} take {whole.reference_s.value:.1f} s and "
            f"{whole.parallel_s.value:.1f} s, {longer} times as long.{turns}"
        ),
        height=3.4,
        draw=draw,
    )


def _epochs_shown(whole: WholeRun) -> float:
    if whole.turning is None:
        return 1.5 * max(map(max, whole.lengths))
    crossing, longest = whole.turning.epochs, max(map(max, whole.lengths))
    if crossing <= FARTHEST * longest:
        return max(1.4 * crossing, 1.5 * longest)
    return 2.0 * longest


def _finding(comparison: Comparison, whole: WholeRun) -> str:
    arm, longer = comparison.parallel.arm, whole.times_as_long
    how_long = f"For {plural(whole.epochs, 'epoch')}" if whole.epochs is not None else "Until the target"
    name = phrases.workers(arm)
    if longer.low is None or longer.high is None:
        took = f"{whole.parallel_s.value:.1f} s against {whole.reference_s.value:.1f} s"
        start = f"{how_long.replace('For', 'After')}, measured once: {took}"
    elif longer.low > 1:
        start = f"{how_long}, {words.REFERENCE} is done first"
    elif longer.high < 1:
        start = f"{how_long}, {name} {words.is_or_are(arm)} done first"
    else:
        start = f"{how_long}, neither is shown to be done first"
    return f"{start}; {_turning(whole.turning, name)}" if whole.turning else start


def _turning(turning: Turning, name: str = "the parallel arm") -> str:
    """Return from how many epochs on the parallel arm is ahead, as its range allows to say."""
    if math.isinf(turning.least):
        return f"{name} never would be ahead"
    if turning.most == 0:
        return f"{name} would be ahead from the first epoch on"
    least, about, most = (math.ceil(min(each, 1e9)) for each in (turning.least, turning.epochs, turning.most))
    if math.isinf(turning.most):
        at_best = f"from {least} epochs on" if least > 1 else "from the first epoch on"
        return f"{name} would be ahead {at_best} at the earliest, perhaps never"
    between = "" if least == most else f" ({least} to {most})"
    return f"{name} would be ahead from about {about} epochs on{between}"
