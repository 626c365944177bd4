"""What a command line asks for: a study or one run, by flags and by the environment variables that stand for some."""

from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from ddpbench import config, flags
from ddpbench.arm import CONTROLS
from ddpbench.command import COMMAND, NAME
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.record import Comm
from ddpbench.study import layouts
from ddpbench.study.layouts import Layout
from ddpbench.study.plan import Design as Design

MAX_RESTARTS = 9_999
ARM_FLAGS = dict.fromkeys(("threads", "comm", "data_parallel"), "is set for each arm of a study")
ARM_FLAGS["seed"] = "is set for each run of a study; use --seeds 0 1 2"
ARM_FLAGS["comm"] = "is set for each arm of a study; use --comms shm gloo"
COMMS = tuple(comm for comm in get_args(Comm) if comm not in CONTROLS)  # that a study may compare
DEFAULT_SEEDS = [0, 1, 2]
DEFAULT_BATCHES = [64, 128, 256, 512, 1024]
DEFAULT_RESTARTS = 3
# The flags that say when the launches end and how they are judged, with their defaults and what --help shows.
ENDINGS = {"within": ("3%", "P%"), "minutes": ("5", "X"), "margin_speed": ("3%", "P%"), "price_per_hour": (None, "X")}
SWITCHES = ("plan", "more")


class ListFlag(NamedTuple):
    """A flag of a study that takes whole numbers."""

    variable: str  # the environment variable that stands for the flag
    least: int
    example: str


LISTS = {
    "seeds": ListFlag("SEEDS", 0, "0 1 2"),
    "world_sizes": ListFlag("WORLD_SIZES", 1, "2 4"),
    "batches": ListFlag("BATCHES", 1, "64 256"),
    "restarts": ListFlag("RESTARTS", 0, "3"),
}
MAY_BE_EMPTY = {"world_sizes", "batches"}  # an empty variable of these means the default


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """A study as it is asked for, checked as far as that needs no machine."""

    design: Design
    seeds: list[int]  # of the whole runs of a comparison
    hosts: int  # of the job
    world_sizes: list[int]  # ranks on one host; empty: as many as suit the machine
    layouts: list[Layout]  # empty: those of `designs.layouts`
    batches: list[int]  # the global batches of a sweep
    comms: list[Comm]  # that are compared; empty: those that are usual on this machine
    restarts: int  # of each launch and of each run
    within: float  # half the width of the interval at which launches end: 0.03 is +- 3 %
    minutes: float  # after which no further launch begins
    margin: float  # a difference in speed below it does not matter: 0.03 is 3 %
    price_per_hour: float | None  # of one worker, in money; None: costs are not compared
    train: TrainConfig
    has_batch: bool  # whether --global-batch is given; otherwise the batch may move to one that the ranks can share
    is_plan: bool  # print what would run, and run nothing
    is_more: bool  # add launches and seeds to an earlier study
    notices: list[str]  # one line for each environment variable that was read


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """One run as it is asked for."""

    ranks: int | None  # None: a single process
    restarts: int
    train: TrainConfig


