"""One host of a check of several: what host 0 may ask it, and how it answers. Host 0 asks itself in the same way."""

import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ddpbench.check import asking, look, network
from ddpbench.check.exchanger import Exchanger
from ddpbench.check.facts import Load
from ddpbench.check.gathered import Meet, Met, OnHost, Trouble
from ddpbench.errors import one_line
from ddpbench.hosts import joining
from ddpbench.hosts.place import Place
from ddpbench.notes import Seat

WINDOW_S = 2.0  # for the load: others have a few hundred ticks of the kernel's clock in it
LIMIT_S = 30.0  # for the worker, which takes 3 s where torch lies on a local disk
# What to look at where a host has no room for one more process, file or page.
LIMITS = {
    errno.EAGAIN: "ulimit -u",
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "fs.file-max",
    errno.ENOMEM: "free memory",
}


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


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a host replies: its answer, or why it has none."""

    answer: msgspec.Raw = msgspec.Raw(b"null")
    trouble: str | None = None


@dataclass
class This:
    """This host. Use it as a context: what it starts ends with it."""

    place: Place
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
        """Do what host 0 asks for. Raises OSError where this host has no room for it."""
        if isinstance(asked, Tell):
            return Time(self.wall_s())
        if isinstance(asked, Look):
            return self._look()
        if isinstance(asked, Prepare):
            return Prepared(self._prepare())
        if self._exchanger is None:
            return Met(timed=[], trouble=Trouble(why="it was never asked to get ready", is_own=True))
        return self._exchanger.meet(asked, self.seat(asked))

    def said(self, question: bytes | msgspec.Raw) -> Said:
        """Return what host 0 is told. It hears of a failure at once, and would wait for long where it heard nothing."""
        try:
            answer = self.answer(msgspec.json.decode(question, type=Asked))
        except Exception as problem:  # whatever it is: nobody else learns why there is no answer
            return Said(trouble=in_words(problem))
        return Said(answer=msgspec.Raw(msgspec.json.encode(answer)))

    def seat(self, meet: Meet) -> Seat:
        """Return where this host's ranks are among those of two hosts. The secret is this host's own."""
        return Seat(
            host=meet.place,
            hosts=2,
            first_rank=meet.place * meet.ranks,
            address=self.place.address,
            port=self.place.port,
            job=meet.job,
            secret=joining.secret_of(self.variables).decode(),
        )

    def _prepare(self) -> Trouble | None:
        way = network.way_to(self.place.address, self.variables)
        if way.interface is None or way.problem is not None:
            return Trouble(why=way.problem or "no interface leads to host 0", is_own=True)
        self._exchanger = Exchanger(way.interface, self.variables)
        return self._exchanger.wait()

    def _look(self) -> OnHost:
        load: Load | None = look.load(WINDOW_S)  # first, while this program does nothing
        return OnHost(
            facts=look.facts(load, asking.ask(LIMIT_S), self.results, self.data_dir),
            interfaces=network.interfaces(),
            way=network.way_to(self.place.address, self.variables),
        )


def in_words(problem: Exception) -> str:
    """Return why a host cannot answer, in one line."""
    if isinstance(problem, OSError) and problem.errno in LIMITS:
        return f"{problem.strerror}; look at its {LIMITS[problem.errno]}"
    return one_line(f"{type(problem).__name__}: {problem}")[:300]
