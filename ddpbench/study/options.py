"""What a study is asked for: flags, and the environment variables that say the same."""

from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ddpbench import config
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError

MOST_RESTARTS = 9_999
ARM_FLAGS = dict.fromkeys(("threads", "comm", "data_parallel", "steps"), "is set for each run of a study")
ARM_FLAGS["seed"] = "is set for each run of a study; use --seeds 0 1 2"
DEFAULT_BATCHES = [64, 128, 256, 512, 1024]
# A flag, the variable that says the same, the least value, and an example.
LISTS = {
    "seeds": ("SEEDS", 0, "0 1 2"),
    "world_sizes": ("WORLD_SIZES", 1, "2 4"),
    "batches": ("BATCHES", 1, "64 256"),
    "restarts": ("RESTARTS", 0, "3"),
}
Design = Literal["comparison", "sweep"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A study as it is asked for, checked as far as that needs no machine."""

    design: Design
    seeds: list[int]
    world_sizes: list[int]  # empty: as many ranks as suit the machine
    batches: list[int]  # of a sweep
    restarts: int  # of each run
    train: TrainConfig
    has_batch: bool  # whether the global batch is asked for, or the default may move to one that divides
    is_plan: bool  # print what would run, and run nothing
    from_environment: list[str]  # what to say of variables that were read


def read(design: Design, argv: Sequence[str], environment: Mapping[str, str]) -> Asked:
    """Read a command line. Raises UserError for anything that no study could use."""
    parser = config.parser(None, ARM_FLAGS)
    for name, (_, _, example) in LISTS.items():
        parser.add_argument(config.flag_name(name), nargs="+", default=SUPPRESS, metavar="N", help=example)
    parser.add_argument("--plan", action="store_true", default=False)
    given = config.read(parser, argv, ARM_FLAGS)
    is_plan = given.pop("plan")
    lists, said = _lists(given, environment)
    if design == "comparison" and "batches" in lists:
        raise UserError("--batches is for a sweep: bash launch.sh sweep --batches 64 256; or use --global-batch N")
    seeds = lists.get("seeds", [0, 1, 2])
    for seed in seeds:
        TrainConfig(seed=seed)  # refuses what a run would refuse
    restarts = lists.get("restarts", [3])
    if len(restarts) != 1 or restarts[0] > MOST_RESTARTS:
        raise UserError(f"--restarts must be one whole number from 0 to {MOST_RESTARTS:,}")
    return Asked(
        design=design,
        seeds=seeds,
        world_sizes=lists.get("world_sizes", []),
        batches=lists.get("batches", DEFAULT_BATCHES) if design == "sweep" else [],
        restarts=restarts[0],
        train=TrainConfig(**given),
        has_batch="global_batch" in given,
        is_plan=is_plan,
        from_environment=said,
    )


def _lists(given: dict[str, Any], environment: Mapping[str, str]) -> tuple[dict[str, list[int]], list[str]]:
    """Take the lists out of `given`; where a flag is absent, its variable counts. Second, what to say of those."""
    lists: dict[str, list[int]] = {}
    said = []
    for name, (variable, least, example) in LISTS.items():
        flag = config.flag_name(name)
        if name in given:
            lists[name] = numbers(flag, " ".join(given.pop(name)), least, f"{flag} {example}")
        elif (text := environment.get(variable)) is not None and (text.strip() or name in {"seeds", "restarts"}):
            lists[name] = numbers(f'{variable}="{text}"', text, least, f'{variable}="{example}"')
            if not lists[name]:
                raise UserError(f'{variable} is empty; give whole numbers, like {variable}="{example}"')
            same = " ".join(map(str, lists[name]))
            said.append(f'{variable}="{text}" is read from the environment; {flag} {same} says the same')
    return lists, said


def numbers(name: str, text: str, least: int, example: str) -> list[int]:
    """Read whole numbers from `least` up, without repeats. Raises UserError that calls them `name`."""
    try:
        values = [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        values = [least - 1]
    if any(value < least for value in values):
        shown = name if "=" in name else f"{name} {text}"
        raise UserError(f"{shown} must be whole numbers from {least} up, like {example}")
    return list(dict.fromkeys(values))
