"""The line between two hosts: what a stranger, a liar and a broken wire can do to it. No process is started."""

import inspect
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpbench.errors import UserError
from ddpbench.hosts import channel, joining, keys, messages, server
from ddpbench.hosts.channel import GREETING, MAC_BYTES, MOST_BYTES, NONCE_BYTES, Channel, SecretError
from ddpbench.hosts.messages import Answer, AnyMessage, Ask, Beat, Hello, Noted

SECRET, OTHER = b"a secret of the job", b"another secret, not it"
ASK = Ask(how="set", keys=["a"], value=b"\0\xff")


@dataclass(frozen=True)
class Line:
    """Two ends of a line, and the sockets below them, over which a test says what it likes."""

    server: "Channel[AnyMessage]"
    client: "Channel[AnyMessage]"
    below_server: socket.socket
    below_client: socket.socket


@dataclass(frozen=True)
class Wire:
    """Pairs of sockets, of which a client of ours gets the newest."""

    ends: list[socket.socket]

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return what a server has, and what a client has."""
        self.ends.extend(socket.socketpair())
        return self.ends[-2], self.ends[-1]

    def line(self, ours: bytes = SECRET, theirs: bytes = SECRET) -> Line:
        """Return a line between a server with our secret and a client with theirs. Raises as the client raises."""
        below_server, below_client = self.pair()
        accepted: list[Channel[AnyMessage]] = []
        with threads(lambda: accept(below_server, ours, accepted)):
            client = client_of(theirs)
        return Line(accepted[0], client, below_server, below_client)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    made = Wire([])
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: made.ends[-1])
    monkeypatch.setattr(channel, "_channel", without_tcp)
    yield made
    for end in made.ends:
        end.close()


@contextmanager
def threads(work: Callable[[], object]) -> Iterator[None]:
    """Do something meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def client_of(secret: bytes = SECRET) -> "Channel[AnyMessage]":
    return channel.connect("host 0", 1, secret, AnyMessage, 5.0)


def accept(below: socket.socket, secret: bytes, accepted: "list[Channel[AnyMessage]]") -> None:
    try:
        accepted.append(channel.accept(below, secret, AnyMessage))
    except OSError:
        below.close()


def without_tcp(below: socket.socket, key: bytes, kind: object, *, is_server: bool) -> "Channel[AnyMessage]":
    """Make a channel on a pair of sockets, which have no options of TCP."""
    below.settimeout(5)
    return Channel(below, key, kind, is_server=is_server)


def sent_by(line: Line, message: object) -> bytes:
    """Return the bytes that the client sends for a message, taken off the wire."""
    line.client.send(message)
    (size,) = struct.unpack(">I", head := line.below_server.recv(4, socket.MSG_WAITALL))
    return head + line.below_server.recv(MAC_BYTES + size, socket.MSG_WAITALL)


def test_messages_arrive_whole_in_order_and_in_both_directions(wire: Wire) -> None:
    line = wire.line()
    large = Answer(value=secrets.token_bytes(2**20))
    for sender, receiver in ((line.client, line.server), (line.server, line.client)):
        with threads(lambda sender=sender: [sender.send(each) for each in (ASK, large, Beat())]):
            assert [receiver.receive() for _ in range(3)] == [ASK, large, Beat()]


def test_another_secret_is_refused_on_both_sides(wire: Wire) -> None:
    with pytest.raises(SecretError, match="DDPBENCH_SECRET is not the same on both hosts"):
        wire.line(SECRET, OTHER)


def test_a_server_that_only_repeats_what_it_hears_proves_nothing(wire: Wire) -> None:
    below, _ = wire.pair()

    def reflect() -> None:
        below.sendall(GREETING + bytes(NONCE_BYTES))
        channel.read(below, NONCE_BYTES)
        below.sendall(channel.read(below, MAC_BYTES))  # the client's own proof

    with threads(reflect), pytest.raises(SecretError, match="does not know DDPBENCH_SECRET"):
        client_of()


