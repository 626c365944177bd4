"""A task, loaded: the network, data, loss and metric that --task names, called in the way that a user wrote them."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ddpbench import taskfile
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError, one_line
from ddpbench.fields import as_text, require_readable
from ddpbench.record import Metric
from ddpbench.settings import Settings
from ddpbench.taskfile import TaskFile
from ddpbench.tasks.items import Items
from ddpbench.tasks.reading import Reading
from ddpbench.tasks.samples import Batch, Samples, tensors_of
from ddpbench.tasks.source import execute, told
from ddpbench.tasks.step import Loss, Step
from ddpbench.tasks.tested import Tested, counted

RATES = {"adamw": 1e-3, "sgd": 0.1}  # where a task names none


@dataclass(frozen=True, slots=True)
class Data:
    """The training and the test samples of a task."""

    train: Samples | Items
    test: Samples | Items

    def to(self, device: torch.device, floating: torch.dtype | None = None) -> "Data":
        """Return both in the memory of a device, floating-point tensors as `floating` if that is given."""
        return Data(self.train.to(device, floating), self.test.to(device, floating))


def of(cfg: TrainConfig) -> "Task":
    """Return the task of a configuration. Its file is executed once in a process.

    Raises UserError where there is no such task, or where it cannot be loaded.
    """
    given = {name: getattr(cfg, name) for name in ("model", "dataset") if getattr(cfg, name) is not None}
    return _load(cfg.task, tuple(cfg.set), tuple(given.items()))


@cache
def _load(text: str, words: tuple[str, ...], given: tuple[tuple[str, str], ...]) -> "Task":
    file = taskfile.read(text)
    set_by_user = {**dict(given), **taskfile.arguments(words)}
    file.require(set_by_user)
    arguments = {name: taskfile.value(each) for name, each in {**file.given, **set_by_user}.items()}
    source = execute(file)
    functions = [getattr(source, name) for name in taskfile.FUNCTIONS if callable(getattr(source, name, None))]
    taken = {name for function in functions for name in _parameters(function)}
    for name in arguments:
        if name not in taken:
            raise UserError(f"--set {name}: no function of the task {file.name} takes it; leave it out")
    return Task(file, source, arguments)


class Task:
    """What is trained, on what, and what is counted."""

    def __init__(self, file: TaskFile, source: Any, arguments: Mapping[str, Any]) -> None:
        self.file, self._source, self._arguments = file, source, arguments

    def network(self, cfg: TrainConfig) -> nn.Module:
        """Build the network as the task returns it, on the CPU. The seed alone decides its weights, on every rank.

        Raises UserError where `model` fails, or returns no network.
        """
        torch.manual_seed(cfg.seed)
        net = self._call("model", cfg)
        if not isinstance(net, nn.Module):
            raise UserError(f"model() of the task {self.file.name} returned a {type(net).__name__}, and no nn.Module")
        if lazy := [name for name, each in (*net.named_parameters(), *net.named_buffers()) if is_lazy(each)]:
            raise UserError(
                f"model() leaves {', '.join(lazy[:3])} without a shape until the first batch; "
                "call the network once in model(), or use layers of a given size"
            )
        return net

    def step(self, cfg: TrainConfig) -> Step:
        """Build the network with its loss, in the type and layout in which it is trained. Raises as `network` does."""
        net = self.network(cfg).to(floating(cfg))
        if cfg.channels_last and not any(each.dim() == 5 for each in net.parameters()):  # torch has no such layout of 5
            net = net.to(memory_format=torch.channels_last)
        return Step(net, self._loss(cfg))

    def data(self, cfg: TrainConfig, say: Callable[[str], None] = lambda _: None) -> Data:
        """Load the data into CPU memory, or open what is read while training. `say` is told which, and what it took.

        Call it before any process group exists: fetching may take longer than a collective waits.
        Raises UserError where `data` fails or returns no data sets, or when there is less than one step needs.
        """
        pair = self._call("data", cfg)
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise UserError(
                f"data() of the task {self.file.name} must return two data sets: for training, for the test"
            )
        collate = getattr(self._source, "collate", None)
        train = Reading("training", collate, self._explain, say, None if cfg.readers is None else False)
        test = Reading("test", collate, self._explain, say)
        return self._sized(Data(train.samples_of(pair[0]), test.samples_of(pair[1])), cfg)

    def _sized(self, data: Data, cfg: TrainConfig) -> Data:
        """Return the data in the type in which it is trained. Raises UserError where it is less than one step."""
        if len(data.train) < cfg.global_batch:
            found = f"{self.dataset()} has {len(data.train):,} training samples"
            raise UserError(f"--global-batch {cfg.global_batch} is more than one epoch: {found}; use a smaller one")
        if cfg.readers is not None and isinstance(data.train, Samples):
            raise UserError(f"--readers: data() of the task {self.file.name} returns tensors in memory; leave it out")
        return data.to(torch.device("cpu"), floating(cfg))

    def _explain(self, problem: Exception) -> str:
        """Return an error of an item or of collate() in one line."""
        return str(problem) if isinstance(problem, UserError) else told(problem, self.file)

    def measure(self, net: nn.Module, batch: Batch, cfg: TrainConfig) -> Tested:
        """Return what is counted over a batch of the test set. Without a metric it is the loss, in one part.

        Raises UserError for what cannot be added up.
        """
        if hasattr(self._source, "metric"):
            ((name, (total, count)),) = self._metric(net, batch, cfg).items()
        else:
            name, found = "test loss", self._run("loss", lambda: self._loss(cfg)(net, batch))
            total, count = found if isinstance(found, tuple) else (found * (n := len(tensors_of(batch)[0])), n)
        where = f"{'metric' if hasattr(self._source, 'metric') else 'loss'}() of the task {self.file.name}"
        return counted(where, as_text(str(name)), (total, count), is_share=self._is_share(str(name)))

    def metric(self, whole: Tested, cfg: TrainConfig) -> Metric:
        """Return what is counted over the whole test set, for the record."""
        constants, name, counts = self.file.constants, whole.name, whole.counts
        is_share = self._is_share(name)
        parts = [as_text(str(part)) for part in self._parts(cfg)]
        if parts and len(parts) != len(counts):
            raise UserError(f"the task {self.file.name} names {len(parts)} parts, and its metric counts {len(counts)}")
        return Metric(
            name=name,
            unit="%" if is_share else as_text(constants.get("unit", "")),
            lower_is_better=constants.get("lower_is_better", name not in ("accuracy",) and not is_share),
            margin=float(constants["margin"]) if "margin" in constants else None,
            parts=parts if parts else [str(index) for index in range(len(counts))] if len(counts) > 1 else [],
            counts=counts,
        )

    def score(self, whole: Tested) -> float:
        """Return the figure of the whole test set. NaN where it has none.

        Raises UserError where nothing was counted, where `score` fails, and where it makes no share of a share.
        """
        if not sum(whole.counts) > 0:
            raise UserError(f"metric() of the task {self.file.name} counted nothing over the whole test set")
        mean = sum(whole.sums) / sum(whole.counts)
        value = self._run("score", lambda: self._scored(mean)) if hasattr(self._source, "score") else mean
        if self._is_share(whole.name) and not 0 <= value <= 1 and math.isfinite(value):
            raise UserError(
                f"score() of the task {self.file.name} returned {value:g}, and its {whole.name} is a share from 0 to 1"
                '; return one, or write unit = "" into the task'
            )
        return value

    def _scored(self, mean: float) -> float:
        try:
            return float(self._source.score(mean))
        except (ArithmeticError, ValueError):  # such as math.exp of a large number, or math.sqrt of a negative one
            return math.nan

    def lr(self, cfg: TrainConfig, net: nn.Module) -> float:
        """Return the learning rate that was asked for, or the task's, or one that often does."""
        if cfg.lr is not None:
            return cfg.lr
        if cfg.optimizer == "task":
            return float(self.optimizer(net).param_groups[0]["lr"])
        rate = getattr(self._source, "lr", RATES[cfg.optimizer])
        return self._run("lr", lambda: float(self._call("lr", cfg) if callable(rate) else rate))  # type: ignore[no-any-return]

    def optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        """Return the task's own optimizer. Raises UserError where it is none of torch's."""
        made = self._run("optimizer", lambda: self._source.optimizer(net))
        if not isinstance(made, torch.optim.Optimizer):
            raise UserError(
                f"optimizer() of the task {self.file.name} returned a {type(made).__name__}; return a torch one"
            )
        return made

    def schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the task's own schedule over so many steps. Raises UserError where it is none of torch's."""
        made = self._run("schedule", lambda: self._source.schedule(optimizer, steps))
        if not isinstance(made, torch.optim.lr_scheduler.LRScheduler):
            raise UserError(
                f"schedule() of the task {self.file.name} returned a {type(made).__name__}; return a torch LRScheduler"
            )
        return made

    def settings(self, cfg: TrainConfig, device: torch.device | str, net: nn.Module, data: Data) -> Settings:
        """Return the settings for the record, with all that was resolved. Raises UserError for what none can hold."""
        kind = "cuda" if str(device).startswith("cuda") else "cpu"
        values = {name: getattr(cfg, name) for name in Settings.__struct_fields__}
        named = {**self.file.given, **taskfile.arguments(cfg.set)}
        others = tuple(sorted(f"{name}={text}" for name, text in named.items() if name not in ("model", "dataset")))
        resolved = {
            "task": self.file.name,
            "task_sha256": None if self.file.is_ours else self.file.sha256,
            "set": others,
            "model": self._argument("model", "model") or as_text(type(net).__name__),
            "dataset": self.dataset(),
            "readers": readers(cfg, data.train),
            "lr": self.lr(cfg, net),
            "device": kind,
        }
        made = Settings(**values | resolved)
        require_readable(made, f"the task {self.file.name}")
        return made

    def dataset(self) -> str:
        """Return the name of the data."""
        return self._argument("data", "dataset") or self.file.name.removesuffix(".py")

    @property
    def test_batch(self) -> int | None:
        """The samples that are evaluated together; None where the task does not say."""
        found = self.file.constants.get("test_batch")
        return int(found) if found else None

    def _argument(self, function: str, name: str) -> str | None:
        """Return the value that a function of the task gets for an argument, as text; None where it has none."""
        if name in self._arguments:
            return as_text(str(self._arguments[name]))
        parameter = _parameters(getattr(self._source, function)).get(name)
        if parameter is None or parameter.default is inspect.Parameter.empty:
            return None
        return as_text(str(parameter.default))

    def _parts(self, cfg: TrainConfig) -> list[Any]:
        found = getattr(self._source, "parts", ())
        return list(self._call("parts", cfg) if callable(found) else found)

    def _metric(self, net: nn.Module, batch: Batch, cfg: TrainConfig) -> Mapping[str, Any]:
        found = self._call("metric", cfg, net, batch)
        if not (isinstance(found, Mapping) and len(found) == 1 and _is_pair(next(iter(found.values())))):
            raise UserError(
                f"metric() of the task {self.file.name} must return one figure, such as "
                '{"accuracy": (hits, count)}; got ' + one_line(repr(found)[:80])
            )
        return found

    def _is_share(self, name: str) -> bool:
        """Whether a metric of this name is a share from 0 to 1, which is shown in percent."""
        return bool(self.file.constants.get("unit", "%" if name == "accuracy" else "") == "%")

    def _loss(self, cfg: TrainConfig) -> Loss:
        """Return the loss with its arguments bound, so that a step pays nothing for them."""
        loss = self._source.loss
        names = _parameters(loss)
        arguments = {name: value for name, value in self._given(cfg).items() if name in names}
        if cfg.label_smoothing and "label_smoothing" not in names:
            raise UserError(f"--label-smoothing: loss() of the task {self.file.name} does not take it; leave it out")
        if not arguments:
            return loss  # type: ignore[no-any-return]
        return lambda net, batch: loss(net, batch, **arguments)

    def _given(self, cfg: TrainConfig) -> dict[str, Any]:
        offered = {name: getattr(cfg, name) for name in taskfile.OFFERED}
        return {**offered, **self._arguments}

    def _call(self, name: str, cfg: TrainConfig, *words: Any) -> Any:
        """Call a function of the task with the arguments that it takes. Its own errors become one line."""
        function = getattr(self._source, name)
        taken = _parameters(function)
        arguments = {key: value for key, value in self._given(cfg).items() if key in taken}
        return self._run(name, lambda: function(*words, **arguments))

    def _run(self, name: str, work: Callable[[], Any]) -> Any:
        """Let a function of the task work. Its own errors become one line."""
        try:
            return work()
        except UserError:
            raise
        except (Exception, SystemExit) as problem:
            raise UserError(f"{name}() of the task {self.file.name} failed: {told(problem, self.file)}") from problem


def readers(cfg: TrainConfig, samples: Samples | Items) -> int | None:
    """Return the processes that read samples for each CPU thread; None where they are in memory."""
    if isinstance(samples, Samples):
        return None
    return 1 if cfg.readers is None else cfg.readers


def floating(cfg: TrainConfig) -> torch.dtype:
    """Return the type of weights and data. bf16 keeps both in fp32 and rounds inside autocast."""
    return torch.float64 if cfg.precision == "fp64" else torch.float32


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function by name. One that is written in C may not tell them, and gets no argument."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