def read(design: Design, argv: Sequence[str], environment: Mapping[str, str], hosts: int = 1) -> StudyOptions:
    """Read the command line of a study on so many hosts. Raises UserError for anything that no study could use."""
    parser = config.parser(None, ARM_FLAGS)
    for name, (_, _, example) in LISTS.items():
        parser.add_argument(config.flag_name(name), nargs="+", default=SUPPRESS, metavar="N", help=example)
    parser.add_argument("--comms", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--layouts", nargs="+", default=[], metavar="HxR")
    for name, (default, metavar) in ENDINGS.items():
        parser.add_argument(config.flag_name(name), default=default, metavar=metavar)
    for name in SWITCHES:
        parser.add_argument(config.flag_name(name), action="store_true", default=False)
    values = config.read(parser, argv, ARM_FLAGS)
    lists, notices = _lists(values, environment)
    comms = _comms(values["comms"])
    spread = layouts.read(values["layouts"], hosts)
    _require_of_design(design, lists, comms)
    if spread and lists.get("world_sizes"):
        raise UserError("--layouts says how many ranks there are on each host, and so does --world-sizes: give one")
    others = {"comms", "layouts", *LISTS, *ENDINGS, *SWITCHES}
    train = {name: value for name, value in values.items() if name not in others}
    if design == "sweep" and train.get("compile"):
        raise UserError("--compile adds an arm to a study of one batch, and a sweep has many; leave it out")
    if values["more"] and train.get("resume"):
        raise UserError("--more adds to a study, and --resume finishes one: give one of them")
    if values["more"] and "seeds" in lists:
        raise UserError("--more adds the next seeds itself; leave out --seeds and SEEDS")
    seeds = lists.get("seeds", DEFAULT_SEEDS) if design == "comparison" else []
    for seed in seeds:
        TrainConfig(seed=seed)  # refuses what a run would refuse
    restarts = lists.get("restarts", [DEFAULT_RESTARTS])
    return StudyOptions(
        design=design,
        seeds=seeds,
        hosts=hosts,
        world_sizes=lists.get("world_sizes", []),
        layouts=spread,
        batches=lists.get("batches", DEFAULT_BATCHES) if design == "sweep" else [],
        comms=comms,
        restarts=flags.only("--restarts", restarts, LISTS["restarts"].least, MAX_RESTARTS),
        within=flags.percentage("--within", values["within"]),
        minutes=flags.number("--minutes", values["minutes"], "5", least=0.1, most=1_440),
        margin=flags.percentage("--margin-speed", values["margin_speed"]),
        price_per_hour=flags.price(values["price_per_hour"]),
        train=config.make(train),
        has_batch="global_batch" in values,
        is_plan=values["plan"],
        is_more=values["more"],
        notices=notices,
    )


def read_run(argv: Sequence[str]) -> RunOptions:
    """Read the command line of one run. Raises UserError for anything that no run could use."""
    parser = config.parser(None)
    parser.prog = f"{NAME} run"
    parser.add_argument("--ranks", default=None, metavar="N", help="so many ranks under torchrun; default: one process")
    parser.add_argument("--restarts", default=str(DEFAULT_RESTARTS), metavar="N", help="starts after a failure")
    values = config.read(parser, argv)
    ranks, restarts = values.pop("ranks"), values.pop("restarts")
    for name, is_misplaced, script in (
        ("comm", ranks is None, "ddp_train.py: give --ranks N"),
        ("data_parallel", ranks is not None, "baseline_train.py: leave out --ranks"),
        ("compile", ranks is not None, "baseline_train.py: leave out --ranks"),
    ):
        if name in values and is_misplaced:
            raise UserError(f"{config.flag_name(name)} is for {script}")
    return RunOptions(
        ranks=None if ranks is None else flags.whole_number("--ranks", ranks, "2", most=MAX_RESTARTS),
        restarts=flags.whole_number("--restarts", restarts, "3", least=0, most=MAX_RESTARTS),
        train=config.make(values),
    )


def _comms(words: Sequence[str]) -> list[Comm]:
    """Read the names of ways to combine gradients. Raises UserError for an unknown one, and for one that repeats."""
    names: list[Any] = " ".join(words).replace(",", " ").split()
    unknown = [name for name in names if name not in COMMS]
    if unknown:
        raise UserError(f"--comms {unknown[0]}: no such way to combine gradients; there are {', '.join(COMMS)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"--comms {' '.join(names)}: {twice} is there twice; name each once")
    return names


def _require_of_design(design: Design, lists: Mapping[str, list[int]], comms: Sequence[Comm]) -> None:
    """Raise UserError for numbers and comms that this kind of study has no use for."""
    if design != "sweep" and "batches" in lists:
        raise UserError(f"--batches is for a sweep: {COMMAND} sweep --batches 64 256; or use --global-batch N")
    if design != "comparison" and "seeds" in lists:
        raise UserError(f"--seeds is for whole runs, and {NAME} {design} has none; leave out --seeds and SEEDS")
    if design == "sweep" and len(comms) > 1:
        raise UserError(f"--comms {' '.join(comms)}: a sweep follows one way to combine gradients; name one")


def _lists(values: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[dict[str, list[int]], list[str]]:
    """Return the numbers of every list that is given by its flag or else by its variable; and notices of the latter."""
    lists: dict[str, list[int]] = {}
    notices = []
    for name, (variable, least, example) in LISTS.items():
        flag, text = config.flag_name(name), environment.get(variable)
        if name in values:
            lists[name] = flags.whole_numbers(flag, " ".join(values[name]), least, f"{flag} {example}")
            if not lists[name]:
                raise UserError(f"{flag} is empty; give whole numbers, like {flag} {example}")
        elif text is not None and (text.strip() or name not in MAY_BE_EMPTY):
            lists[name] = flags.whole_numbers(f'{variable}="{text}"', text, least, f'{variable}="{example}"')
            if not lists[name]:
                raise UserError(f'{variable} is empty; give whole numbers, like {variable}="{example}"')
            same = " ".join(map(str, lists[name]))
            notices.append(f'{variable}="{text}" is read from the environment; {flag} {same} says the same')
    return lists, notices