def test_a_client_that_repeats_what_another_proved_is_refused(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger who has listened knows the numbers and the proof of an earlier connection."""
    nonce, theirs = bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
    proof = channel._hmac(SECRET, b"client" + nonce + theirs)
    for ours, is_let_in in ((nonce, True), (secrets.token_bytes(NONCE_BYTES), False)):
        below, stranger = wire.pair()
        monkeypatch.setattr(secrets, "token_bytes", lambda _, ours=ours: ours)
        stranger.sendall(theirs + proof)
        accepted: list[Channel[AnyMessage]] = []
        accept(below, SECRET, accepted)
        assert bool(accepted) == is_let_in, "the server's number is new each time, so it does not"


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "one bit of its content": lambda sent: sent[:-1] + bytes([sent[-1] ^ 1]),
    "one bit of its proof": lambda sent: sent[:4] + bytes([sent[4] ^ 1]) + sent[5:],
    "its length": lambda sent: struct.pack(">I", len(sent) - 4 - MAC_BYTES - 1) + sent[4:],
    "it is too long": lambda sent: struct.pack(">I", MOST_BYTES + 1) + sent[4:],
    "it is as long as can be said": lambda sent: b"\xff\xff\xff\xff" + sent[4:],
    "garbage": lambda sent: secrets.token_bytes(len(sent)),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_changed_message_is_refused(wire: Wire, how: str) -> None:
    line = wire.line()
    line.below_client.sendall(CHANGES[how](sent_by(line, ASK)) + bytes(64))
    with pytest.raises(SecretError):
        line.server.receive()


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 40])
def test_a_message_that_breaks_off_is_no_message(wire: Wire, kept: int) -> None:
    line = wire.line()
    line.below_client.sendall(sent_by(line, ASK)[:kept])
    line.client.close()
    with pytest.raises(ConnectionResetError, match="the connection has ended"):
        line.server.receive()


def test_no_message_comes_twice_out_of_order_back_or_from_another_connection(wire: Wire) -> None:
    for how in ("twice", "left out", "back", "another connection"):
        line = wire.line()
        first, second = sent_by(line, ASK), sent_by(line, Beat())
        if how == "twice":
            line.below_client.sendall(first + first)
            assert line.server.receive() == ASK
        elif how == "left out":
            line.below_client.sendall(second)
        elif how == "another connection":
            line = wire.line()
            line.below_client.sendall(first)
        else:
            line.below_server.sendall(first)
        with pytest.raises(SecretError, match="not sent by this job"):
            (line.client if how == "back" else line.server).receive()


def test_what_is_authentic_and_no_message_is_refused(wire: Wire) -> None:
    for content in ({"what": "run", "command": "id"}, {"what": "ask", "how": "eval", "keys": []}, [1], "beat", None):
        line = wire.line()
        line.client.send(content)
        with pytest.raises(SecretError, match="what came is no message"):
            line.server.receive()


def test_a_line_to_another_program_says_so(wire: Wire) -> None:
    below, _ = wire.pair()
    below.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
    with pytest.raises(SecretError, match="another program, or another version of this one, answers there"):
        client_of()


@given(st.binary(max_size=200))
def test_no_bytes_let_a_stranger_in(said: bytes) -> None:
    below, stranger = socket.socketpair()
    with below, stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError, match=r"another secret|has ended"):
            channel.accept(below, SECRET, AnyMessage)
        answered = stranger.recv(2**16)
        assert answered[: len(GREETING)] == GREETING
        assert len(answered) == len(GREETING) + NONCE_BYTES, "nothing that depends on the secret"


def test_a_silent_stranger_is_dropped_after_some_time(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "HANDSHAKE_S", 0.05)
    below, _ = wire.pair()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.accept(below, SECRET, AnyMessage)
    assert time.monotonic() - began < 5


def test_one_byte_at_a_time_does_not_keep_a_stranger_in(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is that of all of the greeting: 64 bytes that come one by one would keep a thread for minutes."""
    monkeypatch.setattr(channel, "HANDSHAKE_S", 0.4)
    (below, stranger), is_over = wire.pair(), threading.Event()

    def drip() -> None:
        for _ in range(NONCE_BYTES + MAC_BYTES):
            if not is_over.wait(0.1):
                stranger.sendall(b"x")

    with threads(drip):
        began = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            channel.accept(below, SECRET, AnyMessage)
        is_over.set()
    assert time.monotonic() - began < 3


def test_nothing_that_is_received_is_unpickled_or_executed() -> None:
    for module in (channel, joining, keys, messages, server):
        text = inspect.getsource(module)
        assert not any(word in text for word in ("import pickle", "marshal", "eval(", "exec(", "shelve", "torch.load"))
    assert {type(each) for each in msgspec.inspect.type_info(AnyMessage).types} == {msgspec.inspect.StructType}  # type: ignore[attr-defined]


def test_the_secret_is_asked_for_and_may_not_be_short() -> None:
    for variables, found in (({}, "DDPBENCH_SECRET is not set"), ({joining.SECRET: "short"}, "has 5 characters")):
        with pytest.raises(UserError, match=found):
            joining.secret_of(variables)
    assert joining.secret_of({joining.SECRET: "x" * joining.LEAST_CHARACTERS}) == b"x" * joining.LEAST_CHARACTERS


HELLO = Hello(index=0, count=2, version="1", code="c", python="3.11", torch="2", words=["run", "--ranks", "1"], cores=2)


@pytest.mark.parametrize("name", joining.SAME)
def test_what_differs_between_hosts_is_named_with_both_values_and_a_cure(name: str) -> None:
    other: object = ["run", "--ranks", "2"] if name == "words" else 3 if name == "count" else "other"
    theirs = msgspec.structs.replace(HELLO, index=1, **{name: other})
    said = joining.difference(HELLO, theirs)
    assert said is not None
    shown = " ".join(other) if isinstance(other, list) else str(other)
    assert said.startswith("host 1 has ")
    assert shown in said
    assert said.endswith(joining.SAME[name])
    assert joining.difference(HELLO, msgspec.structs.replace(HELLO, index=1, cores=64)) is None


def test_words_that_may_differ_are_those_for_folders_alone() -> None:
    words = ["run", "--results", "/a", "--ranks", "2", "--data-dir=/b", "--results=/c", "--epochs=1", "--results"]
    assert joining.same_words(words) == ["run", "--ranks", "2", "--epochs=1"]


def test_notes_pass_through_as_they_are(wire: Wire) -> None:
    line = wire.line()
    line.client.send(Noted(job=1, note=msgspec.Raw(b'{"what":"saved"}')))
    found = line.server.receive()
    assert isinstance(found, Noted)
    assert bytes(found.note) == b'{"what":"saved"}'
