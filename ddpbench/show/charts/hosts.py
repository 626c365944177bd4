"""Speedup over one host and efficiency, against the number of hosts."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpbench.judge.judgement import Judgement
from ddpbench.judge.scaling import Row
from ddpbench.judge.stats import Estimate
from ddpbench.show.charts import words
from ddpbench.show.charts.style import INK, Chart, colour_of, conditions_of, draw_interval, write_legend
from ddpbench.turns import TurnArm

ITSELF = Estimate(1.0, 1.0, 1.0, 1)  # one host against itself


@dataclass(frozen=True, slots=True)
class _Curve:
    """One way to train on 1, 2 and more hosts: as many ranks on each, and gradients combined in one way."""

    turn: TurnArm  # of the most hosts
    is_weak: bool
    hosts: list[int]
    over_one_host: list[Estimate]
    efficiency: list[Estimate | None]  # against one worker

    @property
    def label(self) -> str:
        arm = self.turn.arm
        ranks = "1 rank" if arm.ranks_per_host == 1 else f"{arm.ranks_per_host} ranks"
        return f"{ranks} a host, {arm.comm}{', weak' if self.is_weak else ''}"


def has_hosts(judgement: Judgement) -> bool:
    """Return whether several hosts were compared with one."""
    return any(row.over_one_host is not None for row in judgement.scaling)


def hosts(judgement: Judgement) -> Chart:
    """Speedup over one host, and efficiency against one host and one worker, of strong and weak scaling."""
    curves = [*_curves(judgement, "strong"), *_curves(judgement, "weak")]
    most = max(curve.turn.arm.hosts for curve in curves)
    largest = [curve for curve in curves if curve.turn.arm.hosts == most and not curve.is_weak]
    fastest = min(largest or curves, key=lambda curve: judgement.timing.step_s(curve.turn).value)

    def draw(figure: Figure) -> None:
        speed, of_hosts, of_workers = figure.subplots(3, 1, sharex=True, height_ratios=[1.5, 1, 1])
        speed.plot([1, most], [1, most], "--", color=INK, linewidth=1, label="ideal")
        for axes in (of_hosts, of_workers):
            axes.axhline(100, linestyle="--", color=INK, linewidth=1)
        for index, curve in enumerate(curves):
            shift = 0.025 * most * (index / max(1, len(curves) - 1) - 0.5)  # intervals would hide each other
            _draw(speed, curve, shift, curve.over_one_host)
            shares = [each.scaled(100 / count) for count, each in zip(curve.hosts, curve.over_one_host, strict=True)]
            _draw(of_hosts, curve, shift, shares)
            _draw(of_workers, curve, shift, [each and each.scaled(100) for each in curve.efficiency])
        write_legend(speed, 2)
        speed.set_xlim(0.85, most + 0.15)
        speed.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        names = ((speed, "speedup over\none host"), (of_hosts, "of hosts (%)"), (of_workers, "of workers (%)"))
        for axes, name in names:
            axes.margins(y=0.15)  # a whole marker at 100 %
            axes.set_ylim(0, None)
            axes.set_ylabel(name)
        of_workers.set_xlabel("hosts")

    value = fastest.over_one_host[-1]
    texts = [f"{each.turn.arm.label}{_weak(each)} {words.interval(each.over_one_host[-1])}" for each in curves]
    small = (
        f"{fastest.turn.arm.label}; strong: the same global batch; weak: every worker keeps its batch; of hosts, of "
        "workers: efficiency against one host with as many ranks, and against one worker; bands: 95 % intervals"
    )
    return Chart(
        slug="hosts",
        finding=f"{most} hosts are {words.interval(value, '.1f')} times as fast as one{_weak(fastest)}",
        conditions=conditions_of(judgement.study.newest, small),
        alt=f"Speedup over one host and efficiency beside the ideal line. Speedup: {'; '.join(texts)}.",
        height=6.4,
        draw=draw,
    )


def _weak(curve: _Curve) -> str:
    return ", where every worker keeps its batch" if curve.is_weak else ""


def _curves(judgement: Judgement, scaling: str) -> list[_Curve]:
    rows = [row for row in judgement.scaling if row.scaling == scaling]
    measured = [row for row in rows if row.over_one_host is not None]
    curves = []
    for way in dict.fromkeys((row.turn.arm.ranks_per_host, row.turn.arm.comm) for row in measured):
        mine = [row for row in measured if (row.turn.arm.ranks_per_host, row.turn.arm.comm) == way]
        mine.sort(key=lambda row: row.turn.arm.hosts)
        curves.append(
            _Curve(
                turn=mine[-1].turn,
                is_weak=scaling == "weak",
                hosts=[1, *(row.turn.arm.hosts for row in mine)],
                over_one_host=[ITSELF, *(row.over_one_host for row in mine if row.over_one_host is not None)],
                efficiency=[_of_one_host(rows, way[0]), *(row.efficiency for row in mine)],
            )
        )
    return curves


def _of_one_host(rows: Sequence[Row], ranks: int) -> Estimate | None:
    """Return the efficiency of one host with so many ranks, at its fastest: one rank is the worker itself."""
    if ranks == 1:
        return ITSELF
    alone = [row for row in rows if row.turn.arm.hosts == 1 and row.turn.arm.world_size == ranks]
    return min(alone, key=lambda row: row.step_s.value).efficiency if alone else None


def _draw(axes: Axes, curve: _Curve, shift: float, values: Sequence[Estimate | None]) -> None:
    """Draw a line with its band. Weak scaling is dashed with open points; one rank a host has square ones."""
    pairs = [(count + shift, each) for count, each in zip(curve.hosts, values, strict=True) if each is not None]
    at, colour = [x for x, _ in pairs], colour_of(curve.turn.arm)
    axes.plot(
        at,
        [each.value for _, each in pairs],
        f"{'s' if curve.turn.arm.ranks_per_host == 1 else 'o'}{'--' if curve.is_weak else '-'}",
        color=colour,
        markerfacecolor="none" if curve.is_weak else colour,
        markeredgecolor=colour if curve.is_weak else INK,
        markersize=6,
        linewidth=1.2,
        label=curve.label,
    )
    lows, highs = ([getattr(each, name) for _, each in pairs] for name in ("low", "high"))
    if None not in (*lows, *highs):
        axes.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)
    for x, each in pairs:
        draw_interval(axes, x, each, colour, upright=True)
