"""Host 0's end of the line: it lets hosts in that have the secret, and tells who is lost. Ranks ask it for keys.

It listens on host 0's address alone. Every connection has a thread; what hosts say goes into one queue, which the
supervisor reads. Hosts send a beat every second. A host that was not heard for LOST_S is lost. Both ends count
beats of their own, and no clock is read.
"""

import errno
import queue
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import Self

from ddpbench.errors import UserError
from ddpbench.hosts import channel
from ddpbench.hosts.channel import Channel, SecretError
from ddpbench.hosts.keys import Keys
from ddpbench.hosts.messages import AnyMessage, Ask, Beat, Hello, Over, Rank
from ddpbench.hosts.place import Place

BEAT_S = 1.0
LOST_S = 10.0
AGAIN_S = 0.1  # after a connection that could not be taken
MOST_SILENT = 64  # connections that have not proved themselves yet
SEGMENT_BYTES = 1_200  # a packet fits every network: the line works, and says so, where large packets are lost


@dataclass
class Member:
    """Another host that takes part."""

    hello: Hello
    channel: "Channel[AnyMessage]"
    address: str
    silent_s: float = 0.0  # in which it was not heard, counted in beats: time in which this host stood still is none
    is_gone: bool = False

    @property
    def name(self) -> str:
        """How lines call it."""
        return f"host {self.hello.index} ({self.address})"

    def lost(self) -> str | None:
        """Return why this host is lost, in a line; None where it is not."""
        if self.is_gone:
            return f"{self.name} is lost: its connection has ended"
        if self.silent_s > LOST_S:
            return f"{self.name} is lost: it was not heard for {LOST_S:.0f} s"
        return None

    def send(self, message: object) -> None:
        """Send it a message. A host that takes none is gone."""
        try:
            self.channel.send(message)
        except OSError:
            self.is_gone = True


class Server:
    """The line of a job. Use it as a context."""

    def __init__(self, place: Place, secret: bytes) -> None:
        """Listen on host 0's address. Raises UserError where that is not this machine's, or its port is taken."""
        self._secret, self._place = secret, place
        self.events: queue.Queue[tuple[Member, AnyMessage]] = queue.Queue()
        self.notices: queue.Queue[str] = queue.Queue()  # lines for a person
        self._members: dict[int, Member] = {}
        self._refused: set[str] = set()  # addresses of strangers
        self._jobs: dict[int, Keys] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._silent = threading.Semaphore(MOST_SILENT)
        self._listener = _listen(place)

    @property
    def members(self) -> Mapping[int, Member]:
        """The other hosts that are here, by index."""
        with self._lock:
            return dict(self._members)

    def __enter__(self) -> Self:
        for work in (self._accept, self._beat):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept() keeps a closed socket open
        self._listener.close()
        for member in self.members.values():
            member.channel.close()

    def begin_job(self) -> int:
        """Make room for the keys of another attempt. Returns its number. Keys of attempts before are gone."""
        with self._lock:
            number = max(self._jobs, default=-1) + 1
            for keys in self._jobs.values():
                keys.close()
            self._jobs = {number: Keys()}
            return number

    def send(self, message: object) -> None:
        """Send a message to all other hosts."""
        for member in self.members.values():
            member.send(message)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            for member in self.members.values():
                member.silent_s += BEAT_S
                member.send(Beat())

    def _accept(self) -> None:
        while not self._over.is_set():
            self._silent.acquire()  # where strangers hold all places, others wait until their time is up
            try:
                connection, address = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection, str(address[0])), daemon=True).start()
            except (OSError, RuntimeError):  # too many open files or threads, for a while; or the line is over
                self._silent.release()
                self._over.wait(AGAIN_S)

    def _serve(self, connection: socket.socket, address: str) -> None:
        """Follow one connection until it ends."""
        try:
            try:
                line: Channel[AnyMessage] = channel.accept(connection, self._secret, AnyMessage)
            finally:
                self._silent.release()
            first = line.receive()
            if isinstance(first, Rank):
                self._answer(line, first)
            elif isinstance(first, Hello):
                self._follow(line, first, address)
        except SecretError:
            if address not in self._refused and len(self._refused) < MOST_SILENT:  # a scanner comes a thousand times
                self._refused.add(address)
                self.notices.put(f"what connected from {address} does not know DDPBENCH_SECRET, and was refused")
        except OSError:
            pass  # a stranger, or a rank that has ended
        finally:
            connection.close()

    def _answer(self, line: "Channel[AnyMessage]", rank: Rank) -> None:
        """Answer the questions of a rank until it ends. One of an earlier attempt gets none."""
        with self._lock:
            keys = self._jobs.get(rank.job)
        while keys is not None:
            ask = line.receive()
            if isinstance(ask, Ask):
                line.send(keys.answer(ask))

    def _follow(self, line: "Channel[AnyMessage]", hello: Hello, address: str) -> None:
        member = Member(hello, line, address)
        with self._lock:
            before = self._members.get(hello.index)
            is_free = 0 < hello.index < self._place.count and (before is None or before.lost() is not None)
            if is_free:
                self.events.put((member, hello))  # first: who finds the host here finds what it said, too
                self._members[hello.index] = member
        if not is_free:
            why = f"host {hello.index} is host 0 itself, or there are not so many"
            if before is not None:
                why = f"host {hello.index} came twice, from {before.address} and from {address}"
            why += "; give each host its own NODE_RANK"
            self.notices.put(why)
            line.send(Over(code=UserError.exit_code, why=why))
            return
        try:
            while True:
                message = line.receive()
                member.silent_s = 0.0
                if not isinstance(message, Beat):
                    self.events.put((member, message))
        finally:
            member.is_gone = True


def _listen(place: Place) -> socket.socket:
    try:
        family, kind, protocol, _, address = resolve(place)[0]
    except socket.gaierror as problem:
        raise UserError(f"MASTER_ADDR {place.address} has no address on this host: {problem.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    try:
        listener.bind(address)
    except OSError as problem:
        listener.close()
        where = f"{place.address} port {place.port}"
        if problem.errno == errno.EADDRINUSE:
            raise UserError(f"{where} is taken, maybe by another job; give every host another MASTER_PORT") from None
        if problem.errno == errno.EACCES:
            raise UserError(f"{where} is for the system alone; give every host another MASTER_PORT") from None
        raise UserError(
            f"this is host 0, and {place.address} is no address of this machine ({problem.strerror}); "
            "give every host its own NODE_RANK, and the address of host 0 as MASTER_ADDR"
        ) from None
    listener.listen(128)
    return listener


def resolve(place: Place) -> "list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]]":
    """Return the addresses of host 0. Raises OSError where its name has none, UserError where they are loopback.

    Where only some are loopback, as where /etc/hosts has 127.0.1.1 for a host's own name, they are left out.
    """
    found = socket.getaddrinfo(place.address, place.port, type=socket.SOCK_STREAM)
    reachable = [each for each in found if not str(each[4][0]).startswith("127.") and each[4][0] != "::1"]
    if not reachable:
        raise UserError(
            f"MASTER_ADDR {place.address} is {found[0][4][0]}, the loopback of every machine; "
            "give the address of host 0 by which the other hosts reach it"
        )
    return reachable  # type: ignore[return-value]
