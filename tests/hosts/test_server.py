"""Host 0's end of the line, on this machine's loopback: who is let in, who is lost, and keys. No process is started."""

import errno
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from ddpbench.errors import TrainingError, UserError
from ddpbench.hosts import channel, joining, server
from ddpbench.hosts.channel import Channel
from ddpbench.hosts.keys import Keys
from ddpbench.hosts.messages import AnyMessage, Ask, Beat, Hello, Over, Rank
from ddpbench.hosts.place import Place
from ddpbench.hosts.server import MOST_SILENT, Server
from ddpbench.notes import Seat
from ddpbench.study import lead as lead_module
from ddpbench.study.lead import Lead
from ddpbench.study.runner import Stop
from ddpbench.study.screen import Screen

SECRET = b"a secret of this job"
HELLO = Hello(index=1, count=3, version="1", code="c", python="3.11", torch="2", words=[], cores=2)


def wait_for(what: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


@dataclass
class Job:
    """A server, and clients of it."""

    server: Server
    port: int
    open: ExitStack = field(default_factory=ExitStack)

    def client(self, secret: bytes = SECRET) -> "Channel[AnyMessage]":
        """Return a client that has proved itself."""
        line: Channel[AnyMessage] = channel.connect("127.0.0.1", self.port, secret, AnyMessage, 5.0)
        self.open.callback(line.close)
        return line

    def stranger(self) -> socket.socket:
        """Return a connection that says nothing."""
        return self.open.enter_context(socket.create_connection(("127.0.0.1", self.port)))

    def host(self, index: int) -> "Channel[AnyMessage]":
        """Return a host that has introduced itself."""
        line = self.client()
        line.send(replace(HELLO, index=index))
        return line

    def rank(self, number: int) -> "Channel[AnyMessage]":
        """Return a rank of an attempt."""
        line = self.client()
        line.send(Rank(job=number))
        return line


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(server, "resolve", lambda _: [here])
    with Server(Place(0, 3, "host 0", 1, "a test"), SECRET) as made:
        found = Job(made, made._listener.getsockname()[1])
        with found.open:
            yield found


def next_of(line: "Channel[AnyMessage]") -> AnyMessage:
    """Return the next message that is no beat."""
    while isinstance(message := line.receive(), Beat):
        pass
    return message


def test_hosts_introduce_themselves_and_are_told_the_same(job: Job) -> None:
    lines = [job.host(index) for index in (2, 1)]
    wait_for(lambda: len(job.server.members) == 2)
    said = [job.server.events.get(timeout=5) for _ in lines]
    assert all(hello == replace(HELLO, index=member.hello.index) for member, hello in said)
    job.server.send(Over(code=4, why="all end alike"))
    assert [next_of(line) for line in lines] == [Over(code=4, why="all end alike")] * 2


@pytest.mark.parametrize("index", [1, 0, 3, -1])
def test_a_host_with_the_place_of_another_is_named_and_sent_away(job: Job, index: int) -> None:
    first = job.host(1)
    wait_for(lambda: 1 in job.server.members)
    answer = next_of(job.host(index))
    assert isinstance(answer, Over)
    came_twice = "host 1 came twice, from 127.0.0.1 and from 127.0.0.1"
    assert answer.why.startswith(
        came_twice if index == 1 else f"host {index} is host 0 itself, or there are not so many"
    )
    assert answer.why.endswith("give each host its own NODE_RANK")
    assert (answer.code, job.server.notices.get(timeout=5)) == (UserError.exit_code, answer.why)
    job.server.send(Over(code=0, why=""))
    assert next_of(first) == Over(code=0, why=""), "the first stays"


def test_a_host_that_ends_is_lost_at_once_and_may_come_again(job: Job) -> None:
    line = job.host(1)
    wait_for(lambda: 1 in job.server.members)
    line.close()
    wait_for(lambda: job.server.members[1].lost() is not None)
    assert job.server.members[1].lost() == "host 1 (127.0.0.1) is lost: its connection has ended"
    job.host(1)
    wait_for(lambda: job.server.members[1].lost() is None)


def test_a_host_that_says_nothing_is_lost_after_some_time_and_beats_keep_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOST_S", 0.4)
    monkeypatch.setattr(server, "BEAT_S", 0.1)
    silent, beating, is_over = job.host(1), job.host(2), threading.Event()
    wait_for(lambda: len(job.server.members) == 2)

    def beat() -> None:
        while not is_over.wait(0.05):
            beating.send(Beat())

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        wait_for(lambda: job.server.members[1].lost())
        assert job.server.members[1].lost() == "host 1 (127.0.0.1) is lost: it was not heard for 0 s"
        assert job.server.members[2].lost() is None
    finally:
        is_over.set()
        thread.join()
        silent.close()


def test_host_0_beats_too(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    line = job.host(1)
    assert line.receive() == Beat()
    assert server.BEAT_S * 3 < server.LOST_S, "a beat or two may be late"


def test_one_with_another_secret_is_refused_and_its_address_is_said(job: Job) -> None:
    with pytest.raises(channel.SecretError, match="DDPBENCH_SECRET is not the same on both hosts"):
        job.client(b"another secret than this")
    said = "what connected from 127.0.0.1 does not know DDPBENCH_SECRET, and was refused"
    assert job.server.notices.get(timeout=5) == said
    with pytest.raises(channel.SecretError):
        job.client(b"another secret once more")
    job.host(1)
    wait_for(lambda: 1 in job.server.members)
    assert job.server.notices.empty(), "one line for each address"


def test_a_hundred_silent_strangers_keep_nobody_out(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "HANDSHAKE_S", 0.5)
    strangers = [job.stranger() for _ in range(MOST_SILENT + 36)]
    for each in strangers[::7]:
        each.sendall(b"GET / HTTP/1.1\r\nHost: 10.77.0.1\r\n\r\n")

    def comes() -> bool:
        try:
            job.host(1)
        except OSError:
            return False
        return True

    wait_for(comes)
    wait_for(lambda: 1 in job.server.members)
    assert threading.active_count() < 2 * MOST_SILENT + 20


def test_more_ranks_than_strangers_may_be_come_all_at_once(job: Job) -> None:
    number, came = job.server.begin_job(), queue.Queue[int]()

    def ask() -> None:
        line = job.rank(number)
        line.send(Ask(how="add", keys=["here"], amount=1))
        came.put(getattr(line.receive(), "number", -1))

    ranks = [threading.Thread(target=ask) for _ in range(2 * MOST_SILENT)]
    for each in ranks:
        each.start()
    for each in ranks:
        each.join()
    assert sorted(came.get_nowait() for _ in ranks) == list(range(1, 2 * MOST_SILENT + 1))


def test_ranks_of_an_attempt_before_get_no_answer_and_see_no_key(job: Job) -> None:
    first = job.server.begin_job()
    old = job.rank(first)
    old.send(Ask(how="set", keys=["address"], value=b"of a process that has ended"))
    old.receive()
    old.send(Ask(how="get", keys=["never"], timeout_s=60))
    second = job.server.begin_job()
    assert (second, getattr(old.receive(), "value", "")) == (first + 1, None), "it waits no longer"
    late = job.rank(first)
    late.send(Ask(how="get", keys=["address"]))
    with pytest.raises(ConnectionError):
        late.receive()
    new = job.rank(second)
    new.send(Ask(how="check", keys=["address"]))
    assert getattr(new.receive(), "number", -1) == 0


def test_keys_do_what_the_store_of_torch_does() -> None:
    keys = Keys()
    assert keys.answer(Ask(how="get", keys=["a"], timeout_s=0.01)).value is None
    threading.Timer(0.05, lambda: keys.answer(Ask(how="set", keys=["a"], value=b"1"))).start()
    assert keys.answer(Ask(how="get", keys=["a"], timeout_s=10)).value == b"1"
    assert [keys.answer(Ask(how="add", keys=["n"], amount=each)).number for each in (2, 3, -1)] == [2, 5, 4]
    assert keys.answer(Ask(how="get", keys=["n"])).value == b"4"
    assert keys.answer(Ask(how="check", keys=["a", "n"])).number
    assert not keys.answer(Ask(how="check", keys=["a", "b"])).number
    assert keys.answer(Ask(how="swap", keys=["a"], expected=b"2", value=b"3")).value == b"1"
    assert keys.answer(Ask(how="swap", keys=["a"], expected=b"1", value=b"3")).value == b"3"
    assert keys.answer(Ask(how="swap", keys=["new"], expected=b"", value=b"4")).value == b"4"
    assert [keys.answer(Ask(how="delete", keys=["a"])).number for _ in range(2)] == [1, 0]


def test_the_store_of_ranks_waits_names_the_key_and_says_when_host_0_is_gone(job: Job) -> None:
    from ddpbench.train.store import LineStore

    number = job.server.begin_job()
    seat = Seat(host=1, hosts=3, first_rank=1, address="127.0.0.1", port=job.port, job=number, secret=SECRET.decode())
    store = LineStore(seat, timedelta(seconds=0.2))
    job.open.callback(store._line.close)
    store.set("a", "b")
    assert (store.get("a"), store.check(["a"]), store.add("n", 2)) == (b"b", True, 2)
    assert (store.delete_key("a"), store.delete_key("a")) == (True, False)
    assert store.compare_set("n", "2", "7") == b"7"
    with pytest.raises(RuntimeError, match="Timed out waiting for another rank's key c"):
        store.get("c")
    with pytest.raises(RuntimeError, match="Timed out waiting for another rank's key c"):
        store.wait(["n", "c"], timedelta(seconds=0.1))
    with pytest.raises(TrainingError, match=r"a rank cannot reach host 0 at 127.0.0.1 port 1: .* refused"):
        LineStore(replace(seat, port=1), timedelta(seconds=0.2))


def test_a_rank_that_finds_no_place_tries_again_and_one_with_another_secret_does_not(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers may hold all places of the line, until their time is up."""
    from ddpbench.train.store import LineStore

    connect, refusals = channel.connect, iter([TimeoutError("timed out"), ConnectionResetError("reset")])

    def at_the_third_time(*words: Any) -> Any:
        for refusal in refusals:
            raise refusal
        return connect(*words)

    monkeypatch.setattr(channel, "connect", at_the_third_time)
    number = job.server.begin_job()
    seat = Seat(host=1, hosts=3, first_rank=1, address="127.0.0.1", port=job.port, job=number, secret=SECRET.decode())
    store = LineStore(seat, timedelta(seconds=5))
    job.open.callback(store._line.close)
    store.set("k", b"v")
    assert next(refusals, None) is None
    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"a rank cannot reach host 0 .*DDPBENCH_SECRET is not the same"):
        LineStore(replace(seat, secret="another secret"), timedelta(seconds=60))
    assert time.monotonic() - began < 30


class Refusing:
    """A listener that cannot take the first connections: there are too many open files."""

    def __init__(self, listener: socket.socket, times: int) -> None:
        self._listener, self._times = listener, times

    def accept(self) -> tuple[socket.socket, Any]:
        self._times -= 1
        if self._times >= 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


def test_a_connection_that_cannot_be_taken_does_not_end_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(server, "resolve", lambda _: [here])
    listen = server._listen
    monkeypatch.setattr(server, "_listen", lambda place: Refusing(listen(place), MOST_SILENT + 1))
    monkeypatch.setattr(server, "AGAIN_S", 0.001)
    with Server(Place(0, 3, "host 0", 1, "a test"), SECRET) as made:
        found = Job(made, made._listener.getsockname()[1])
        with found.open:
            found.host(1)
            wait_for(lambda: 1 in made.members)


def addresses(*found: str) -> Callable[..., list[Any]]:
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 29400)) for each in found]


def test_host_0_listens_where_others_reach_it_though_its_name_is_loopback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /etc/hosts has both 127.0.1.1 and another address for the name of this machine."""
    monkeypatch.setattr(socket, "getaddrinfo", addresses("127.0.1.1", "192.0.2.7"))
    assert [each[4] for each in server.resolve(Place(0, 2, "node1", 29400, "a test"))] == [("192.0.2.7", 29400)]


def unknown(*_: object, **__: object) -> Any:
    raise socket.gaierror(-2, "Name or service not known")


def test_host_0_waits_until_its_own_name_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    place, tries = Place(0, 2, "node1", 29400, "a test"), iter([unknown, unknown, addresses("192.0.2.7")])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: next(tries)())
    monkeypatch.setattr(joining, "RETRY_S", 0.001)
    joining.wait_for_name(place, lambda: False, print)
    assert next(tries, None) is None

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    late = "the address of node1 did not come within 0 s: Name or service not known"
    with pytest.raises(TrainingError, match=late):
        joining.wait_for_name(Place(0, 2, "node1", 29400, "a test", join_s=0.01), lambda: False, print)
    with pytest.raises(InterruptedError):
        joining.wait_for_name(place, lambda: True, print)
    with pytest.raises(UserError, match="MASTER_ADDR node1 has no address on this host: Name or service not known"):
        Server(place, SECRET)


def test_a_port_of_the_system_is_told_from_the_address_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "getaddrinfo", addresses("192.0.2.7"))
    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(UserError, match="node1 port 80 is for the system alone; give every host another MASTER_PORT"):
        Server(Place(0, 2, "node1", 80, "a test"), SECRET)


def test_a_host_that_comes_again_is_lost_for_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has compared it with host 0, and it has no ranks of the attempt that goes on."""
    monkeypatch.setattr(lead_module, "GOODBYE_S", 0.1)
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(server, "resolve", lambda _: [here])
    lead = Lead(Place(0, 2, "host 0", 1, "a test"), SECRET, replace(HELLO, index=0), Screen(), Stop())
    found = Job(lead._server, lead._server._listener.getsockname()[1])
    with found.open:
        lines = list[Any]()
        threading.Timer(0.1, lambda: lines.append(found.host(1))).start()
        with lead:
            assert lead.lost() is None
            lines[0].close()
            wait_for(lambda: lead._server.members[1].is_gone)
            again = found.host(1)
            wait_for(lambda: not lead._server.members[1].is_gone)
            assert lead.next_messages() == []
            assert lead.lost() == "host 1 (127.0.0.1) is lost: its command was started again"
            lead.end(4, str(lead.lost()))
            over = next_of(again)
    assert isinstance(over, Over)
    assert (over.code, over.why) == (4, "host 1 (127.0.0.1) is lost: its command was started again")


def test_nothing_listens_any_more_when_the_line_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(server, "resolve", lambda _: [here])
    with Server(Place(0, 3, "host 0", 1, "a test"), SECRET) as made:
        port = made._listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "127.0.1.1", "::1"])
def test_loopback_is_refused_as_the_address_of_host_0(address: str) -> None:
    with pytest.raises(UserError, match=r"the loopback of every machine; give the address of host 0"):
        server.resolve(Place(0, 2, address, 29400, "a test"))


def test_a_host_that_waits_can_be_stopped() -> None:
    with pytest.raises(InterruptedError):
        joining.join(Place(1, 2, "host.invalid", 1, "a test"), SECRET, lambda: True, print)
