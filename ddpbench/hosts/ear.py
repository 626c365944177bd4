"""What another host hears from host 0: whatever else it does meanwhile, it listens, and sends beats."""

import queue
import threading
import time

from ddpbench.hosts.channel import Channel
from ddpbench.hosts.messages import AnyMessage, Beat
from ddpbench.hosts.server import BEAT_S, LOST_S


class Ear:
    """The line to host 0, heard by a thread of its own."""

    def __init__(self, line: "Channel[AnyMessage]") -> None:
        self._line = line
        self._said: queue.Queue[AnyMessage | OSError] = queue.Queue()
        self._silent_s = 0.0  # counted in beats and not by a clock: time in which this host stood still is none
        for work in (self._hear, self._beat):
            threading.Thread(target=work, daemon=True).start()

    def next(self, timeout_s: float) -> AnyMessage | None:
        """Return the next message; None where none comes in time. Raises OSError where host 0 is lost."""
        try:
            message = self._said.get(timeout=timeout_s)
        except queue.Empty:
            if self._silent_s > LOST_S:
                raise ConnectionError(f"it was not heard for {LOST_S:.0f} s") from None
            return None
        if isinstance(message, OSError):
            raise message
        return message

    def _hear(self) -> None:
        try:
            while True:
                message = self._line.receive()
                self._silent_s = 0.0
                if not isinstance(message, Beat):
                    self._said.put(message)
        except OSError as problem:
            self._said.put(problem)

    def _beat(self) -> None:
        try:
            while True:
                time.sleep(BEAT_S)
                self._silent_s += BEAT_S
                self._line.send(Beat())
        except OSError as problem:
            self._said.put(problem)
