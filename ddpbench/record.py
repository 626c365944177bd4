"""The JSON record of one run: the only thing that training and judging share.

It holds raw values and never means alone. Units end names. A value that was not measured is null; there is no NaN.
Raise SCHEMA when a reader of old files would misread new ones.
"""

import json
import math
from pathlib import Path
from typing import Literal

import msgspec

from ddpbench.errors import UserError
from ddpbench.fields import Count, Duration, Number, Part, Seconds, Text, in_words, require_readable
from ddpbench.files import write_whole
from ddpbench.settings import Settings

SCHEMA = 6
VERSIONS = dict.fromkeys((1, 2, 3, 4, 5), "0.1.0")  # the version of this program that reads an older schema
MAX_BYTES = 16 * 2**20

Kind = Literal["baseline", "compiled", "data_parallel", "ddp"]
# How gradients are combined. Two controls combine none: the ranks of "none" are not wrapped at all; those of "nothing"
# are wrapped in DistributedDataParallel, and are timed in turns alone.
Comm = Literal["nccl", "gloo", "shm", "shm+gloo", "fp16", "bf16", "powersgd", "none", "nothing"]


class Environment(Part, frozen=True):
    """Hardware, software, and what else the machine was doing."""

    cpu_model: Text
    cpu_capability: Text  # the vector instructions torch uses
    cores: Count  # this process may use: affinity and cgroup
    memory_bytes: Count
    gpu_models: list[Text]
    python: Text
    torch: Text
    blas: Text
    system: Text
    load_1m: Number  # average number of runnable processes in the minute before the run
    commit: Text | None
    # NAME=VALUE of those that change how a run computes, such as those that bind or limit threads:
    variables: list[Text] = msgspec.field(default_factory=list)


class Epoch(Part, frozen=True):
    """One pass over the training set, over all ranks."""

    epoch: Count  # from 1
    train_s: Duration  # slowest rank; without evaluation and record writing
    eval_s: Seconds  # slowest rank
    samples: Count  # trained on, all ranks
    train_loss: Number  # mean over `samples`
    loss_curve: list[Number]  # means of consecutive parts of the epoch, equally long
    metric: Number  # of the whole test set, as the task's `score` makes it of the mean; see Metric
    metric_sums: list[Number]  # of each part of the test set
    resumed: bool = False  # a restart fell into it: its time is of two attempts, or of a cold start, and is not counted
    suspended: bool = False  # stopped for a while by a signal or a freezer in it: its time is not counted


class Startup(Part, frozen=True):
    """What the slowest rank did before its first training step, one after the other."""

    launcher_s: Seconds  # torchrun, until it started this rank; 0 for a single process
    interpreter_s: Seconds  # until Python runs the script
    imports_s: Seconds  # of torch, mostly
    data_s: Seconds  # found, verified, and made tensors
    rendezvous_s: Seconds  # until all ranks have met; next to 0 for a single process
    build_s: Seconds  # network, DDP, shared memory, record
    first_step_s: Seconds | None  # part of the first epoch, not of startup_s; the slowest first step of any rank


class Target(Part, frozen=True):
    """When the accuracy that training was to reach was reached, by three clocks."""

    epoch: Count
    train_s: Seconds  # training alone: the sum of train_s so far
    train_eval_s: Seconds  # with the evaluations that found out
    process_s: Seconds  # since torchrun or python began


class Rank(Part, frozen=True):
    """What one rank measured about itself."""

    rank: Count
    rank_batch: Count  # samples per step
    train_s: list[Duration]  # per epoch
    wait_s: list[Seconds]  # per epoch: the slowest rank's train_s less this rank's
    cpu_s: list[Seconds]  # per epoch: CPU time of training on all its threads
    # Per epoch, summed over steps; None where gradients are not reduced:
    reduce_s: list[Seconds] | None  # from this rank's last gradient until all gradients are reduced
    late_s: list[Seconds] | None  # of that, waiting for the step's slowest rank
    torch_reduce_s: Number | None  # the same as reduce_s for one step, by DDP's own log: a mean over sampled steps
    data_s: list[Seconds] | None  # per epoch: waiting for data that is read while training; None: it is in memory
    peak_rss_bytes: Count
    peak_device_bytes: Count | None  # None on CPU
    between_s: list[Seconds] | None = None  # of reduce_s, waiting for other hosts; None: it is not timed apart


class Metric(Part, frozen=True):
    """What is counted over the test set, and how it is judged. The mean of a part is its sum / its count."""

    name: Text  # accuracy, perplexity, test loss, ...
    unit: Text  # "%": a share from 0 to 1 that is shown in percent; "": a number without a unit
    lower_is_better: bool
    margin: Number | None  # the smallest difference that matters, in the unit that is shown; None: it is not judged
    parts: list[Text]  # what the parts of the test set are called, such as its classes; empty where it has none
    counts: list[Number]  # of each part: samples, tokens, or whatever the mean is over

    def shown(self, value: float) -> float:
        """Return a value in the unit in which it is shown: a share in percent."""
        return 100 * value if self.unit == "%" else value

    def text(self, value: float) -> str:
        """Return a value as it is shown: `99.03 %`, `12.34 mg/dl`, `12.34`."""
        return f"{100 * value:.2f} %" if self.unit == "%" else f"{value:.4g} {self.unit}".rstrip()


