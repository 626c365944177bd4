"""What a study says, as one page: report.html. Nothing is fetched for it, and it reads on a phone and on paper."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import ddpbench
from ddpbench.arm import arm_of, plural
from ddpbench.errors import one_line
from ddpbench.judge.judgement import Judgement
from ddpbench.record import Record
from ddpbench.show import report
from ddpbench.show.layout import Table
from ddpbench.show.verdict import Verdict

if TYPE_CHECKING:  # it brings matplotlib along
    from ddpbench.show.charts.style import Chart

OUTCOMES = {"pays": "pays", "does_not_pay": "does not pay", "cannot_tell": "cannot tell"}
NAMES = {  # of a chart or table, in the list of contents
    "comparison": "All arms",
    "breakdown": "Where the time goes",
    "speedup": "Scaling",
    "learning": "Learning",
    "classes": "Accuracy by class",
    "ranks": "Ranks",
    "loss": "Loss",
    "sweep": "Batch sizes",
}
ELEMENTS = frozenset(("svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle", "pattern"))
COLOURS = {"#222222": "currentColor", "#000000": "currentColor", "#555555": "var(--secondary)"}
NOT_A_RESULT = "-"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table under its title, every cell safe to show."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    wraps: bool = False  # long values are broken into lines


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a chart, tables, or both."""

    slug: str
    name: str
    heading: str
    conditions: Sequence[str] = ()
    drawing: Markup | None = None
    sheets: Sequence[Sheet] = ()


def render(judged: Judgement, verdict: Verdict, charts: "Sequence[Chart]") -> str:
    """Return the whole page: the verdict, what to mind, every chart with its table, settings, and raw runs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    newest = (judged.study.records or judged.study.timed)[-1]
    runs = judged.study.all_runs
    return environment.get_template("report.html.j2").render(
        study=one_line(judged.study.name),
        outcome=verdict.outcome or "many",
        said=OUTCOMES[verdict.outcome] if verdict.outcome else "one for every batch size",
        paragraphs=[
            ("Verdict", one_line(verdict.verdict)),
            ("Why", one_line(verdict.why)),
            ("Next", one_line(verdict.next)),
        ],
        conditions=_lines(report.format_conditions(newest)),
        cautions=list(map(one_line, judged.cautions)),
        left_out=list(map(one_line, judged.study.left_out)),
        sections=[*_findings(judged, charts), *_facts(newest), _raw(runs)],
        version=ddpbench.__version__,
        judged=plural(len(runs), "run"),
    )


def drawing(picture: "Chart") -> Markup:
    """Return the SVG of a chart for use within a page: names of its own, the page's colours and width.

    Raises ValueError if it could run a script or fetch something.
    """
    text = picture.svg
    root = ElementTree.fromstring(text[text.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in {"metadata", "style"}:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        if element.tag not in ELEMENTS:
            raise ValueError(f"chart {picture.slug}: an SVG of ours has no element {element.tag}")
        changed = {_local(name): _own(value, _local(name), picture.slug) for name, value in element.items()}
        element.attrib.clear()
        element.attrib.update(changed)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": " ".join(_lines(picture.alt))})
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # checked above, and escaped by ElementTree


def _own(value: str, name: str, slug: str) -> str:
    """Return the value of an attribute with ids made unique and the page's colours."""
    if name.startswith("on"):
        raise ValueError(f"chart {slug}: an SVG of ours has no attribute {name}")
    if name == "id":
        return f"{slug}-{value}"
    if name == "href":
        if value.startswith("#"):
            return f"#{slug}-{value[1:]}"
        if not value.startswith("data:image/png;base64,"):
            raise ValueError(f"chart {slug}: an SVG of ours refers to nothing outside it, found {value[:80]!r}")
        return value
    if re.search(r"url\s*\((?!#)|@import|\\", value, re.IGNORECASE):
        raise ValueError(f"chart {slug}: an SVG of ours refers to nothing outside it, found {value[:80]!r}")
    for colour, ours in COLOURS.items():
        value = value.replace(colour, ours)
    return value.replace("url(#", f"url(#{slug}-")


def _local(name: str) -> str:
    """Return a name without its namespace, which HTML does not need."""
    return name.rpartition("}")[2]


