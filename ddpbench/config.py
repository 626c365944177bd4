"""What a run can be told: one dataclass, one flag per field, checked where it is made."""

import difflib
import math
import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, BooleanOptionalAction, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from ddpbench.errors import UserError
from ddpbench.record import Settings

# Peak learning rates that train well at the default batch sizes; --lr overrides.
RECIPE_LR = {
    ("cnn", "adamw"): 0.01,
    ("cnn", "sgd"): 0.2,
    ("cnn-small", "adamw"): 0.03,
    ("cnn-small", "sgd"): 0.2,
    ("mlp", "adamw"): 0.002,
    ("mlp", "sgd"): 0.1,
}


# Epochs: data.EPOCHS_APART keeps the sample orders of seeds apart. Threads: more only crash torch.
MOST = {"epochs": 999_999, "global_batch": 2**31, "steps": 2**31, "threads": 1_024}


def flag(default: Any, help: str) -> Any:
    """Declare a field of TrainConfig together with its line of --help."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything a run can be told. Runs with equal `settings()` are comparable."""

    model: Literal["cnn", "cnn-small", "mlp"] = flag("cnn", "network")
    dataset: Literal["mnist", "fashion-mnist", "synthetic"] = flag("mnist", "data set; synthetic needs no download")
    data_dir: Path = flag(Path("data"), "folder of data sets, laid out as torchvision does")
    epochs: int = flag(3, "passes over the training set")
    global_batch: int = flag(256, "samples per optimizer step, summed over ranks")
    steps: int | None = flag(None, "steps per epoch: a short run for its times alone (default: a whole pass)")
    lr: float | None = flag(None, "peak learning rate (default: the recipe's for this model and optimizer)")
    optimizer: Literal["adamw", "sgd"] = flag("adamw", "optimizer")
    schedule: Literal["one-cycle", "constant"] = flag(
        "one-cycle", "learning rate over the run; one-cycle also cycles momentum, as torch's OneCycleLR does"
    )
    precision: Literal["fp32", "bf16", "fp64"] = flag("fp32", "bf16 is autocast; fp64 is for proofs")
    channels_last: bool = flag(True, "memory layout of convolution weights")
    label_smoothing: float = flag(0.0, "share of a label that is spread over all classes, in training")
    target_accuracy: float | None = flag(None, "stop after the first epoch whose test accuracy, 0 to 1, reaches it")
    seed: int = flag(0, "decides weights and sample order")
    device: Literal["auto", "cpu", "cuda"] = flag("auto", "where to train; auto takes CUDA when there is a GPU")
    threads: int | None = flag(None, "CPU threads of one rank (default: usable cores / local ranks)")
    comm: Literal["auto", "nccl", "shm", "gloo", "none"] = flag(
        "auto", "ddp_train.py only: how gradients are combined; shm: shared memory; none: never, a control"
    )
    timeout_s: float = flag(120.0, "seconds that a rank waits for another before the run fails")
    checkpoint_every: str = flag("60s", "save after so many seconds (30s) or steps (500), and after every epoch")
    resume: bool = flag(False, "go on with the newest unfinished run of these settings in --results")
    data_parallel: bool = flag(False, "baseline_train.py only: wrap the model in nn.DataParallel")
    results: Path = flag(Path("results"), "folder for the record and the weights")
    inject: str | None = flag(None, "for tests: add a known loss (slow-rank=1.5) or fault (kill=1@7); see inject.py")

    def __post_init__(self) -> None:
        """Raise UserError for a number that no run could use."""
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{flag_name(name)} must be at least 1, got {value}")
            if value is not None and value > most:
                raise UserError(f"{flag_name(name)} must be at most {most:,}, got {value:,}")
        if not (math.isfinite(self.timeout_s) and 1 <= self.timeout_s <= 86_400):
            raise UserError(f"--timeout-s must be between 1 and 86,400 seconds, got {self.timeout_s:g}")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"--label-smoothing must be at least 0 and below 1, got {self.label_smoothing:g}")
        if self.target_accuracy is not None and not 0 < self.target_accuracy <= 1:
            raise UserError(
                f"--target-accuracy must be above 0 and at most 1, as in 0.99; got {self.target_accuracy:g}"
            )
        every(self.checkpoint_every)
        if not 0 <= self.seed < 2**32:
            raise UserError(f"--seed must be between 0 and 2^32 - 1, got {self.seed}")
        if self.data_parallel and self.precision == "bf16":
            raise UserError("--data-parallel forgets bf16 in its threads and would train in fp16; use --precision fp32")
        if self.lr is not None and not (math.isfinite(self.lr) and self.lr > 0):
            raise UserError(f"--lr must be a finite number above 0, got {self.lr}")

    @property
    def peak_lr(self) -> float:
        """The learning rate asked for, or the recipe's."""
        return RECIPE_LR[self.model, self.optimizer] if self.lr is None else self.lr

    def settings(self, device: Literal["cpu", "cuda"]) -> Settings:
        """Return what must be equal between runs for their times and accuracies to be comparable.

        Folders, threads and comm are no part of it: they do not change what is computed. A run cut short by `steps`
        has no accuracy, and so no target.
        """
        told = {name: getattr(self, name) for name in Settings.__struct_fields__}
        target = self.target_accuracy if self.steps is None else None
        return Settings(**told | {"lr": self.peak_lr, "device": device, "target_accuracy": target})


