"""How host 0 waits until all hosts of a job are here."""

import time
from collections.abc import Callable

from ddpbench.errors import TrainingError
from ddpbench.hosts.joining import FIRST_WORD_S, WORD_EVERY_S
from ddpbench.hosts.place import Place
from ddpbench.hosts.server import Server

LOOK_S = 0.05


def wait_for_all(server: Server, place: Place, say: Callable[[str], None], look: Callable[[], None]) -> None:
    """Wait until all hosts have introduced themselves, and `look` all the time at what they say.

    A line says from time to time who is missing. Raises TrainingError where one does not come, and what `look` raises.
    """
    begin_s, next_word_s = time.monotonic(), FIRST_WORD_S
    while True:
        here = server.members
        look()
        missing = [str(index) for index in range(1, place.count) if index not in here]
        if not missing:
            return
        waited_s = time.monotonic() - begin_s
        who = f"host{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        if waited_s > place.join_s:
            raise TrainingError(f"{who} did not come within {place.join_s:.0f} s (--join-s)")
        if waited_s > next_word_s:
            count = f"{place.count - len(missing)} of {place.count} hosts are here after {waited_s:.0f} s"
            say(f"{count}; waiting for {who}, up to {place.join_s:.0f} s (--join-s)")
            next_word_s += WORD_EVERY_S
        time.sleep(LOOK_S)
