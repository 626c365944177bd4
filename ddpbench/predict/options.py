"""The command line of `predict`."""

from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddpbench.command import NAME
from ddpbench.errors import UserError
from ddpbench.flags import Parser, explain_unknown, number, price
from ddpbench.predict import network

DEFAULT_HOSTS = ["1", "2", "4", "8"]
MOST_HOSTS = 10_000


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
        hosts=sorted({_whole("--hosts", word, MOST_HOSTS) for word in " ".join(found.hosts).replace(",", " ").split()}),
        study=found.study or found.results,
        results=found.results,
        price_per_hour=price(found.price_per_hour),
        is_weak=found.weak,
        ranks=_maybe_whole("--ranks", found.ranks),
        global_batch=_maybe_whole("--global-batch", found.global_batch),
        samples=_maybe_whole("--samples", found.samples),
        comm=found.comm,
        link=None if found.link is None else Path(found.link),
        given=given,
        is_json=found.json,
        writes=not found.no_charts,
    )


def _whole(flag: str, text: str, most: int = 10**9) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise UserError(f"{flag} must be whole numbers from 1 to {most:,}; got {text!r}")
    return value


def _maybe_whole(flag: str, text: str | None) -> int | None:
    return None if text is None else _whole(flag, text)
