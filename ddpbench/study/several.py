"""A command that every host of a job was given: host 0 carries it out, and the others follow."""

import os
from collections.abc import Callable, Sequence

from ddpbench.hosts import joining
from ddpbench.hosts.place import Place
from ddpbench.study.desk import Desk
from ddpbench.study.follow import Follower
from ddpbench.study.lead import Lead
from ddpbench.study.runner import Stop, Stopped
from ddpbench.study.screen import Screen


def main(place: Place, words: Sequence[str], carry_out: Callable[[Desk], int]) -> int:
    """Carry out a command whose words are these, together with the other hosts. Returns host 0's exit code.

    Raises UserError for what is refused before anything begins, TrainingError where a host is lost or does not come.
    """
    secret, hello = joining.secret_of(os.environ), joining.hello_of(place, words)
    screen, stop = Screen(), Stop()
    stop.listen()
    if not place.leads:
        screen.warn(f"host {place.index} of {place.count} ({place.source}); host 0 is {place.address}")
        return Follower(place, secret, words, screen, stop).follow(hello)
    try:
        joining.wait_for_name(place, lambda: stop.signal is not None, screen.warn)
        with Lead(place, secret, hello, screen, stop) as lead:
            code = carry_out(Desk(screen, stop, place.count, lead.spawn))
            return lead.end(code, screen.last_warning if code else "")
    except (Stopped, InterruptedError):
        screen.warn("stopped before all hosts were here")
        return stop.exit_code(0)
