"""The configuration of a run and its command line: one flag for each field, checked where it is made."""

import re
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from ddpbench import taskfile
from ddpbench.errors import UserError
from ddpbench.fields import LARGEST, require_text
from ddpbench.flags import Parser as Parser
from ddpbench.flags import explain_unknown, flags_of
from ddpbench.flags import flag_name as flag_name
from ddpbench.record import Kind
from ddpbench.settings import Help, Settings
from ddpbench.taskfile import TaskFile


class TrainConfig(Settings, frozen=True):
    """The settings of a run, and how it is carried out: none of the fields below changes what is computed."""

    data_dir: Annotated[Path, Help("folder of data sets, laid out as torchvision does")] = Path("data")
    seed: Annotated[int, Meta(ge=0, lt=2**32), Help("decides weights and sample order")] = 0
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1_024)] | None,
        Help("CPU threads of one rank (default: usable cores / local ranks)"),
    ] = None
    comm: Annotated[
        Literal["auto", "nccl", "shm", "gloo", "shm+gloo", "fp16", "bf16", "powersgd", "none"],
        Help(
            "ddp_train.py only: how gradients are combined; shm: shared memory; shm+gloo: shared memory inside each "
            "host and gloo between them; fp16, bf16, powersgd: in fewer bits; none: never, a control"
        ),
    ] = "auto"
    timeout_s: Annotated[
        float, Meta(ge=1, le=86_400), Help("seconds that a rank waits for another before the run fails")
    ] = 120.0
    checkpoint_every: Annotated[str, Help("save after so many seconds (30s) or steps (500), and after every epoch")] = (
        "60s"
    )
    resume: Annotated[bool, Help("go on with the newest unfinished run of these settings in --results")] = False
    data_parallel: Annotated[bool, Help("baseline_train.py only: wrap the model in nn.DataParallel")] = False
    compile: Annotated[
        bool, Help("baseline_train.py: compile the model by torch.compile; a study: also one process that does")
    ] = False
    results: Annotated[Path, Help("folder for the record and the weights")] = Path("results")
    hook: Annotated[
        str | None, Help("FILE.py or FILE.py:WORDS: your own onlooker of training; its runs are no results")
    ] = None

    def __post_init__(self) -> None:
        """Raise UserError for a value that no run could use."""
        for flag in FLAGS:
            flag.require_in_bounds(getattr(self, flag.name))
        saving_interval(self.checkpoint_every)
        hook_file(self.hook)
        if self.data_parallel and self.compile:
            raise UserError("--data-parallel and --compile are two ways to train in one process; give one of them")
        if self.data_parallel and self.precision == "bf16":
            raise UserError("--data-parallel forgets bf16 in its threads and would train in fp16; use --precision fp32")
        if self.data_parallel and self.precision == "fp16":
            raise UserError("--data-parallel does not scale the loss, which fp16 needs; use --precision fp32")
        if self.comm == "powersgd" and self.precision == "fp16":  # once a gradient overflows, it never trains again
            raise UserError(
                "--comm powersgd carries gradients over, also those that overflow in fp16; use --precision bf16"
            )

    @property
    def kind(self) -> Kind:
        """The kind of run that one process with this configuration is."""
        return "data_parallel" if self.data_parallel else "compiled" if self.compile else "baseline"

    @property
    def injected(self) -> str | None:
        """The hook as the record names it: its file without folders, and its words. None without a hook."""
        path, words = hook_file(self.hook) or (None, "")
        return None if path is None else path.name + (f":{words}" if words else "")


OF_RANKS = {"comm": "is for ddp_train.py"}  # flags that one process refuses, with the reason
OF_ONE_PROCESS = dict.fromkeys(("data_parallel", "compile"), "is for baseline_train.py")
FLAGS = tuple(flags_of(TrainConfig))
DEFAULTS = {flag.name: flag.default for flag in FLAGS}


def saving_interval(text: str) -> tuple[int, float]:
    """Read `60s` or `500` as (steps, seconds), one of them 0. Raises UserError for anything else."""
    match = re.fullmatch(r"([1-9]\d{0,8})(s?)", text)
    if match is None:
        raise UserError(f"--checkpoint-every must be seconds, as in 60s, or steps, as in 500; got {text!r}")
    count = int(match[1])
    return (0, float(count)) if match[2] else (count, 0.0)


def hook_file(text: str | None) -> tuple[Path, str] | None:
    """Read `FILE.py` or `FILE.py:WORDS` into the file and the words. Raises UserError where there is no such file."""
    if text is None:
        return None
    match = re.fullmatch(r"(.+?\.py)(?::(.*))?", text)
    if match is None or not Path(match[1]).is_file():
        raise UserError(f"--hook must name a Python file, as in watch.py or watch.py:WORDS; got {text!r}")
    return Path(match[1]), match[2] or ""


def rank_batch(global_batch: int, world_size: int) -> int:
    """Return the samples per step of one rank. Raises UserError, naming a batch that would do, unless it divides."""
    share, rest = divmod(global_batch, world_size)
    if rest:
        near = f"{share * world_size} or {(share + 1) * world_size}" if share else f"{world_size}"
        raise UserError(f"--global-batch {global_batch} does not divide over {world_size} ranks; use {near}")
    return share


