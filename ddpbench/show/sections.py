"""The parts of the page below the answer: what explains it, the pictures, and what is folded away."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from ddpbench.arm import arm_of
from ddpbench.errors import one_line
from ddpbench.judge import cautions
from ddpbench.judge.epochs import final_metric
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.outcome import Criteria
from ddpbench.record import Record
from ddpbench.show import figures, tables
from ddpbench.show.drawing import embed
from ddpbench.show.layout import NO_VALUE, Table
from ddpbench.turns import Launch

if TYPE_CHECKING:  # the module imports matplotlib
    from ddpbench.show.charts.style import Chart

EXPLAINING = ("breakdown", "ranks", "sweep")  # charts that say why; the others show what was found
ALONE = {  # names of tables whose chart could not be drawn, by its slug
    "comparison": "Every arm",
    "breakdown": "Where a step goes",
    "speedup": "Scaling",
    "hosts": "Scaling over hosts",
    "sweep": "Batch sizes",
}
WORDS: Table = [
    ("word", "meaning"),
    ("step", "one update of the weights, from one global batch of samples"),
    ("worker, rank", "a process that trains on its share of every global batch; ranks are numbered from 0"),
    ("arm", "a way of training: ddp 2 x 1, shm is two workers of one thread each, over shared memory"),
    ("host", "a machine of several that train together; 2 hosts x 2 x 1 is two workers of one thread on each of two"),
    ("reference", "the fastest single process: what parallel training is compared with"),
    ("turn", "a short block of steps of one arm; in every round each arm has its turn, in a random order"),
    ("launch", "one start of all workers, with many rounds; intervals count launches, not rounds"),
    ("whole run", "training from start to end, with start-up and evaluation; {metric} comes from whole runs"),
    ("95 %", "such intervals hold the true value in 95 of 100 studies"),
    ("control", "an arm that exchanges no gradients: it shows what something costs, and is no result"),
]


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
    """A piece of the page: a chart with its tables, or tables or lines that are folded away."""

    slug: str
    heading: str
    conditions: Sequence[str] = ()
    drawing: Markup | None = None
    sheets: Sequence[Sheet] = ()
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Sections:
    """The parts of the page below the answer."""

    explaining: Sequence[Section]
    pictures: Sequence[Section]
    folded: Sequence[Section]


def sections_of(judgement: Judgement, charts: "Sequence[Chart]") -> Sections:
    """Return every chart with its tables, and what is folded away: from cautions to raw runs."""
    study = judgement.study
    records, newest = study.records, study.newest
    sheets = {slug: sheets for slug, sheets in _sheets(judgement).items() if sheets}
    drawn = [_picture(chart, sheets.pop(chart.slug, ())) for chart in charts]
    harmless = [one_line(caution.text) for caution in cautions.collect(judgement) if not caution.touches]
    words = [tuple(cell.replace("{metric}", figures.name_of(newest)) for cell in row) for row in WORDS]
    folded = [
        Section("cautions", f"Cautions that do not touch the answer: {len(harmless)}", lines=harmless),
        Section("left-out", f"Left out: {len(study.left_out)}", lines=list(map(one_line, study.left_out))),
        *(Section(f"{slug}-alone", ALONE[slug], sheets=alone) for slug, alone in sheets.items()),
        Section("words", "Words", sheets=[_sheet("What the words mean", words, wraps=True)]),
        *_facts(newest, judgement.criteria),
        Section("every-launch", "Launches", sheets=_launches(judgement)),
        Section("runs", "Raw runs", sheets=[_raw_runs(records)] if records else []),
    ]
    return Sections(
        [each for each in drawn if each.slug in EXPLAINING],
        [each for each in drawn if each.slug not in EXPLAINING],
        [each for each in folded if each.sheets or each.lines],
    )


def _picture(chart: "Chart", sheets: Sequence[Sheet]) -> Section:
    _, *small = map(one_line, chart.conditions.split("\n"))  # the page says once on which machine it was
    return Section(chart.slug, one_line(chart.finding), small, embed(chart), sheets)


def _sheets(judgement: Judgement) -> dict[str, list[Sheet]]:
    """Return the tables of the report by the slug of the chart that they belong to."""
    scaling, sweep, noun = judgement.scaling, judgement.sweep, judgement.timing.noun
    sheets: dict[str, list[Sheet]] = {}
    if judgement.results:
        notes = tables.all_arms_notes(judgement)
        sheets["comparison"] = [_sheet("Every arm", tables.all_arms_table(judgement), notes)]
    sheets["breakdown"] = [
        _sheet(tables.breakdown_title(each, noun), tables.breakdown_table(each)) for each in judgement.breakdowns
    ]
    if len(scaling) > 1:
        title = "Strong and weak scaling beside one worker"
        sheet = _sheet(title, tables.scaling_table(scaling), tables.scaling_notes(scaling))
        sheets["hosts" if any(row.turn.arm.hosts > 1 for row in scaling) else "speedup"] = [sheet]
    if sweep is not None:
        sheets["sweep"] = [_sheet("Every batch size", tables.sweep_table(sweep))]
    return sheets


def _launches(judgement: Judgement) -> list[Sheet]:
    if not judgement.study.launches:
        return []
    return [_sheet("Every launch of turns, in the order they were made", tables.launches_table(judgement))]


def _sheet(title: str, table: Table, notes: Iterable[str] = (), *, wraps: bool = False) -> Sheet:
    """Return a sheet. The first row of `table` names the columns."""
    columns, *rows = ([one_line(cell) for cell in row] for row in table)
    return Sheet(one_line(title), columns, rows, list(map(one_line, notes)), wraps)


def _facts(newest: Record | Launch, criteria: Criteria) -> list[Section]:
    """Return all settings and the environment of a run, or of a launch where there is no run."""
    settings = newest.settings
    computed = [(name, getattr(settings, name)) for name in settings.__struct_fields__]
    computed += [("parameters", f"{newest.parameters:,}")]
    if isinstance(newest, Record):
        metric = newest.metric
        words = figures.words_of(metric)
        computed += [("metric", figures.described(metric, criteria.margin_of(metric)))]
        computed += [(words.parts, ", ".join(metric.parts) or None)]
        computed += [(words.counted, f"{sum(metric.counts):,.10g}")]
    of = f"of the newest {'run' if isinstance(newest, Record) else 'launch'}, started {newest.started_at}"
    return [
        Section("settings", "Settings", sheets=[_pairs(f"Settings {of}", "setting", computed)]),
        Section("environment", "Environment", sheets=_environments(newest, of)),
    ]


def _environments(newest: Record | Launch, of: str) -> list[Sheet]:
    """Return the environment of host 0, and those of the others where there are some."""
    names = newest.environment.__struct_fields__
    titles = ["Environment", *(f"Environment of host {number}" for number in range(1, newest.hosts))]
    return [
        _pairs(f"{title} {of}", "property", [(name, getattr(machine, name)) for name in names])
        for title, machine in zip(titles, [newest.environment, *newest.others], strict=True)
    ]


def _pairs(title: str, column: str, pairs: Iterable[tuple[str, object]]) -> Sheet:
    rows = [(name.replace("_", " "), _value_text(name, value)) for name, value in pairs]
    return _sheet(title, [(column, "value"), *rows], wraps=True)


def _value_text(name: str, value: object) -> str:
    if value is None or value in ([], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if name == "memory_bytes" and isinstance(value, int):
        return f"{value:,} ({value / 2**30:.1f} GiB)"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _raw_runs(runs: Sequence[Record]) -> Sheet:
    """Return every run that was judged, one in each row."""
    metric = figures.tested(figures.name_of(runs[-1]))
    names = ("arm", "seed", "global batch", "train s of each epoch", metric, "start-up s")
    table: Table = [(*names, "status", "load before", "commit", "started at", "injected")]
    table += map(_run_cells, runs)
    note = f"{NO_VALUE}: none, or no result."
    return _sheet("Every run, in the order they were made", table, [note])


def _run_cells(run: Record) -> tuple[str, ...]:
    arm = arm_of(run)
    is_result = bool(run.epochs) and not arm.is_control
    return (
        arm.label,
        str(run.seed),
        str(run.settings.global_batch),
        ", ".join(f"{epoch.train_s:.3f}" for epoch in run.epochs),
        figures.value(run.metric, final_metric(run)) if is_result else NO_VALUE,
        f"{run.startup_s:.2f}",
        run.status,
        f"{run.environment.load_1m:.2f}",
        run.environment.commit or NO_VALUE,
        run.started_at,
        run.injected or NO_VALUE,
    )
