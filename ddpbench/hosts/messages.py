"""What hosts of a job, and their ranks, tell each other: typed values in JSON. Nothing in them is executed as it is."""

from typing import Literal

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="what"):
    """One message."""


class Beat(Message, frozen=True, tag="beat"):
    """The sender lives."""


class Hello(Message, frozen=True, tag="hello"):
    """A host introduces itself. All but its index and its cores must be the same on all hosts."""

    index: int
    count: int
    version: str
    code: str  # a digest of this program's files
    python: str
    torch: str
    words: list[str]  # of the command line, without those that may differ
    cores: int


class Order(Message, frozen=True, tag="order"):
    """What ranks are to do: a training script with flags, or a launch of turns with a question."""

    program: Literal["ddp_train", "turns"]
    ranks: int  # on each host
    words: list[str]
    variables: dict[str, str]  # of their environment


class Start(Message, frozen=True, tag="start"):
    """An attempt begins: every host starts its ranks. The fields are those of `notes.Launch`."""

    job: int  # the number of the attempt, over all that this line has seen
    order: Order
    hosts: int  # that take part
    attempt: int
    begun: list[str]
    failure: str | None


class Signal(Message, frozen=True, tag="signal"):
    """To host 0: a signal came to a host. From host 0: its ranks are to get this signal."""

    number: int


class Noted(Message, frozen=True, tag="noted"):
    """A process has written a note."""

    job: int
    note: msgspec.Raw


class Ended(Message, frozen=True, tag="ended"):
    """The ranks of a host have ended, with this exit code of their agent; negative: killed by that signal."""

    job: int
    code: int


class Over(Message, frozen=True, tag="over"):
    """The job is over, or this host may not take part: its exit code and last line."""

    code: int
    why: str


class Query(Message, frozen=True, tag="query"):
    """Host 0 asks what a check needs. `check.host` has the types of the content, and of the reply's."""

    content: msgspec.Raw


class Reply(Message, frozen=True, tag="reply"):
    """What a host replies to the question before."""

    content: msgspec.Raw


class Rank(Message, frozen=True, tag="rank"):
    """A rank introduces itself. What follows are its questions about keys."""

    job: int


class Ask(Message, frozen=True, tag="ask"):
    """A question of a rank, as torch's Store has it."""

    how: Literal["set", "get", "add", "check", "delete", "swap"]
    keys: list[str]
    value: bytes = b""
    expected: bytes = b""  # of swap: what is there now
    amount: int = 0  # of add
    timeout_s: float = 0.0  # of get


class Answer(Message, frozen=True, tag="answer"):
    """The answer to a rank."""

    value: bytes | None = None  # None: it was not there in time
    number: int = 0


AnyMessage = Beat | Hello | Start | Signal | Noted | Ended | Over | Rank | Ask | Answer | Query | Reply
