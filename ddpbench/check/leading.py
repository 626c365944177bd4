"""Host 0 of a check of several hosts: it waits for the others, asks them, and lets every two exchange data."""

import itertools
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from ddpbench.check.gathered import SIZES, Clock, Comm, Gathered, Host, Meet, Met, OnHost, Pair, Trouble, merge
from ddpbench.check.host import Asked, Look, Prepare, Prepared, Said, Tell, This, Time, in_words
from ddpbench.errors import TrainingError
from ddpbench.hosts.messages import Hello, Over, Query, Reply
from ddpbench.hosts.place import Place
from ddpbench.hosts.server import Server
from ddpbench.hosts.waiting import LOOK_S, wait_for_all

T = TypeVar("T")
REPLY_S = 120.0  # for a host to look at itself, or to import torch
MEET_S = 660.0  # for two hosts to exchange data: each size has a limit of its own
GOODBYE_S = 5.0
CLOCK_TIMES = 10
ALL_PAIRS_UP_TO = 8  # hosts; with more, host 0 meets each of the others
SLOW_S = 5.0  # for the largest exchange
EXCHANGES_S = 10.0  # for the repetitions of all sizes and pairs; each size gets some


class Lead:
    """Host 0, in the middle of a line that is open."""

    def __init__(self, server: Server, place: Place, this: This, say: Callable[[str], None]) -> None:
        self._server, self._place, self._this, self._say = server, place, this, say
        self._hellos: dict[int, Hello] = {}
        self._notices: list[str] = []
        self._clocks: dict[int, Clock] = {}
        self._seen: dict[int, OnHost] = {}
        self._pairs: list[Pair] = []

    def check(self, own: Hello) -> Gathered:
        """Gather what there is to know about all hosts. What is known stays known where a host is lost."""
        self._hellos[0] = own
        lost = None
        try:
            wait_for_all(self._server, self._place, self._say, self._greet)
            # Hosts with another program may not understand what this one asks.
            if all((hello.version, hello.code) == (own.version, own.code) for hello in self._hellos.values()):
                self._ask_all()
        except TrainingError as problem:
            lost = str(problem)
        self._note()
        hosts = [
            Host(
                **{name: getattr(hello, name) for name in ("version", "code", "python", "torch", "words", "count")},
                index=index,
                clock=self._clocks.get(index),
                seen=self._seen.get(index),
            )
            for index, hello in sorted(self._hellos.items())
        ]
        return Gathered(
            count=self._place.count,
            source=self._place.source,
            address=self._place.address,
            hosts=hosts,
            pairs=self._pairs,
            lost=lost,
            notices=self._notices,
        )

    def end(self, code: int, why: str) -> None:
        """Tell all hosts how the check has ended, and wait until they have gone."""
        self._server.send(Over(code=code, why=why))
        until = time.monotonic() + GOODBYE_S
        while time.monotonic() < until and not all(each.is_gone for each in self._server.members.values()):
            time.sleep(LOOK_S)

    def _greet(self) -> None:
        """Take in how hosts have introduced themselves."""
        self._note()
        while not self._server.events.empty():
            member, message = self._server.events.get()
            if isinstance(message, Hello):
                self._hellos[member.hello.index] = message

    def _ask_all(self) -> None:
        everyone = sorted(self._hellos)
        for index in everyone[1:]:
            self._clocks[index] = clock_of(lambda index=index: self._ask({index: Tell()}, Time)[index].now_s)  # type: ignore[misc]
        self._seen = self._ask(dict.fromkeys(everyone, Look()), OnHost)
        prepared = self._ask(dict.fromkeys(everyone, Prepare()), Prepared)
        pairs, comms = pairs_of(everyone), comms_of([*self._seen.values()])
        if len(pairs) > 1:
            self._say(f"{len(pairs)} pairs of hosts exchange data, one after the other")
        size_s = min(1.5, max(0.05, EXCHANGES_S / (len(pairs) * len(comms) * len(SIZES))))
        for pair in pairs:
            troubles = [prepared[host].trouble for host in pair]
            for comm in comms:
                self._pairs.append(self._meet(pair, comm, size_s, troubles))
                if self._pairs[-1].trouble is not None or self._pairs[-1].large_s > SLOW_S:
                    break  # what one way cannot pass, the others cannot; on a slow link they would take minutes

    def _meet(self, pair: tuple[int, int], comm: Comm, size_s: float, troubles: Sequence[Trouble | None]) -> Pair:
        """Let two hosts exchange data. `troubles`: why each of them is not ready for it."""
        job, ranks = self._server.begin_job(), 2 if comm == "shm+gloo" else 1
        asked = {
            host: Meet(job=job, place=place, comm=comm, ranks=ranks, size_s=size_s) for place, host in enumerate(pair)
        }
        met = {host: Met(timed=[], trouble=trouble) for host, trouble in zip(pair, troubles, strict=True)}
        if not any(troubles):
            met = self._ask(asked, Met, MEET_S)
        return merge(pair, asked[pair[0]], met[pair[0]], met[pair[1]])

    def _ask(self, asked: Mapping[int, Asked], kind: type[T], limit_s: float = REPLY_S) -> dict[int, T]:
        """Ask several hosts at once, and return what they reply.

        Raises TrainingError where one is lost, or cannot answer.
        """
        for index, each in asked.items():
            if index:
                self._server.members[index].send(Query(content=msgspec.Raw(msgspec.json.encode(each))))
        until, replies = time.monotonic() + limit_s, dict[int, T]()
        if 0 in asked:
            try:
                own = self._this.answer(asked[0])
            except OSError as problem:
                raise TrainingError(f"host 0 cannot answer: {in_words(problem)}") from problem
            assert isinstance(own, kind)
            replies[0] = own
        while len(replies) < len(asked):
            for member in self._server.members.values():
                if member.hello.index not in replies and (lost := member.lost()) is not None:
                    raise TrainingError(lost)
            if time.monotonic() > until:
                late = next(index for index in asked if index not in replies)
                raise TrainingError(f"host {late} did not answer within {limit_s:.0f} s")
            try:
                member, message = self._server.events.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if isinstance(message, Reply):
                said = msgspec.json.decode(message.content, type=Said)
                if said.trouble is not None:
                    raise TrainingError(f"{member.name} cannot answer: {said.trouble}")
                replies[member.hello.index] = msgspec.json.decode(said.answer, type=kind)
        return replies

    def _note(self) -> None:
        """Keep, and say at once, what else comes over the line."""
        while not self._server.notices.empty():
            self._notices.append(self._server.notices.get())
            self._say(self._notices[-1])


