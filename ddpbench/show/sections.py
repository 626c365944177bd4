"""The sections of the page: each chart with its tables, then settings, environment, and every run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from ddpbench.arm import arm_of, plural
from ddpbench.errors import one_line
from ddpbench.judge.judgement import Judgement
from ddpbench.record import Record
from ddpbench.show import tables
from ddpbench.show.drawing import embed
from ddpbench.show.layout import NO_VALUE, Table

if TYPE_CHECKING:  # the module imports matplotlib
    from ddpbench.show.charts.style import Chart

NAMES = {  # of charts and tables in the list of contents, by slug
    "comparison": "All arms",
    "breakdown": "Where the time goes",
    "speedup": "Scaling",
    "learning": "Learning",
    "classes": "Accuracy by class",
    "ranks": "Ranks",
    "loss": "Loss",
    "sweep": "Batch sizes",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table with its title and notes. No cell holds control characters."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    wraps: bool = False  # long values are broken into lines


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a chart, tables, or both."""

    slug: str
    name: str  # in the list of contents
    heading: str
    conditions: Sequence[str] = ()
    drawing: Markup | None = None
    sheets: Sequence[Sheet] = ()


def sections_of(judgement: Judgement, charts: "Sequence[Chart]") -> list[Section]:
    """Return the sections of the page, from findings to raw runs."""
    newest = judgement.study.newest
    return [*_findings(judgement, charts), *_facts(newest), _raw_runs(judgement.study.all_runs)]


def _findings(judgement: Judgement, charts: "Sequence[Chart]") -> list[Section]:
    """Return a section for each chart with the tables that belong to it, then the tables without a chart."""
    sheets = {slug: sheets for slug, sheets in _sheets(judgement).items() if sheets}
    with_charts = [
        Section(
            slug=chart.slug,
            name=NAMES.get(chart.slug, chart.slug.replace("-", " ").capitalize()),
            heading=one_line(chart.finding),
            conditions=[one_line(line) for line in chart.conditions.split("\n") if line],
            drawing=embed(chart),
            sheets=sheets.pop(chart.slug, ()),
        )
        for chart in charts
    ]
    return with_charts + [Section(slug, NAMES[slug], NAMES[slug], sheets=alone) for slug, alone in sheets.items()]


def _sheets(judgement: Judgement) -> dict[str, list[Sheet]]:
    """Return the tables of the report by the slug of the chart that they belong to."""
    results, scaling, sweep = judgement.results, judgement.scaling, judgement.sweep
    sheets: dict[str, list[Sheet]] = {}
    if results:
        legend = tables.arms_legend(results)
        sheets["comparison"] = [_sheet("Every arm", tables.arms_table(results), legend, first="arm")]
    sheets["breakdown"] = [
        _sheet(tables.breakdown_title(each), tables.breakdown_table(each), tables.breakdown_check(each), first="term")
        for each in judgement.breakdowns
    ]
    if len(scaling) > 1:
        sheets["speedup"] = [_sheet("Strong and weak scaling beside one worker", tables.scaling_table(scaling))]
    if sweep is not None:
        sheets["sweep"] = [_sheet("Every batch size", tables.sweep_table(sweep), [tables.SWEEP_LEGEND])]
    return sheets


def _sheet(title: str, table: Table, notes: Iterable[str] = (), *, first: str = "", wraps: bool = False) -> Sheet:
    """Return a sheet. The first row of `table` names the columns; `first` names the first column if that is empty."""
    columns, *rows = ([one_line(cell) for cell in row] for row in table)
    return Sheet(one_line(title), [column or first for column in columns], rows, list(map(one_line, notes)), wraps)


def _facts(record: Record) -> list[Section]:
    """Return all settings and the environment of a run."""
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


def _pairs(title: str, column: str, pairs: Iterable[tuple[str, object]]) -> Sheet:
    rows = [(name.replace("_", " "), _value_text(name, value)) for name, value in pairs]
    return _sheet(title, [(column, "value"), *rows], wraps=True)


def _value_text(name: str, value: object) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name == "memory_bytes" and isinstance(value, int):
        return f"{value:,} ({value / 2**30:.1f} GiB)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _raw_runs(runs: Sequence[Record]) -> Section:
    """Return every run that was judged, one in each row."""
    names = ("arm", "seed", "global batch", "epochs are", "train s of each epoch", "test accuracy", "start-up s")
    table: Table = [(*names, "status", "load before", "commit", "started at", "injected")]
    table += map(_run_cells, runs)
    note = f"{NO_VALUE}: none, or no result. Controls and timed runs learn too little for their accuracy to count."
    return Section(
        "runs", "Raw runs", "Raw runs", sheets=[_sheet("Every run, in the order they were made", table, [note])]
    )


def _run_cells(run: Record) -> tuple[str, ...]:
    arm, settings = arm_of(run), run.settings
    has_accuracy = bool(run.epochs) and settings.steps is None and not arm.is_control
    return (
        arm.label,
        str(run.seed),
        str(settings.global_batch),
        "whole" if settings.steps is None else f"timed, {plural(settings.steps, 'step')}",
        ", ".join(f"{epoch.train_s:.3f}" for epoch in run.epochs),
        f"{100 * run.epochs[-1].test_accuracy:.2f} %" if has_accuracy else NO_VALUE,
        f"{run.startup_s:.2f}",
        run.status,
        f"{run.environment.load_1m:.2f}",
        run.environment.commit or NO_VALUE,
        run.started_at,
        run.injected or NO_VALUE,
    )
