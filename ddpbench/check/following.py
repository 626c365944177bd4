"""Every other host of a check: it joins host 0, answers what that asks, and ends as it ends."""

import queue
import threading
from collections.abc import Callable

import msgspec

from ddpbench.check.host import This
from ddpbench.errors import TrainingError
from ddpbench.hosts import joining
from ddpbench.hosts.channel import Channel
from ddpbench.hosts.ear import Ear
from ddpbench.hosts.messages import AnyMessage, Hello, Over, Query, Reply
from ddpbench.hosts.place import Place
from ddpbench.hosts.server import BEAT_S


def follow(place: Place, secret: bytes, hello: Hello, this: This, say: Callable[[str], None]) -> Over:
    """Take part until host 0 says how the check has ended.

    Raises UserError where host 0 cannot be joined, TrainingError where it does not come or is lost.
    """
    line = joining.join(place, secret, lambda: False, say)
    try:
        line.send(hello)
        return _obey(line, this)
    except OSError as problem:
        raise TrainingError(f"host 0 ({place.address}) is lost: {problem}") from problem
    finally:
        line.close()


def _obey(line: "Channel[AnyMessage]", this: This) -> Over:
    ear = Ear(line)
    asked: queue.Queue[Query] = queue.Queue()
    # One thread answers as long as this process lives: the kernel ends what a thread has started when it ends.
    threading.Thread(target=_answer, args=(line, this, asked), daemon=True).start()
    while True:
        message = ear.next(BEAT_S)
        if isinstance(message, Over):
            return message
        if isinstance(message, Query):
            asked.put(message)


def _answer(line: "Channel[AnyMessage]", this: This, asked: "queue.Queue[Query]") -> None:
    """Answer one question after the other. Host 0 may end the check meanwhile."""
    while True:
        said = this.said(asked.get().content)
        try:
            line.send(Reply(content=msgspec.Raw(msgspec.json.encode(said))))
        except OSError:  # the ear learns it too
            return
