"""The configuration of a run and its command line: one flag for each field, checked where it is made."""

import difflib
import operator
import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, BooleanOptionalAction, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from ddpbench import taskfile
from ddpbench.errors import UserError
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
        Literal["auto", "nccl", "shm", "gloo", "none"],
        Help("ddp_train.py only: how gradients are combined; shm: shared memory; none: never, a control"),
    ] = "auto"
    timeout_s: Annotated[
        float, Meta(ge=1, le=86_400), Help("seconds that a rank waits for another before the run fails")
    ] = 120.0
    checkpoint_every: Annotated[str, Help("save after so many seconds (30s) or steps (500), and after every epoch")] = (
        "60s"
    )
    resume: Annotated[bool, Help("go on with the newest unfinished run of these settings in --results")] = False
    data_parallel: Annotated[bool, Help("baseline_train.py only: wrap the model in nn.DataParallel")] = False
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
        if self.data_parallel and self.precision == "bf16":
            raise UserError("--data-parallel forgets bf16 in its threads and would train in fp16; use --precision fp32")

    @property
    def injected(self) -> str | None:
        """The hook as the record names it: its file without folders, and its words. None without a hook."""
        path, words = hook_file(self.hook) or (None, "")
        return None if path is None else path.name + (f":{words}" if words else "")


class Flag(NamedTuple):
    """A field of TrainConfig as the command line sees it."""

    name: str
    kind: type
    choices: tuple[str, ...]
    bounds: Meta | None
    help: str
    default: Any

    def require_in_bounds(self, value: Any) -> None:
        """Raise UserError for a number that is out of bounds, or not a number."""
        if self.bounds is None or value is None:
            return
        names = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        limits = {name: limit for name in names if (limit := getattr(self.bounds, name)) is not None}
        if not all(getattr(operator, name)(value, limit) for name, limit in limits.items()):  # false for NaN
            allowed = " and ".join(f"{names[name]} {limit:,}" for name, limit in limits.items())
            raise UserError(f"{flag_name(self.name)} must be {allowed}, got {value:,}")


def _flags() -> Iterator[Flag]:
    hints = get_type_hints(TrainConfig, include_extras=True)
    for field in msgspec.structs.fields(TrainConfig):
        kind, *metas = _parts(hints[field.name])
        bounds = next((meta for meta in metas if meta.description is None), None)
        text = next((meta.description for meta in metas if meta.description is not None), None)
        if text is None:  # it is resolved, and no flag
            continue
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        yield Flag(field.name, str if choices else kind, choices, bounds, text, field.default)


def _parts(hint: Any) -> list[Any]:
    """Return the plain type of a field, without None, and every Meta that annotates it."""
    if get_origin(hint) is Annotated:
        inner, *metas = get_args(hint)
        return [*_parts(inner), *metas]
    options = [option for option in get_args(hint) if option is not type(None)]
    return _parts(options[0]) if len(options) == 1 and type(None) in get_args(hint) else [hint]


FLAGS = tuple(_flags())
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


class Parser(ArgumentParser):
    """An argparse parser that raises UserError where argparse prints a page of usage and exits."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with argparse's message."""
        raise UserError(message.removeprefix("argument ") + "; see --help")


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
    if cfg.optimizer == "task":
        if "optimizer" not in file.functions:
            raise UserError(f"--optimizer task: the task {file.name} has no function optimizer(net); use adamw or sgd")
        if cfg.lr is not None:
            raise UserError(
                f"--lr: the task {file.name} makes its own optimizer; set its rate there, or add --optimizer"
            )
    return cfg


def defaults_of(file: TaskFile) -> dict[str, Any]:
    """Return the defaults of flags that a task sets by its constants."""
    names = {"batch": "global_batch", "epochs": "epochs"}
    own = {names[name]: value for name, value in file.constants.items() if name in names}
    return own | ({"optimizer": "task"} if "optimizer" in file.functions else {})


def parser(doc: str | None, refuse: Mapping[str, str] | None = None) -> Parser:
    """Return a parser with a flag for every field of TrainConfig that is not refused. A flag not given has no value."""
    made = Parser(description=doc, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    for flag in FLAGS:
        if flag.name not in (refuse or {}):
            made.add_argument(flag_name(flag.name), default=SUPPRESS, help=_help(flag), **_reading(flag))
    return made


def read(made: Parser, argv: Sequence[str] | None = None, refuse: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the values of the flags that were given. Raises UserError for an unknown flag and for a refused one."""
    values, unknown = made.parse_known_args(argv)
    if unknown:
        offered = [option for action in made._actions for option in action.option_strings]
        refused = {flag_name(name): why for name, why in (refuse or {}).items()}
        raise UserError(_unknown(unknown[0].split("=")[0], offered, refused))
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


def flag_name(field_name: str) -> str:
    """Return the flag of a field: global_batch -> --global-batch."""
    return "--" + field_name.replace("_", "-")


def _reading(flag: Flag) -> dict[str, Any]:
    """Return what argparse needs to read a value of this flag."""
    if flag.kind is bool:
        return {"action": BooleanOptionalAction}
    if flag.name == "set":
        return {"action": "append", "metavar": "NAME=VALUE"}
    if flag.choices:
        return {"choices": flag.choices}
    as_type = _folder if flag.kind is Path else flag.kind
    return {"type": as_type, "metavar": {int: "N", float: "X", Path: "DIR", str: "TEXT"}[flag.kind]}


def _folder(text: str) -> Path:
    """Read the name of a folder. Refused are an empty name (an unset variable), a dash in front, and controls."""
    if not text or not text.isprintable() or text.startswith("-"):
        raise ArgumentTypeError(f"{text!r} is no name for a folder")
    return Path(text)


def _help(flag: Flag) -> str:
    if flag.default in (None, ()) or isinstance(flag.default, bool):
        return flag.help
    return f"{flag.help} (default: {flag.default})"


def _unknown(name: str, offered: list[str], refused: dict[str, str]) -> str:
    if not name.startswith("-"):
        return f"unexpected word {name!r}; see --help"
    bare = name.replace("--no-", "--")
    if bare in refused:
        return f"{bare} {refused[bare]}"
    near = difflib.get_close_matches(name, offered, n=1)
    return f"unknown flag {name}" + (f"; did you mean {near[0]}?" if near else "; see --help")
