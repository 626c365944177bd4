"""What hosts of a check tell each other: two hosts in this process, over loopback. No process is started."""

import base64
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from ddpbench.check import following
from ddpbench.check.gathered import SIZES, Gathered, Meet, Met, OnHost, Timed
from ddpbench.check.host import Asked, Look, Prepare, Prepared, Said, Tell, This, Time
from ddpbench.check.leading import Lead
from ddpbench.hosts import channel, joining, server
from ddpbench.hosts.channel import Channel
from ddpbench.hosts.messages import AnyMessage, Hello, Over
from ddpbench.hosts.place import Place
from ddpbench.hosts.server import Server
from ddpbench.notes import Seat
from tests.check.test_several import host

SECRET = "a secret of this test"
HELLO = Hello(index=0, count=2, version="1", code="c", python="3.11", torch="2", words=["check"], cores=2)
FULL = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


@dataclass
class Prompt(This):
    """A host that answers at once, as if all were fine, but for what it fails at."""

    failures: dict[type, Exception] = field(default_factory=dict)
    seats: list[Seat] = field(default_factory=list)

    def answer(self, asked: Asked) -> OnHost | Time | Prepared | Met:
        if type(asked) in self.failures:
            raise self.failures[type(asked)]
        if isinstance(asked, Look):
            seen = host(self.place.index).seen
            assert seen is not None
            return seen
        if isinstance(asked, Meet):
            self.seats.append(self.seat(asked))
            return Met(timed=[Timed(size_bytes=size, seconds=[1e-3]) for size in SIZES])
        return Time(0.0) if isinstance(asked, Tell) else Prepared(None)


class Tap:
    """A connection whose bytes are kept."""

    def __init__(self, connection: socket.socket, sent: list[bytes]) -> None:
        self._connection, self._sent = connection, sent

    def sendall(self, content: bytes) -> None:
        self._sent.append(content)
        self._connection.sendall(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@dataclass
class Pair:
    """Host 0 and host 1, and every byte that they send each other once they know each other."""

    hosts: list[Prompt]
    sent: list[bytes] = field(default_factory=list)

    def check(self) -> Gathered:
        """Let them check, as `several` does."""
        first, second = self.hosts
        with Server(first.place, SECRET.encode()) as line, self._following(second, line._listener.getsockname()[1]):
            lead = Lead(line, first.place, first, lambda _: None)
            try:
                return lead.check(HELLO)
            finally:
                lead.end(0, "")

    @contextmanager
    def _following(self, this: This, port: int) -> Iterator[None]:
        line: Channel[AnyMessage] = channel.connect("127.0.0.1", port, SECRET.encode(), AnyMessage, 5.0)
        line.send(replace(HELLO, index=1))
        ends = list[Over]()

        def follow() -> None:
            ends.append(following._obey(line, this))
            line.close()

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            thread.join(10)
        assert ends == [Over(code=0, why="")]


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pair:
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(server, "resolve", lambda _: [here])
    places = [Place(index, 2, "host 0", 1, "a test", 10.0) for index in range(2)]
    made = Pair([Prompt(place, tmp_path, tmp_path, {joining.SECRET: SECRET}) for place in places])

    def tapped(connection: Any, *rest: Any, **more: Any) -> "Channel[AnyMessage]":
        return original(Tap(connection, made.sent), *rest, **more)  # type: ignore[arg-type]

    original: Callable[..., Channel[AnyMessage]] = channel._channel
    monkeypatch.setattr(channel, "_channel", tapped)
    return made


def test_the_secret_never_crosses_the_line_and_each_host_takes_its_own(pair: Pair) -> None:
    found, sent = pair.check(), b"".join(pair.sent)

    assert [(each.hosts, each.trouble) for each in found.pairs] == [((0, 1), None)] * len(found.pairs)
    assert b'"meet"' in sent, "this test hears what hosts say"
    assert SECRET.encode() not in sent
    assert base64.b64encode(SECRET.encode()) not in sent
    assert {each.secret for this in pair.hosts for each in this.seats} == {SECRET}
    assert [(each.host, each.first_rank) for each in pair.hosts[1].seats] == [(1, 1), (1, 2)]
    assert [this.seats[0].job for this in pair.hosts] == [0, 0]


def test_no_message_has_a_place_for_the_secret() -> None:
    """The line is authenticated and not encrypted: who listens reads every field of every message."""
    kinds = msgspec.inspect.multi_type_info(
        [*get_args(AnyMessage), *get_args(Asked), Said, OnHost, Time, Prepared, Met]
    )
    seen, rest = list[msgspec.inspect.StructType](), [*kinds]
    while rest:
        kind = rest.pop()
        if isinstance(kind, msgspec.inspect.StructType) and kind not in seen:
            seen.append(kind)
            rest += [each.type for each in kind.fields]
        elif isinstance(kind, msgspec.inspect.UnionType):
            rest += kind.types
        elif isinstance(kind, msgspec.inspect.CollectionType):
            rest.append(kind.item_type)

    assert Meet in {each.cls for each in seen}
    assert [each.cls for each in seen for one in each.fields if "secret" in one.name] == []


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("asked", [Look, Prepare, Meet])
def test_a_host_that_has_no_room_to_answer_says_so_at_once(pair: Pair, asked: type, index: int) -> None:
    pair.hosts[index].failures[asked] = FULL
    found = pair.check()

    who = "host 1 (127.0.0.1)" if index else "host 0"
    assert found.lost == f"{who} cannot answer: Resource temporarily unavailable; look at its ulimit -u"


def test_a_fault_on_another_host_is_told_in_one_line(pair: Pair) -> None:
    pair.hosts[1].failures[Look] = KeyError("what\nis this")
    found = pair.check()

    assert found.lost == r"host 1 (127.0.0.1) cannot answer: KeyError: 'what\nis this'"
