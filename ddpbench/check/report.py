"""How a check is told: one screen for people, one JSON for programs, one exit code for schedulers."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ddpbench import __version__
from ddpbench.check import judging
from ddpbench.check.facts import Facts
from ddpbench.check.judging import Finding
from ddpbench.errors import one_line

SCHEMA = 1
Verdict = Literal["ready", "warnings", "busy", "problems"]
EXIT_CODES: dict[Verdict, int] = {"ready": 0, "warnings": 10, "busy": 20, "problems": 30}
MOST_COLUMNS = 80
LEVEL_WIDTH, NAME_WIDTH = 9, 10


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `check --json` prints. Names end in their units; null is what was not measured."""

    schema: int = SCHEMA  # no name changes its meaning within one
    ddpbench: str = __version__
    verdict: Verdict  # busy: the only problems may be over after some waiting
    exit_code: int
    took_s: float
    findings: list[Finding]  # one for each line of the screen
    facts: Facts


def make(facts: Facts, took_s: float) -> Report:
    """Judge what a check has measured."""
    findings = judging.judge(facts)
    verdict = verdict_on(findings)
    return Report(verdict=verdict, exit_code=EXIT_CODES[verdict], took_s=took_s, findings=findings, facts=facts)


def verdict_on(findings: Sequence[Finding]) -> Verdict:
    """Return what all findings mean together."""
    problems = [finding for finding in findings if finding.level == "problem"]
    if problems:
        return "busy" if all(finding.passes for finding in problems) else "problems"
    return "warnings" if any(finding.level == "warning" for finding in findings) else "ready"


def lines(report: Report) -> Iterator[str]:
    """Yield the lines of the screen: what was found, below it what to do about it, and at the end the verdict."""
    yield from rows(report.findings, MOST_COLUMNS)
    said = in_words(report.verdict, report.findings)
    yield f"{said} (exit code {report.exit_code}); {report.took_s:.0f} s; --json has it for programs"


def rows(findings: Sequence[Finding], columns: int) -> Iterator[str]:
    """Yield lines of so many columns: what was found, and what to do about it beside or below it."""
    for finding in findings:
        start = f"{finding.level:{LEVEL_WIDTH}}{finding.name:{NAME_WIDTH}}"
        both = f"{start}{one_line(finding.found)}; {one_line(finding.cure or '')}"
        if finding.cure is not None and len(both) <= columns:
            yield both
            continue
        yield cut(start + one_line(finding.found), columns)
        if finding.cure is not None:
            yield cut(" " * LEVEL_WIDTH + one_line(finding.cure), columns)


def in_words(verdict: Verdict, findings: Sequence[Finding]) -> str:
    """Return what all findings mean together, in words."""
    counts = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning")}
    return {
        "ready": "ready",
        "warnings": f"ready, with {_plural(counts['warning'], 'warning')}",
        "busy": "busy: try again later",
        "problems": f"not ready: {_plural(counts['problem'], 'problem')}",
    }[verdict]


def cut(line: str, columns: int) -> str:
    """Return a line that fits the screen. The JSON has all of it."""
    return line if len(line) <= columns else f"{line[: columns - 3]}..."


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