def _findings(judged: Judgement, charts: "Sequence[Chart]") -> list[Section]:
    """Return a section a chart with the tables that belong to it, then the tables without a chart."""
    sheets = {slug: found for slug, found in _sheets(judged).items() if found}
    found = [
        Section(
            picture.slug,
            NAMES.get(picture.slug, picture.slug.replace("-", " ").capitalize()),
            one_line(picture.finding),
            _lines(picture.conditions),
            drawing(picture),
            sheets.pop(picture.slug, ()),
        )
        for picture in charts
    ]
    return found + [Section(slug, NAMES[slug], NAMES[slug], sheets=alone) for slug, alone in sheets.items()]


def _sheets(judged: Judgement) -> dict[str, list[Sheet]]:
    """Return the tables of the report by the chart that they belong to."""
    found: dict[str, list[Sheet]] = {}
    if judged.results:
        arms = _sheet("Every arm", report.arms_table(judged.results), blank="arm")
        found["comparison"] = [replace(arms, notes=_lines(report.format_legend(judged.results)))]
    found["breakdown"] = []
    for each in judged.breakdowns:
        title = f"Where the time of {each.arm.label} goes, training seconds per epoch (n = {each.observed.n} seeds)"
        sheet = _sheet(title, report.breakdown_table(each), blank="term")
        found["breakdown"].append(replace(sheet, notes=_lines(report.format_check(each))))
    if len(judged.scaling) > 1:
        found["speedup"] = [_sheet("Strong and weak scaling beside one worker", report.scaling_table(judged.scaling))]
    if judged.sweep is not None:
        sheet = _sheet("Every batch size", report.sweep_table(judged.sweep))
        found["sweep"] = [replace(sheet, notes=[report.SWEEP_LEGEND])]
    return found


def _sheet(title: str, table: Table, *, blank: str = "", wraps: bool = False) -> Sheet:
    """Return a table whose first row names the columns; `blank` names the one without a name."""
    columns, *rows = ([one_line(cell) for cell in row] for row in table)
    return Sheet(one_line(title), [column or blank for column in columns], rows, wraps=wraps)


def _facts(record: Record) -> list[Section]:
    """Return settings and environment of a run, in full."""
    settings, machine, tested = record.settings, record.environment, record.test_set
    computed = [(name, getattr(settings, name)) for name in settings.__struct_fields__]
    computed += [("parameters", f"{record.parameters:,}"), ("classes", ", ".join(tested.classes))]
    computed += [("test_samples", f"{sum(tested.samples_per_class):,}")]
    around = [(name, getattr(machine, name)) for name in machine.__struct_fields__]
    of = f"of the newest run, started {record.started_at}"
    return [
        Section("settings", "Settings", "Every setting", sheets=[_pairs(f"Settings {of}", "setting", computed)]),
        Section("environment", "Environment", "Environment", sheets=[_pairs(f"Environment {of}", "property", around)]),
    ]


def _pairs(title: str, what: str, pairs: Iterable[tuple[str, object]]) -> Sheet:
    rows = [(name.replace("_", " "), _worded(name, value)) for name, value in pairs]
    return _sheet(title, [(what, "value"), *rows], wraps=True)


def _worded(name: str, value: object) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name == "memory_bytes" and isinstance(value, int):
        return f"{value:,} ({value / 2**30:.1f} GiB)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _raw(runs: Sequence[Record]) -> Section:
    """Return every run that was judged, a row each."""
    names = ("arm", "seed", "global batch", "epochs are", "train s of each epoch", "test accuracy", "start-up s")
    table: Table = [(*names, "status", "load before", "commit", "started at", "injected")]
    table += map(_run_cells, runs)
    note = (
        f"{NOT_A_RESULT}: none, or no result: a control and a timed run learn too little for their accuracy to count."
    )
    sheet = replace(_sheet("Every run, in the order they were made", table), notes=[note])
    return Section("runs", "Raw runs", "Raw runs", sheets=[sheet])


def _run_cells(run: Record) -> tuple[str, ...]:
    arm, settings = arm_of(run), run.settings
    counts = bool(run.epochs) and settings.steps is None and not arm.is_control
    return (
        arm.label,
        str(run.seed),
        str(settings.global_batch),
        "whole" if settings.steps is None else f"timed, {plural(settings.steps, 'step')}",
        ", ".join(f"{epoch.train_s:.3f}" for epoch in run.epochs),
        f"{100 * run.epochs[-1].test_accuracy:.2f} %" if counts else NOT_A_RESULT,
        f"{run.startup_s:.2f}",
        run.status,
        f"{run.environment.load_1m:.2f}",
        run.environment.commit or NOT_A_RESULT,
        run.started_at,
        run.injected or NOT_A_RESULT,
    )


def _lines(text: str) -> list[str]:
    return [one_line(line) for line in text.split("\n") if line]
