"""How a check of several hosts is told: one screen, one JSON, and one last line and exit code on all hosts."""

from collections.abc import Iterator, Sequence

import msgspec

from ddpbench import __version__
from ddpbench.check import comparing, report
from ddpbench.check.gathered import Gathered, Host, Pair
from ddpbench.check.judging import in_size
from ddpbench.check.pairs import HostsFinding
from ddpbench.check.report import EXIT_CODES, SCHEMA, Verdict

MOST_COLUMNS = 96
MOST_ROWS = 8  # hosts that are shown one by one; of more, those that differ from host 0
HEADER = ("host", "interface", "address", "MTU", "clock", "cores", "free memory", "MNIST")


class HostsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `check --json` prints on host 0 of several. Names end in their units; null is what was not measured."""

    schema: int = SCHEMA  # as that of one machine
    ddpbench: str = __version__
    verdict: Verdict
    exit_code: int
    took_s: float
    findings: list[HostsFinding]
    count: int  # of hosts that there should be
    hosts: list[Host]  # that are here, by index and without names
    pairs: list[Pair]
    link: str | None  # the file for `predict`


def make(gathered: Gathered, took_s: float) -> HostsReport:
    """Judge what a check of several hosts has found."""
    findings = comparing.judge(gathered)
    verdict = report.verdict_on(findings)
    return HostsReport(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        took_s=took_s,
        findings=findings,
        count=gathered.count,
        hosts=gathered.hosts,
        pairs=gathered.pairs,
        link=gathered.link,
    )


def lines(made: HostsReport) -> Iterator[str]:
    """Yield the lines of the screen, without the last one."""
    rows = [_row(host) for host in made.hosts if host.seen is not None]
    if rows:
        yield from _table([HEADER, *_some(rows)])
    yield from report.rows(made.findings, MOST_COLUMNS)


def last_line(made: HostsReport) -> str:
    """Return the last line, which is the same on all hosts."""
    problems = [each for each in made.findings if each.level == "problem"]
    first = min(problems, key=lambda each: each.passes, default=None)  # what does not pass says why it is no use
    why = "" if first is None else f": {first.name}: {first.found}"
    said = report.in_words(made.verdict, made.findings)
    end = f" (exit code {made.exit_code}); {made.count} hosts; {made.took_s:.0f} s"
    return report.cut(said + why, MOST_COLUMNS - len(end)) + end


def _row(host: Host) -> tuple[str, ...]:
    assert host.seen is not None
    way, facts = host.seen.way, host.seen.facts
    clock = host.clock
    return (
        str(host.index),
        way.interface or "none",
        way.address or "none",
        f"{way.mtu}" if way.mtu else "?",
        "-" if clock is None else f"{clock.offset_s:+.3f} s",
        str(facts.cores.usable),
        in_size(facts.memory.free_bytes),
        "wrong" if facts.data.wrong else "missing" if facts.data.missing else "whole",
    )


def _some(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the rows that are shown: all of a few, else those that differ from host 0's in what should be equal."""
    if len(rows) <= MOST_ROWS:
        return [*rows]
    compared = (1, 3, 5, 7)
    differing = [row for row in rows[1:] if any(row[each] != rows[0][each] for each in compared)]
    shown = [rows[0], *differing[: MOST_ROWS - 1]]
    equal, more = len(rows) - 1 - len(differing), len(differing) - len(shown) + 1
    notes = [f"{equal} more as host 0"] * (equal > 0) + [f"{more} more that differ; --json has them"] * (more > 0)
    return [*shown, *((note,) for note in notes)]


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    whole = [row for row in rows if len(row) == len(HEADER)]
    widths = [max(len(row[column]) for row in whole) for column in range(len(HEADER))]
    for row in rows:
        if len(row) < len(HEADER):
            yield row[0]
        else:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield report.cut("  ".join(cells).rstrip(), MOST_COLUMNS)
    yield ""
