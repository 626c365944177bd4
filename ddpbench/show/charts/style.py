"""What charts share: colours, fonts, titles, and the small pieces they are drawn from."""

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from ddpbench.arm import Arm, plural
from ddpbench.errors import one_line
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.stats import Estimate
from ddpbench.record import Record
from ddpbench.show.phrases import length

# Colours are Okabe and Ito's, which colour-blind readers can tell apart, and grey for single processes.
GREY, PALE, INK, SECOND = "#7f7f7f", "#b3b3b3", "#222222", "#555555"
ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
BROWN = "#A6761D"  # from ColorBrewer's Dark2, because their set has no colour left
COLOURS = {"gloo": ORANGE, "nccl": BLUE, "shm": GREEN}
STYLE: Any = {  # Any, because matplotlib lists every legal key in its type
    # The defaults come first, because another program in this process may have changed settings of matplotlib.
    **{name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")},
    "font.family": "DejaVu Sans",  # is installed with matplotlib
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "text.parse_math": False,  # a name may contain a dollar sign
    "svg.fonttype": "none",  # text stays text, and is not drawn as paths
    "hatch.color": GREY,
}
WIDTH = 6.4  # inches: on a phone the smallest font can still be read
DOTS_PER_INCH = 150
TITLE_WIDTH, CONDITIONS_WIDTH = 58, 88  # characters that fit into WIDTH


@dataclass(frozen=True)
class Chart:
    """A picture and its texts. The picture is drawn when it is first asked for."""

    slug: str  # file name without its ending
    finding: str  # title
    conditions: str  # small lines below the title
    alt: str  # the content in words, for screen readers
    height: float  # inches, without title and conditions
    draw: Callable[[Figure], None]  # draws into an empty figure, without title and conditions

    @property
    def svg(self) -> str:
        """The picture as an SVG document, without title and conditions: the page has its own."""
        figure, picture = self.figure, io.StringIO()
        cut = Bbox.from_extents(0, 0, WIDTH, self.height)
        with mpl.rc_context({**STYLE, "svg.hashsalt": self.slug}), _hidden(figure.texts):
            figure.savefig(picture, format="svg", bbox_inches=cut, transparent=True, metadata={"Date": None})
        return picture.getvalue()

    @property
    def png(self) -> bytes:
        """The picture as PNG, with title and conditions."""
        picture = io.BytesIO()
        with mpl.rc_context(STYLE):
            canvas: Any = FigureCanvasAgg(self.figure)  # Any, because its methods have no types
            # `savefig` would draw the figure twice.
            canvas.print_png(picture, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
        return picture.getvalue()

    @cached_property
    def figure(self) -> Figure:
        """The drawing with title and conditions. It is kept, because its layout takes longer than writing a format."""
        title = textwrap.wrap(one_line(self.finding), TITLE_WIDTH)
        small = [
            part for line in self.conditions.split("\n") for part in textwrap.wrap(one_line(line), CONDITIONS_WIDTH)
        ]
        height = self.height + 0.18 + 0.23 * len(title) + 0.17 * len(small)
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH)
            self.draw(figure)
            ConstrainedLayoutEngine(rect=(0, 0, 1, self.height / height)).execute(figure)
            below = 1 - (0.12 + 0.23 * len(title)) / height
            figure.text(0.015, 1 - 0.08 / height, "\n".join(title), fontsize=13, fontweight="bold", va="top")
            figure.text(0.015, below, "\n".join(small), fontsize=9, va="top", color=SECOND)
        return figure


@contextmanager
def _hidden(texts: Sequence[Text]) -> Iterator[None]:
    """Hide these texts during the block."""
    for text in texts:
        text.set_visible(False)
    yield
    for text in texts:
        text.set_visible(True)


def conditions_of(record: Record, *more: str) -> str:
    """Return the small lines below a title: the machine, what was trained and for how long; then `more`."""
    machine, settings = record.environment, record.settings
    hardware = machine.gpu_models[0] if settings.device == "cuda" and machine.gpu_models else machine.cpu_model
    where = f"{hardware}, {plural(machine.cores, 'core')}; {settings.model} on {settings.dataset}"
    how = f"global batch {settings.global_batch}, {length(record)}"
    return "\n".join([f"{where}; {how}", *more])


def runs_per_arm(results: Sequence[ArmResult]) -> str:
    """Return how many runs an arm has: `n = 3 runs an arm`."""
    counts = sorted({len(result.runs) for result in results})
    return f"n = {' to '.join(map(str, [counts[0], counts[-1]] if len(counts) > 1 else counts))} runs an arm"


def colour_of(arm: Arm, *, is_reference: bool = False) -> str:
    """Return an arm's colour, the same in every chart."""
    if arm.kind == "data_parallel":
        return PURPLE
    if arm.kind == "ddp" and not arm.is_control:
        return COLOURS[arm.comm or ""]
    return GREY if is_reference else PALE


def bar_style(result: ArmResult) -> dict[str, Any]:
    """Return how an arm's bar is painted. A control is hatched, because it is a bound and not a result."""
    if result.arm.is_control:
        return {"facecolor": "none", "edgecolor": GREY, "hatch": "///", "linewidth": 1}
    return {"color": colour_of(result.arm, is_reference=result.is_reference)}


def draw_interval(axes: Axes, row: float, estimate: Estimate, colour: str = INK, *, upright: bool = False) -> None:
    """Draw a 95 % interval as a line with ends. Draws nothing for a single run."""
    if estimate.low is None or estimate.high is None:
        return
    ends = [estimate.low, estimate.high]
    x, y = ([row, row], ends) if upright else (ends, [row, row])
    axes.plot(x, y, color=colour, linewidth=1.5, marker="_" if upright else "|", markersize=8)


def end_of(estimate: Estimate) -> float:
    """Return the largest number that is drawn for an estimate."""
    return max(estimate.value, estimate.high if estimate.high is not None else estimate.value)


def write_value(axes: Axes, x: float, y: float, text: str, **more: Any) -> None:
    """Write a value to the right of a point."""
    axes.annotate(text, (x, y), (6, 0), textcoords="offset points", va="center", fontsize=10, **more)


def leave_room_right(axes: Axes, low: float, high: float, part: float = 0.24) -> None:
    """Fit the x axis to low and high, and leave a part of that width free on the right for values."""
    width = (high - low) or 1.0
    axes.set_xlim(low, high + part * width)


def cut_percent_axis(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """Fit the x axis to intervals in percent: it does not begin at 0, and has no tick above 100."""
    low = min(estimate.value if estimate.low is None else estimate.low for estimate in estimates)
    high = max(end_of(estimate) for estimate in estimates)
    width = max(high - low, 0.2)
    left, right = low - 0.12 * width, high + 0.26 * width
    axes.set_xlim(left, right)
    axes.set_xticks([tick for tick in MaxNLocator(5).tick_values(left, right) if left <= tick <= min(right, 100)])


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Label the rows of a chart, the first at the top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def write_legend(axes: Axes, columns: int) -> None:
    """Write the legend above the axes."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(ncols=columns, frameon=False, fontsize=9, **place)


def in_percent(accuracy: Estimate) -> Estimate:
    """Return an accuracy in percent. Student's t may give a bound above 100 %: it becomes 100 %."""
    percent = accuracy.scaled(100)
    low, high = (None if bound is None else min(100.0, bound) for bound in (percent.low, percent.high))
    return Estimate(percent.value, low, high, percent.n)
