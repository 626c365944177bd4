"""The command `check`: is this machine, or are these hosts, ready for a study?"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from ddpbench import config
from ddpbench.check import asking, look, report, several
from ddpbench.check.host import LIMIT_S, WINDOW_S, This
from ddpbench.config import TrainConfig
from ddpbench.flags import Parser, flag_name, flags_of
from ddpbench.hosts.place import Place
from ddpbench.settings import Help

DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(TrainConfig)}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of the command."""

    results: Annotated[Path, Help("folder of the results that a study would write to")] = DEFAULTS["results"]
    data_dir: Annotated[Path, Help("folder of data sets")] = DEFAULTS["data_dir"]
    json: Annotated[bool, Help("print JSON, for programs")] = False


def main(words: Sequence[str], place: Place | None = None, variables: Mapping[str, str] | None = None) -> int:
    """Look at this machine and print what was found. Returns the exit code. Raises UserError for a bad flag.

    `place` is there where the job has several hosts: then it looks together with these. `variables` are those of the
    environment.
    """
    options = read(words)
    if place is not None:
        this = This(place, options.results, options.data_dir, variables or {})
        return several.main(place, ["check", *words], this, variables or {}, is_json=options.json)
    began_s = time.monotonic()
    load = look.load(WINDOW_S)  # first, while this program does nothing
    facts = look.facts(load, asking.ask(LIMIT_S), options.results, options.data_dir)
    made = report.make(facts, time.monotonic() - began_s)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(made), indent=2).decode())
    else:
        print("\n".join(report.lines(made)))
    return made.exit_code


def read(words: Sequence[str]) -> Options:
    """Return the flags of the command line. Raises UserError for any other word."""
    parser = Parser(allow_abbrev=False)
    for flag in flags_of(Options):
        parser.add_argument(flag_name(flag.name), default=flag.default, help=flag.help, **flag.reading)
    return Options(**config.read(parser, words))
