"""What charts share: colours, fonts, titles, and the small pieces they are drawn from."""

import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from ddpbench.arm import Arm, plural
from ddpbench.errors import one_line
from ddpbench.judge.arms import ArmResult
from ddpbench.judge.stats import Estimate
from ddpbench.record import Record
from ddpbench.turns import Launch

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
TEAL = "#00485A"  # darker than any of them, for shared memory inside hosts and sockets between
COLOURS = {"gloo": ORANGE, "nccl": BLUE, "shm": GREEN, "shm+gloo": TEAL, "fp16": SKY, "bf16": BROWN, "powersgd": RED}
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
SHADE: Any = {"color": PALE, "alpha": 0.3, "linewidth": 0}  # of a margin: differences in it do not matter
RATIO_TICKS = (  # of times as fast, from a wide axis to a narrow one
    (0.125, 0.25, 0.5, 1, 2, 4, 8),
    (0.5, 0.7, 1, 1.4, 2),
    (0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4),
    (0.9, 0.95, 1, 1.05, 1.1),
    (0.96, 0.97, 0.98, 0.99, 1, 1.01, 1.02, 1.03, 1.04),
)


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
        title = _even_lines(_unbroken(self.finding))
        small = [
            part for line in self.conditions.split("\n") for part in textwrap.wrap(_unbroken(line), CONDITIONS_WIDTH)
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


def _unbroken(text: str) -> str:
    """Return one line in which no number is parted from its percent sign."""
    return one_line(text).replace(" %", "\N{NO-BREAK SPACE}%")


def _even_lines(text: str) -> list[str]:
    """Break a title into as few lines as fit, as equally long as they can be."""
    count = len(textwrap.wrap(text, TITLE_WIDTH))
    width = next(width for width in range(1, TITLE_WIDTH + 1) if len(textwrap.wrap(text, width)) == count)
    return textwrap.wrap(text, max(width, TITLE_WIDTH // 2))


@contextmanager
def _hidden(texts: Sequence[Text]) -> Iterator[None]:
    """Hide these texts during the block."""
    for text in texts:
        text.set_visible(False)
    yield
    for text in texts:
        text.set_visible(True)


def conditions_of(newest: Record | Launch, *more: str) -> str:
    """Return the small lines below a title: the machine and what was trained; then `more`."""
    machine, settings = newest.environment, newest.settings
    hardware = machine.gpu_models[0] if settings.device == "cuda" and machine.gpu_models else machine.cpu_model
    where = f"{hardware}, {plural(machine.cores, 'core')}; {settings.model} on {settings.dataset}"
    return "\n".join([f"{where}; global batch {settings.global_batch}", *more])


def colour_of(arm: Arm, *, is_reference: bool = False) -> str:
    """Return an arm's colour, the same in every chart."""
    if arm.kind in ("data_parallel", "compiled"):
        return PURPLE
    if arm.kind == "ddp" and not arm.is_control:
        return COLOURS[arm.comm or ""]
    return GREY if is_reference else PALE


def colour_of_result(result: ArmResult) -> str:
    """Return the colour of an arm of the study's batch."""
    return colour_of(result.arm, is_reference=result.is_reference)


def bar_style(result: ArmResult) -> dict[str, Any]:
    """Return how an arm's bar is painted. A control is hatched, because it is a bound and not a result."""
    if result.arm.is_control:
        return {"facecolor": "none", "edgecolor": GREY, "hatch": "///", "linewidth": 1}
    return {"color": colour_of_result(result)}


def draw_interval(axes: Axes, row: float, estimate: Estimate, colour: str = INK, *, upright: bool = False) -> None:
    """Draw an interval as a line with ends. Draws nothing where there is none."""
    if estimate.low is None or estimate.high is None:
        return
    ends = [estimate.low, estimate.high]
    x, y = ([row, row], ends) if upright else (ends, [row, row])
    axes.plot(x, y, color=colour, linewidth=1.5, marker="_" if upright else "|", markersize=8)


def draw_dots(axes: Axes, row: float, values: Sequence[float], colour: str = INK) -> None:
    """Draw a small dot for every launch or run. Dots that lie on each other look darker."""
    axes.plot(values, [row] * len(values), "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)


def write_column(axes: Axes, row: float, text: str) -> None:
    """Write a value to the right of the axes, in the row that it belongs to."""
    place: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(text, (1, row), (7, 0), va="center", fontsize=10, **place)


def write_sides(axes: Axes, left: str, middle: str, right: str) -> None:
    """Write above the axes what its two halves and its middle mean."""
    for x, side, text in ((0.0, "left", left), (0.5, "center", middle), (1.0, "right", right)):
        axes.annotate(
            text, (x, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", ha=side, fontsize=10, color=INK
        )


def ratio_axis(axis: Axis, low: float, high: float) -> None:
    """Make an axis of times as fast logarithmic, from low to high, because twice and half are equally far from 1."""
    if axis is axis.axes.xaxis:
        axis.axes.set_xscale("log")
        axis.axes.set_xlim(low, high)
    else:
        axis.axes.set_yscale("log")
        axis.axes.set_ylim(low, high)
    shown = [[tick for tick in ticks if low <= tick <= high] for ticks in RATIO_TICKS]
    best = next((ticks for ticks in shown if len(ticks) > 2), shown[-1])
    axis.set_ticks(best, [f"{tick:g}x" for tick in best])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def centres_of(heights: Sequence[float]) -> list[float]:
    """Return where the rows of a chart have their middle, the first at the top. Rows of height 1 are at 0, 1, 2, ..."""
    return [end - height / 2 - 0.5 for end, height in zip(accumulate(heights), heights, strict=True)]


def label_rows(axes: Axes, labels: Sequence[str], heights: Sequence[float] = ()) -> None:
    """Label the rows of a chart, the first at the top. Without heights all are equally high."""
    heights = heights or [1.0] * len(labels)
    axes.set_yticks(centres_of(heights), labels)
    axes.set_ylim(sum(heights) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def write_legend(axes: Axes, columns: int) -> None:
    """Write the legend above the axes."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(ncols=columns, frameon=False, fontsize=9, **place)


def bounds_of(estimate: Estimate) -> list[float]:
    """Return every number that is drawn for an estimate."""
    return [estimate.value, *(bound for bound in (estimate.low, estimate.high) if bound is not None)]
