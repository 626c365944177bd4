"""How another host reaches host 0: it waits for its name and its port, proves itself and introduces itself."""

import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ddpbench import __version__, environment
from ddpbench.errors import TrainingError, UserError
from ddpbench.hosts import channel, server
from ddpbench.hosts.channel import Channel, SecretError
from ddpbench.hosts.messages import AnyMessage, Hello
from ddpbench.hosts.place import Place

T = TypeVar("T")
SECRET, LEAST_CHARACTERS = "DDPBENCH_SECRET", 16
RETRY_S, TRY_S = 0.5, 5.0
FIRST_WORD_S, WORD_EVERY_S = 8.0, 30.0  # until a line says for whom a host waits, and between such lines
MAY_DIFFER = ("--results", "--data-dir")  # flags whose values need not be the same on all hosts
# What must be the same on all hosts, and what to do where it is not.
SAME = {
    "version": "install the same ddpbench on all hosts",
    "code": "use the same commit of ddpbench on all hosts",
    "torch": "install the same torch on all hosts",
    "python": "use the same Python on all hosts",
    "words": "give every host the same command line",
    "count": "give every host the same NNODES",
}


def secret_of(variables: Mapping[str, str]) -> bytes:
    """Return the secret of the job. Raises UserError where there is none, or one that could be guessed."""
    text = variables.get(SECRET, "")
    if len(text) < LEAST_CHARACTERS:
        found = f"{SECRET} has {len(text)} characters" if text else f"{SECRET} is not set"
        raise UserError(
            f"hosts prove by a secret that they belong together, and {found}; give all of them the same, of "
            f"{LEAST_CHARACTERS} characters or more: export {SECRET}=$(head -c 24 /dev/urandom | base64)"
        )
    return text.encode()


def hello_of(place: Place, words: Sequence[str]) -> Hello:
    """Return how this host introduces itself."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "none"
    return Hello(
        index=place.index,
        count=place.count,
        version=__version__,
        code=code_digest(),
        python=".".join(platform.python_version_tuple()[:2]),
        torch=torch,
        words=same_words(words),
        cores=environment.usable_cores(),
    )


def code_digest() -> str:
    """Return a digest of the Python files of this program: 12 digits."""
    whole = hashlib.sha256()
    package = Path(__file__).parent.parent
    for path in sorted(package.rglob("*.py")):
        whole.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return whole.hexdigest()[:12]


def same_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command line that must be the same on all hosts."""
    kept, left = list[str](), iter(words)
    for word in left:
        flag, equals, _ = word.partition("=")
        if flag not in MAY_DIFFER:
            kept.append(word)
        elif not equals:
            next(left, None)
    return kept


def difference(ours: Hello, theirs: Hello) -> str | None:
    """Return in what another host differs from host 0, and what to do; None where they fit together."""
    for name, cure in SAME.items():
        own, other = getattr(ours, name), getattr(theirs, name)
        if own != other:
            what = "the words" if name == "words" else name
            shown = [" ".join(value) or "none" if isinstance(value, list) else value for value in (other, own)]
            return f"host {theirs.index} has {what} {shown[0]}, host 0 {shown[1]}; {cure}"
    return None


def join(
    place: Place, secret: bytes, is_stopped: Callable[[], bool], say: Callable[[str], None]
) -> "Channel[AnyMessage]":
    """Connect to host 0, waiting for its name and its port.

    Raises TrainingError where time is up, InterruptedError where this host is told to stop, UserError where host 0
    cannot be reached as it is named, or has another secret.
    """

    def connect() -> "Channel[AnyMessage]":
        server.resolve(place)
        return channel.connect(place.address, place.port, secret, AnyMessage, TRY_S)

    return _in_time(place, f"host 0 at {place.address} port {place.port}", connect, is_stopped, say)


def wait_for_name(place: Place, is_stopped: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Wait until host 0, which this is, has an address: a cluster publishes names late. Raises what `join` raises."""
    _in_time(place, f"the address of {place.address}", lambda: server.resolve(place), is_stopped, say)


def _in_time(
    place: Place, what: str, get: Callable[[], T], is_stopped: Callable[[], bool], say: Callable[[str], None]
) -> T:
    """Return what is waited for, once it can be had. A line says from time to time why it cannot yet."""
    begin_s, next_word_s, why = time.monotonic(), FIRST_WORD_S, "nothing answers there"
    while (waited_s := time.monotonic() - begin_s) < place.join_s:
        if is_stopped():
            raise InterruptedError
        if waited_s > next_word_s:
            say(f"{waited_s:.0f} s: {what} is not here ({why}); waiting up to {place.join_s:.0f} s")
            next_word_s += WORD_EVERY_S
        try:
            return get()
        except SecretError as problem:
            raise UserError(f"{what}: {problem}") from problem
        except OSError as problem:
            why = problem.strerror or str(problem)
        time.sleep(RETRY_S)
    raise TrainingError(f"{what} did not come within {place.join_s:.0f} s: {why}")


def interface_variables() -> dict[str, str]:
    """Return the variables that name the network interface of this host: each host keeps its own."""
    return {name: os.environ[name] for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if name in os.environ}