def every(text: str) -> tuple[int, float]:
    """Read `60s` or `500` as (steps, seconds), one of them 0. Raises UserError for anything else."""
    told = re.fullmatch(r"([1-9]\d{0,8})(s?)", text)
    if told is None:
        raise UserError(f"--checkpoint-every must be seconds, as in 60s, or steps, as in 500; got {text!r}")
    count = int(told[1])
    return (0, float(count)) if told[2] else (count, 0.0)


def rank_batch(global_batch: int, world_size: int) -> int:
    """Samples per step on one rank. Raises UserError, saying which batch would do, unless it divides."""
    share, rest = divmod(global_batch, world_size)
    if rest:
        near = f"{share * world_size} or {(share + 1) * world_size}" if share else f"{world_size}"
        raise UserError(f"--global-batch {global_batch} does not divide over {world_size} ranks; use {near}")
    return share


class Parser(ArgumentParser):
    """argparse, but an error is raised instead of printed under a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with argparse's message."""
        raise UserError(message.removeprefix("argument ") + "; see --help")


def parse(
    argv: Sequence[str] | None = None, *, doc: str | None = None, refuse: Mapping[str, str] | None = None
) -> TrainConfig:
    """Read a TrainConfig from the command line.

    `doc` is shown by --help; `refuse` names fields that are not offered, with what to say to those who ask.
    Raises UserError for anything that is not a known flag with a legal value.
    """
    return TrainConfig(**read(parser(doc, refuse), argv, refuse))


def parser(doc: str | None, refuse: Mapping[str, str] | None = None) -> "Parser":
    """Return a parser with a flag for every field of TrainConfig that is not refused."""
    made = Parser(description=doc, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    hints = get_type_hints(TrainConfig)
    for f in fields(TrainConfig):
        if f.name not in (refuse or {}):
            made.add_argument(flag_name(f.name), help=_help(f.metadata["help"], f.default), **_kind(hints[f.name]))
    return made


def read(made: "Parser", argv: Sequence[str] | None = None, refuse: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the values of the flags that are given. Raises UserError for an unknown one, and for a refused one."""
    given, unknown = made.parse_known_args(argv)
    if unknown:
        offered = [option for action in made._actions for option in action.option_strings]
        refused = {flag_name(name): why for name, why in (refuse or {}).items()}
        raise UserError(_unknown(unknown[0].split("=")[0], offered, refused))
    return vars(given)


def to_flags(cfg: TrainConfig) -> list[str]:
    """Return the flags that make this configuration: those that differ from their defaults."""
    words: list[str] = []
    for f in fields(TrainConfig):
        value = getattr(cfg, f.name)
        if value == f.default:
            continue
        if isinstance(value, bool):
            words.append(flag_name(f.name) if value else flag_name(f"no_{f.name}"))
        else:
            words += [flag_name(f.name), str(value)]
    return words


def flag_name(field_name: str) -> str:
    """Return the flag of a field: global_batch -> --global-batch."""
    return "--" + field_name.replace("_", "-")


def _kind(hint: Any) -> dict[str, Any]:
    """Return what argparse needs to read a value of this type. What is not given has no value."""
    if hint is bool:
        return {"action": BooleanOptionalAction, "default": SUPPRESS}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint), "default": SUPPRESS}
    plain = next((part for part in get_args(hint) if part is not type(None)), hint)
    as_type = _folder if plain is Path else plain
    return {"type": as_type, "default": SUPPRESS, "metavar": {int: "N", float: "X", Path: "DIR", str: "TEXT"}[plain]}


def _folder(text: str) -> Path:
    """Read a folder's name. An empty one is an unset variable, one with a dash a flag; controls break what we print."""
    if not text or not text.isprintable() or text.startswith("-"):
        raise ArgumentTypeError(f"{text!r} is no name for a folder")
    return Path(text)


def _help(text: str, default: Any) -> str:
    if default is None or default is MISSING or isinstance(default, bool):
        return text
    return f"{text} (default: {default})"


def _unknown(name: str, offered: list[str], refused: dict[str, str]) -> str:
    if not name.startswith("-"):
        return f"unexpected word {name!r}; see --help"
    bare = name.replace("--no-", "--")
    if bare in refused:
        return f"{bare} {refused[bare]}"
    near = difflib.get_close_matches(name, offered, n=1)
    return f"unknown flag {name}" + (f"; did you mean {near[0]}?" if near else "; see --help")