class Record(Part, frozen=True):
    """One execution of a training script."""

    schema: int  # readers refuse other numbers than their own
    study: Text  # name of the folder
    kind: Kind  # with the next three: the arm
    comm: Comm | None  # None: one process; "none": replicas that never talk, a control
    world_size: Count  # ranks
    threads_per_rank: Count
    seed: Count  # which of the runs of this arm it is
    settings: Settings  # what was computed
    environment: Environment
    started_at: Text  # wall clock, UTC: a label, never used for an interval
    parameters: Count  # trained numbers of the network
    metric: Metric  # what was counted over the test set
    startup_s: Seconds  # slowest rank: from the start of torchrun or python to the first training step
    startup: Startup  # the same by part
    epochs: list[Epoch]
    target: Target | None  # None: not asked for, or not reached
    ranks: list[Rank]
    weights: Text | None  # file beside the record
    injected: Text | None  # the hook that took part, as tests of the judge do: never a result
    status: Literal["running", "complete", "failed", "preempted"]  # running: also of a run that was killed
    attempts: Count  # starts of this run: 1 unless it was resumed
    hosts: Count = 1  # on which its ranks were, equally many on each
    # Those of the other hosts, from host 1 on; `environment` is of host 0.
    others: list[Environment] = msgspec.field(default_factory=list)


class _Version(msgspec.Struct):
    schema: int


class _DuplicateError(ValueError):
    """A JSON object that names something twice: readers would disagree about what it says."""


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _DuplicateError(f"`{twice}` is given twice")
    return dict(pairs)


def write_record(path: Path, record: Record) -> None:
    """Write the record whole. Raises ValueError if it holds a number that is not finite.

    Raises UserError for another value with which nobody could read it: before the first epoch, and not after the last.
    """
    _require_finite(msgspec.to_builtins(record))
    require_readable(record, "this run")
    write_whole(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def read_record(path: Path) -> Record:
    """Read and validate a record. Raises UserError naming the file and the field."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no ordinary file: not a record; leave it out")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES:,} bytes: not a record of ours; leave it out")
        content = path.read_bytes()
    except OSError as problem:
        raise UserError(f"cannot read {path}: {problem.strerror}") from problem
    if not content.strip():
        raise UserError(f"{path} is empty: not a record; leave it out, or run again")
    try:
        version = msgspec.json.decode(content, type=_Version).schema
        if version != SCHEMA:
            raise UserError(f"{path} has schema {version}{_advice(version)}")
        record = msgspec.json.decode(content, type=Record)
        plain = json.loads(content, object_pairs_hook=_refuse_duplicates)  # of two equal names, msgspec takes the last
        missing = [name for name in Settings.__struct_fields__ if name not in plain["settings"]]  # flags have defaults
        if missing:
            raise ValueError(f"Object missing required field `{missing[0]}` - at `$.settings`")
    except (msgspec.DecodeError, RecursionError, ValueError) as problem:
        why = in_words(problem)
        raise UserError(f"{path} is not a whole record: {why}; leave it out, or run again") from problem
    _require_consistent(path, record)
    return record


def _advice(version: int) -> str:
    """Return the rest of a line about another schema: who wrote it, and what to do."""
    if version in VERSIONS:
        return f", of ddpbench {VERSIONS[version]}; this program reads {SCHEMA}: judge it with that version"
    return f"; this program reads {SCHEMA}: judge it with the version of ddpbench that wrote it"


def _require_consistent(path: Path, record: Record) -> None:
    """Raise UserError for values of the right type that no run could have produced."""
    counts, settings = record.metric.counts, record.settings
    right = {
        "world_size": record.world_size > 0,
        "threads_per_rank": record.threads_per_rank > 0,
        "hosts": record.hosts == len(record.others) + 1 and record.world_size % record.hosts == 0,
        "ranks": record.status != "complete" or len(record.ranks) == record.world_size,
        "ranks.rank_batch": all(rank.rank_batch > 0 for rank in record.ranks),
        "settings": settings.device != "auto" and None not in (settings.lr, settings.model, settings.dataset),
        # A part, such as a class, may have no sample in a small test set.
        "metric.counts": not record.epochs
        or (len(counts) == max(1, len(record.metric.parts)) and min(counts) >= 0 < max(counts)),
        "metric.margin": record.metric.margin is None or record.metric.margin > 0,
        "epochs": record.status != "complete" or record.target or len(record.epochs) == record.settings.epochs,
        "target": record.target is None or record.target.epoch == len(record.epochs) <= record.settings.epochs,
    }
    for name in ("train_s", "wait_s", "cpu_s", "reduce_s", "late_s", "between_s", "data_s"):
        of_ranks = [getattr(rank, name) for rank in record.ranks]
        right[f"ranks.{name}"] = all(values is None or len(values) == len(record.epochs) for values in of_ranks)
    for index, epoch in enumerate(record.epochs):
        is_share = record.metric.unit == "%"
        shares = [total / count for total, count in zip(epoch.metric_sums, counts, strict=False) if count > 0]
        right |= {
            f"epochs[{index}].samples": epoch.samples > 0,
            f"epochs[{index}].loss_curve": len(epoch.loss_curve) == len(record.epochs[0].loss_curve) > 0,
            f"epochs[{index}].metric_sums": len(epoch.metric_sums) == len(counts)
            and (not is_share or all(0 <= share <= 1 for share in shares)),
            f"epochs[{index}].metric": not is_share or 0 <= epoch.metric <= 1,
        }
    wrong = next((name for name, is_right in right.items() if not is_right), None)
    if wrong:
        raise UserError(f"{path}: {wrong} holds a value that no run produces; leave it out, or run again")


def _require_finite(value: object, where: str = "$") -> None:
    """Raise ValueError for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _require_finite(inner, f"{where}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _require_finite(inner, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}: a record holds finite numbers only")