def part_batch(cfg: TrainConfig, world_size: int) -> int:
    """Return the samples of one part of a rank's step, of which --accumulate says how many there are.

    Raises UserError, naming a batch that would do, unless the global batch divides over ranks and parts.
    """
    share = rank_batch(cfg.global_batch, world_size)
    size, rest = divmod(share, cfg.accumulate)
    if rest:
        whole = cfg.accumulate * world_size
        near = f"{size * whole} or {(size + 1) * whole}" if size else f"{whole}"
        raise UserError(
            f"--accumulate {cfg.accumulate} does not divide the {share} samples of a rank in a step; "
            f"use --global-batch {near}"
        )
    return size


def parse(
    argv: Sequence[str] | None = None, *, doc: str | None = None, refuse: Mapping[str, str] | None = None
) -> TrainConfig:
    """Read a TrainConfig from the command line.

    `doc` is the text of --help. `refuse` names fields that this program does not offer, with the reason to print.
    Raises UserError for anything that is not a known flag with a legal value.
    """
    return make(read(parser(doc, refuse), argv, refuse))


def make(values: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration from the values of flags. The task that they name says what its own defaults are.

    Raises UserError where there is no such task, and for an argument of --set that it does not take.
    """
    given = {**values, "set": tuple(values.get("set", ()))}
    file = taskfile.read(given.get("task", DEFAULTS["task"]))
    named = {name: given[name] for name in ("model", "dataset") if given.get(name) is not None}
    for name in named:
        if name in taskfile.arguments(given["set"]):
            raise UserError(f"{flag_name(name)} and --set {name} say the same thing twice; give one of them")
    file.require({**named, **taskfile.arguments(given["set"])})
    cfg = TrainConfig(**{**defaults_of(file), **given})
    _require_own(file, cfg)
    _require_recordable(file, cfg)
    return cfg


def defaults_of(file: TaskFile) -> dict[str, Any]:
    """Return the defaults of flags that a task sets by its constants, and by functions that it has."""
    names = {"batch": "global_batch", "epochs": "epochs"}
    own = {names[name]: value for name, value in file.constants.items() if name in names}
    return own | {name: "task" for name in ("optimizer", "schedule") if name in file.functions}


def _require_own(file: TaskFile, cfg: TrainConfig) -> None:
    """Raise UserError where the task lacks what it should make itself, or where a flag cannot change what it makes."""
    own = {"optimizer": ("(net)", "adamw or sgd"), "schedule": ("(optimizer, steps)", "one-cycle, cosine or constant")}
    for name, (takes, others) in own.items():
        if getattr(cfg, name) == "task" and name not in file.functions:
            raise UserError(f"--{name} task: the task {file.name} has no function {name}{takes}; use {others}")
    if cfg.optimizer == "task" and cfg.lr is not None:
        raise UserError(f"--lr: the task {file.name} makes its own optimizer; set its rate there, or add --optimizer")
    if cfg.schedule == "task" and cfg.warmup is not None:
        raise UserError(f"--warmup: the task {file.name} makes its own schedule; set it there, or add --schedule")


def _require_recordable(file: TaskFile, cfg: TrainConfig) -> None:
    """Raise UserError for what no record of a run could hold, and for constants of a task that no run could use."""
    texts = [("--task", file.name), *(("--task", each) for each in file.given.values())]
    texts += [(flag_name(name), text) for name in ("model", "dataset") if (text := getattr(cfg, name)) is not None]
    texts += [("--set", each) for each in cfg.set]
    texts += [("--hook", cfg.injected or ""), ("the name of the folder --results", cfg.results.resolve().name)]
    for what, text in texts:
        require_text(what, text)
    for name in ("margin", "test_batch"):
        value = file.constants.get(name)
        if value is not None and not 0 < value <= LARGEST:
            raise UserError(f"--task {file.name}: {name} must be above 0, got {value!r}")


def parser(doc: str | None, refuse: Mapping[str, str] | None = None) -> Parser:
    """Return a parser with a flag for every field of TrainConfig that is not refused. A flag not given has no value."""
    made = Parser(description=doc, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    for flag in FLAGS:
        if flag.name not in (refuse or {}):
            made.add_argument(flag_name(flag.name), default=SUPPRESS, help=flag.help, **flag.reading)
    return made


def read(made: Parser, argv: Sequence[str] | None = None, refuse: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the values of the flags that were given. Raises UserError for an unknown flag and for a refused one."""
    values, unknown = made.parse_known_args(argv)
    if unknown:
        raise UserError(explain_unknown(unknown[0], made, refuse or {}))
    return vars(values)


def to_flags(cfg: TrainConfig) -> list[str]:
    """Return the flags that make this configuration: those whose values differ from their defaults."""
    words: list[str] = []
    defaults = {**DEFAULTS, **defaults_of(taskfile.read(cfg.task))}
    for flag in FLAGS:
        value = getattr(cfg, flag.name)
        if value == defaults[flag.name]:
            continue
        if flag.name == "set":
            words += [word for each in value for word in ("--set", each)]
            continue
        if isinstance(value, bool):
            words.append(flag_name(flag.name) if value else flag_name(f"no_{flag.name}"))
        else:
            words += [flag_name(flag.name), str(value)]
    return words
