"""What is foretold, as a picture: times as fast against hosts, with the ideal line and both bands."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpbench.arm import plural
from ddpbench.predict.foretold import Foretold, Row
from ddpbench.predict.past import Prediction
from ddpbench.predict.text import digits
from ddpbench.show.charts.style import BLUE, GREY, INK, RED, Chart, write_legend


def chart(found: Foretold, tested: Sequence[Prediction]) -> Chart:
    """Draw the answer. `tested` are predictions of these settings that were run since: their results are dots."""
    rows, hosts = found.rows, [row.hosts for row in found.rows]
    base_ms = rows[0].step_ms.value / (rows[0].hosts * rows[0].efficiency.value)
    if found.scaling == "weak":
        base_ms = rows[0].step_ms.value * rows[0].efficiency.value

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(hosts, hosts, "--", color=GREY, linewidth=1, label="ideal")
        _draw_band(axes, rows, 95, 0.18)
        _draw_band(axes, rows, 80, 0.32)
        axes.plot(hosts, [_speed(row) for row in rows], "o-", color=BLUE, markeredgecolor=INK, label="foretold")
        for index, each in enumerate(tested):
            assert each.result is not None, "only predictions with results are drawn"
            per_host = each.arm.hosts if found.scaling == "weak" else 1
            speed = per_host * base_ms / (1e3 * each.result.step_s)
            name = "measured later" if index == 0 else None
            axes.plot([each.arm.hosts], [speed], "D", color=RED, markeredgecolor=INK, label=name)
        axes.set(xscale="log", yscale="log", xlabel="hosts", ylabel="times as fast as one host")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(hosts, [str(each) for each in hosts])
            axis.set_ticks([], minor=True)
        write_legend(axes, 5)

    texts = [f"{plural(row.hosts, 'host')} {_speed(row):.2f} times" for row in rows]
    return Chart(
        slug="foretold",
        finding=_finding(found),
        conditions=f"{found.rests_on.subject}; {found.scaling} scaling\n{_link(found)}",
        alt=f"Times as fast as one host, foretold: {'; '.join(texts)}.",
        height=3.8,
        draw=draw,
    )


def _link(found: Foretold) -> str:
    """Return the line about the link, of all that the answer rests on."""
    return next((line for line in found.rests_on.lines if line.startswith("link:")), "")


def _speed(row: Row) -> float:
    return row.hosts * row.efficiency.value


def _draw_band(axes: Axes, rows: Sequence[Row], percent: int, alpha: float) -> None:
    low = [row.hosts * (row.efficiency.low_80 if percent == 80 else row.efficiency.low_95) for row in rows]
    high = [row.hosts * (row.efficiency.high_80 if percent == 80 else row.efficiency.high_95) for row in rows]
    at = [row.hosts for row in rows]
    axes.fill_between(at, low, high, color=BLUE, alpha=alpha, linewidth=0, label=f"{percent} % band")


def _finding(found: Foretold) -> str:
    """Return what the most hosts would give."""
    last = found.rows[-1]
    low, high = last.hosts * last.efficiency.low_95, last.hosts * last.efficiency.high_95
    knee = "" if found.knee is None else f"; beyond {found.knee} another one adds less than half of a host's speed"
    return (
        f"{plural(last.hosts, 'host')} would be {digits(_speed(last))} times as fast as one "
        f"({digits(low)} to {digits(high)}){knee}"
    )
