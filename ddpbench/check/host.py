"""One host of a check of several: what host 0 may ask it, and how it answers. Host 0 asks itself in the same way."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ddpbench.check import asking, look, network
from ddpbench.check.exchanger import Exchanger
from ddpbench.check.facts import Load
from ddpbench.check.gathered import Meet, Met, OnHost, Trouble

WINDOW_S = 2.0  # for the load: others have a few hundred ticks of the kernel's clock in it
LIMIT_S = 30.0  # for the worker, which takes 3 s where torch lies on a local disk


class Look(msgspec.Struct, frozen=True, tag="look"):
    """Look at yourself, and tell what you see: OnHost."""


class Tell(msgspec.Struct, frozen=True, tag="tell"):
    """Tell what time it is: Time."""


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """Get ready to exchange data: Prepared."""


Asked = Look | Tell | Prepare | Meet


class Time(msgspec.Struct, frozen=True, tag="time"):
    """A host's wall clock, in seconds."""

    now_s: float


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """Whether a host is ready to exchange data."""

    trouble: Trouble | None


@dataclass
class This:
    """This host. Use it as a context: what it starts ends with it."""

    address: str  # of host 0
    results: Path
    data_dir: Path
    variables: Mapping[str, str]
    wall_s: Callable[[], float] = time.time
    _exchanger: Exchanger | None = field(default=None, init=False)

    def __enter__(self) -> "This":
        return self

    def __exit__(self, *_: object) -> None:
        if self._exchanger is not None:
            self._exchanger.__exit__(None, None, None)

    def answer(self, asked: Asked) -> OnHost | Time | Prepared | Met:
        """Do what host 0 asks for."""
        if isinstance(asked, Tell):
            return Time(self.wall_s())
        if isinstance(asked, Look):
            return self._look()
        if isinstance(asked, Prepare):
            return Prepared(self._prepare())
        if self._exchanger is None:
            return Met(timed=[], trouble=Trouble(why="it was never asked to get ready"))
        return self._exchanger.meet(asked)

    def _prepare(self) -> Trouble | None:
        way = network.way_to(self.address, self.variables)
        if way.interface is None or way.problem is not None:
            return Trouble(why=way.problem or "no interface leads to host 0")
        self._exchanger = Exchanger(way.interface, self.variables)
        return self._exchanger.wait()

    def _look(self) -> OnHost:
        load: Load | None = look.load(WINDOW_S)  # first, while this program does nothing
        return OnHost(
            facts=look.facts(load, asking.ask(LIMIT_S), self.results, self.data_dir),
            interfaces=network.interfaces(),
            way=network.way_to(self.address, self.variables),
        )
