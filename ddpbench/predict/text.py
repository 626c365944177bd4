"""What is foretold, on one screen."""

import textwrap
from collections.abc import Sequence

from ddpbench.arm import plural
from ddpbench.predict.draws import Band
from ddpbench.predict.foretold import Foretold, Pick, Row
from ddpbench.predict.past import Prediction

WIDTH = 96
COLUMN = 21


def screen(found: Foretold) -> str:
    """Return the answer as text, at most WIDTH columns wide."""
    basis = found.rests_on
    kept = "every rank keeps its batch (weak)" if found.scaling == "weak" else "the global batch stays (strong)"
    lines = [*_wrapped(f"FORETOLD: {basis.subject}; {kept}"), ""]
    heads = ["ms a step", f"s {basis.unit}", *(["cost of it"] if found.price_per_hour else []), "efficiency"]
    lines.append(_columns("hosts", heads))
    for row in found.rows:
        lines += _rows(row)
    lines += ["", "  where a step goes, ms:", *_parts(found.rows), ""]
    lines += [f"{name:9} {text}" for name, text in _picks(found)]
    lines += ["", "Rests on:"]
    for line in basis.lines:
        lines += _wrapped(line, "  ", "    ")
    return "\n".join(lines)


def digits(value: float) -> str:
    """Return a value with three digits that count: 0.00123, 1.23, 123, 12,345."""
    if value >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.2e}"


def _rows(row: Row) -> list[str]:
    bands = [row.step_ms, row.epoch_s, *([row.cost] if row.cost else [])]
    share = row.efficiency
    lines = [_columns(f"{row.hosts:5}", [*(digits(each.value) for each in bands), f"{100 * share.value:.0f} %"])]
    for name, percent in (("80 %", 80), ("95 %", 95)):
        ranges = [" - ".join(map(digits, _range(each, percent))) for each in bands]
        ranges.append(" - ".join(f"{100 * end:.0f}" for end in _range(share, percent)) + " %")
        lines.append(_columns(f"  {name}", ranges))
    return lines


def _range(band: Band, percent: int) -> tuple[float, float]:
    return (band.low_80, band.high_80) if percent == 80 else (band.low_95, band.high_95)


def _columns(first: str, cells: list[str]) -> str:
    return f"{first:8}" + "".join(cell.rjust(COLUMN) for cell in cells)


def _parts(rows: list[Row]) -> list[str]:
    """Return for each number of hosts what a step is made of, and how much of each bucket is exposed."""
    lines = []
    for row in rows:
        if not row.buckets:
            lines.append(f"  {row.hosts:3}  as it was measured")
            continue
        sent = " + ".join(f"{digits(each.exposed_ms)} of {digits(each.ms)}" for each in row.buckets[:3])
        more = f" + {len(row.buckets) - 3} more" if len(row.buckets) > 3 else ""
        lines.append(
            f"  {row.hosts:3}  computing {digits(row.computing_ms)}, slowest of all ranks "
            f"{digits(row.waiting_ms)}, exchange {digits(row.exposed_ms)} (exposed by bucket: {sent}{more})"
        )
    return [line for each in lines for line in _wrapped(each, hang=" " * 7)]


def _picks(found: Foretold) -> list[tuple[str, str]]:
    by_hosts = {row.hosts: row for row in found.rows}
    picks = []
    if found.cheapest is None:
        picks.append(("cheapest", "not known without --price-per-hour"))
    else:
        cost = by_hosts[found.cheapest.hosts].cost
        money = "" if cost is None else f"{digits(cost.value)} {found.rests_on.unit}; "
        picks.append(("cheapest", _pick(found.cheapest, money)))
    seconds = by_hosts[found.fastest.hosts].epoch_s.value
    picks.append(("fastest", _pick(found.fastest, f"{digits(seconds)} s {found.rests_on.unit}; ")))
    if found.knee is None:
        knee = "none of these: every further host adds more than half of a host's speed"
    else:
        knee = f"{plural(found.knee, 'host')}: beyond it, another one adds less than half of a host's speed"
    return [*picks, ("knee", knee)]


def _pick(pick: Pick, figure: str) -> str:
    return f"{plural(pick.hosts, 'host')}: {figure}the best of these in {100 * pick.chance:.0f} % of the draws"


def tested(predictions: Sequence[Prediction]) -> list[str]:
    """Return lines about earlier predictions of the same layouts that were run since."""
    lines = [""] if predictions else []
    for each in predictions:
        assert each.result is not None, "only predictions with results are told"
        held = "inside" if each.held else "OUTSIDE"
        lines.append(
            f"foretold on {each.made_at[:10]} for {each.arm.label}: {digits(1e3 * each.step_s)} ms, measured "
            f"{digits(1e3 * each.result.step_s)} ms (n = {each.result.n}), {held} its 95 % band"
        )
    return [line for each in lines for line in _wrapped(each) or [""]]


def _wrapped(text: str, first: str = "", hang: str = "") -> list[str]:
    """Return a text in lines. A path is never broken."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=hang, break_on_hyphens=False, break_long_words=False
    )
