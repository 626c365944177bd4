"""The command line of `predict`."""

from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ddpbench.arm import CONTROLS
from ddpbench.command import NAME
from ddpbench.errors import UserError
from ddpbench.flags import Parser, explain_unknown, number, price, whole_number, whole_numbers
from ddpbench.predict import network
from ddpbench.record import Comm

DEFAULT_HOSTS = ["1", "2", "4", "8"]
MOST_HOSTS, MOST = 10_000, 10**9
NOT_FORETOLD = {
    "powersgd": "how many bytes it sends depends on every layer; foretell gloo or nccl",
    "shm": "is for ranks of one host; foretell shm+gloo",
}
COMMS = tuple(comm for comm in get_args(Comm) if comm not in {*CONTROLS, *NOT_FORETOLD})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be foretold, and from what."""

    hosts: list[int]  # ascending
    study: Path  # a folder of a study, or one of several studies, of which the newest counts
    results: Path
    price_per_hour: float | None  # of one host
    is_weak: bool
    ranks: int | None  # of a host; None: as in the study
    global_batch: int | None
    samples: int | None  # of an epoch; None: as in the study's whole runs
    comm: str | None
    link: Path | None
    given: tuple[float, float] | None  # bits a second, and the seconds of a message: a link by hand
    is_json: bool
    writes: bool  # a picture, and the predictions; as without --no-charts of compare.py


def read(words: Sequence[str]) -> Options:
    """Read the command line. Raises UserError for anything that cannot be foretold."""
    parser = Parser(prog=f"{NAME} predict", allow_abbrev=False, argument_default=SUPPRESS)
    parser.add_argument("study", nargs="?", type=Path, default=None)
    parser.add_argument("--hosts", nargs="+", default=DEFAULT_HOSTS)
    parser.add_argument("--results", type=Path, default=Path("results"))
    for name in ("price-per-hour", "ranks", "global-batch", "samples", "comm", "link", "bandwidth", "latency-ms"):
        parser.add_argument(f"--{name}", default=None)
    for name in ("weak", "json", "no-charts"):
        parser.add_argument(f"--{name}", action="store_true", default=False)
    found, unknown = parser.parse_known_args(list(words))
    if unknown:
        flags = " ".join(option for action in parser._actions for option in action.option_strings if len(option) > 2)
        why = explain_unknown(unknown[0], parser, {}).removesuffix("; see --help")
        raise UserError(f"{why}; there are {flags.replace('--help ', '')}")
    if (found.bandwidth is None) != (found.latency_ms is None):
        raise UserError("a link by hand needs both: --bandwidth 1gbit --latency-ms 0.2")
    if found.bandwidth is not None and found.link is not None:
        raise UserError("--link names a measured link, and --bandwidth gives one by hand; give one of them")
    given = None
    if found.bandwidth is not None:
        latency_ms = number("--latency-ms", found.latency_ms, "0.2", most=network.MOST_LATENCY_MS)
        given = (network.bandwidth(found.bandwidth), latency_ms / 1000)
    return Options(
        hosts=_hosts(found.hosts),
        study=found.study or found.results,
        results=found.results,
        price_per_hour=price(found.price_per_hour),
        is_weak=found.weak,
        ranks=_maybe_whole("--ranks", found.ranks),
        global_batch=_maybe_whole("--global-batch", found.global_batch),
        samples=_maybe_whole("--samples", found.samples),
        comm=_comm(found.comm),
        link=None if found.link is None else Path(found.link),
        given=given,
        is_json=found.json,
        writes=not found.no_charts,
    )


def _hosts(words: Sequence[str]) -> list[int]:
    numbers = whole_numbers("--hosts", " ".join(words), 1, "--hosts 1 2 4", MOST_HOSTS)
    if not numbers:
        raise UserError("--hosts is empty; give whole numbers, like --hosts 1 2 4")
    return sorted(numbers)


def _maybe_whole(flag: str, text: str | None) -> int | None:
    return None if text is None else whole_number(flag, text, "2", most=MOST)


def _comm(name: str | None) -> str | None:
    if name in NOT_FORETOLD:
        raise UserError(f"--comm {name}: {NOT_FORETOLD[name]}")
    if name is not None and name not in COMMS:
        raise UserError(f"--comm {name}: no such way to combine gradients; there are {', '.join(COMMS)}")
    return name
