"""The command `check` on several hosts, each of which was given the same line."""

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ddpbench import command, link
from ddpbench.check import following, overview
from ddpbench.check.gathered import Gathered
from ddpbench.check.host import This
from ddpbench.check.leading import Lead
from ddpbench.check.report import EXIT_CODES
from ddpbench.errors import DdpbenchError, DiskError, TrainingError, UserError, one_line
from ddpbench.hosts import joining
from ddpbench.hosts.messages import Hello
from ddpbench.hosts.place import Place
from ddpbench.hosts.server import Server

WAITING_HELPS, IN_VAIN = EXIT_CODES["busy"], EXIT_CODES["problems"]


def main(place: Place, words: Sequence[str], this: This, variables: Mapping[str, str], *, is_json: bool) -> int:
    """Check this host together with the others. Returns the exit code, which is the same on all.

    Raises UserError where there is no secret.
    """
    secret, hello = joining.secret_of(variables), joining.hello_of(place, words)
    try:
        with this:
            if place.leads:
                return _lead(place, secret, hello, this, is_json=is_json)
            over = following.follow(place, secret, hello, this, say)
    except TrainingError as problem:
        return _end(WAITING_HELPS, str(problem), is_json=is_json)
    except DdpbenchError as problem:
        return _end(IN_VAIN, str(problem), is_json=is_json)
    # A host that may not take part is told the exit code of bad input.
    return _end(IN_VAIN if over.code == UserError.exit_code else over.code, over.why, is_json=is_json)


def say(text: str) -> None:
    """Print a line while the check goes on."""
    print(f"{command.NAME}: {one_line(text)}", file=sys.stderr, flush=True)


def links_of(gathered: Gathered) -> link.Link:
    """Return the link as `predict` reads it: each pair of hosts has exchanges of its own."""
    exchanges = [
        link.Exchange(
            comm=pair.comm,
            hosts=2,
            ranks_per_host=pair.ranks,
            size_bytes=each.size_bytes,
            seconds=each.seconds,
        )
        for pair in gathered.pairs
        for each in pair.timed
        if pair.trouble is None
    ]
    measured_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return link.Link(link_version=link.VERSION, measured_at=measured_at, exchanges=exchanges)


def _lead(place: Place, secret: bytes, hello: Hello, this: This, *, is_json: bool) -> int:
    """Be host 0: gather, judge, print, and tell all hosts how it has ended."""
    begin_s = time.monotonic()
    joining.wait_for_name(place, lambda: False, say)
    with Server(place, secret) as server:
        lead = Lead(server, place, this, say)
        try:
            gathered = _keep(lead.check(hello), this.results)
            made = overview.make(gathered, time.monotonic() - begin_s)
        except BaseException as problem:
            lead.end(WAITING_HELPS, f"the check was ended on host 0 by {type(problem).__name__}; check again")
            raise
        last = overview.last_line(made)
        lead.end(made.exit_code, last)
    if is_json:
        print(msgspec.json.format(msgspec.json.encode(made), indent=2).decode())
    else:
        print("\n".join(overview.lines(made)))
    return _end(made.exit_code, last, is_json=is_json)


def _keep(gathered: Gathered, results: Path) -> Gathered:
    """Write the measured link for `predict`, where there is one."""
    measured = links_of(gathered)
    if not measured.exchanges:
        return gathered
    path = link.path_in(results)
    try:
        link.write(path, measured)
    except DiskError as problem:
        return replace(gathered, link_problem=str(problem))
    return replace(gathered, link=str(path))


def _end(code: int, last: str, *, is_json: bool) -> int:
    """Print the last line: beside JSON it goes to standard error."""
    print(one_line(last), file=sys.stderr if is_json else sys.stdout, flush=True)
    return code