def clock_of(their_time_s: Callable[[], float], our_time_s: Callable[[], float] = time.time) -> Clock:
    """Ask a host what time it is, some times. The shortest round trip tells most: the answer is from its middle."""
    found = []
    for _ in range(CLOCK_TIMES):
        before_s = our_time_s()
        theirs_s = their_time_s()
        after_s = our_time_s()
        found.append((abs(after_s - before_s) / 2, theirs_s - (before_s + after_s) / 2))
    within_s, offset_s = min(found)
    return Clock(offset_s=offset_s, within_s=within_s, times=CLOCK_TIMES)


def pairs_of(hosts: Sequence[int]) -> list[tuple[int, int]]:
    """Return which hosts exchange data with which."""
    if len(hosts) <= ALL_PAIRS_UP_TO:
        return [*itertools.combinations(hosts, 2)]
    return [(hosts[0], other) for other in hosts[1:]]


def comms_of(seen: Sequence[OnHost]) -> list[Comm]:
    """Return the ways to exchange data that all hosts have."""
    comms: list[Comm] = ["gloo"]
    shares = all(each.facts.shm is not None and each.facts.shm.problem is None for each in seen)
    if shares and all(each.facts.cores.usable > 1 for each in seen):  # it takes two ranks a host
        comms.append("shm+gloo")
    if all(each.facts.gpus is not None and each.facts.gpus.models and not each.facts.gpus.problem for each in seen):
        comms.append("nccl")
    return comms
