"""Hosts, links and processes that are lost while a job trains: who says what, how soon all end, and what is lost.

Each of these jobs takes half a minute: all are long.
"""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.faults.launching import Ended, answers, wait_for
from tests.hosts import network
from tests.hosts.jobs import ENDS_WITHIN_S, TRAIN, End, Job, job, reached, text
from tests.hosts.network import Network

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(network.missing()), reason=network.missing() or "hosts can be made"),
]
SLOW = ("--hook", "tests/hooks/slow.py:0.05")
BOTH = (*TRAIN, "--ranks", "1", "--restarts", "2")
RESUMES = "--resume goes on"


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(2) as made:
        yield made


def begun(made: Job, *more: str, steps: int = 30) -> None:
    """Start a job on all hosts, and wait until it has saved."""
    for index in range(len(made.hosts)):
        made.start(index, *BOTH, *SLOW, *more)
    wait_for(lambda: reached(made.results(0)) >= steps or made.processes[0].poll() is not None, 150)
    assert made.processes[0].poll() is None


def resumed(net: Network, folder: Path, clean: Ended) -> None:
    """Go on, on the same folders, and require the bits of a run without a fault."""
    with job(net.hosts, folder) as made:
        for index in range(len(net.hosts)):
            made.start(index, *BOTH, "--resume")
        ended = made.end()
    assert ended.codes == [0] * len(net.hosts), ended
    assert ended.first.weights == clean.weights
    assert ended.first.learnt == clean.learnt


@dataclass(frozen=True)
class Loss:
    """What happens to a job, which hosts are left, their exit code, and what each of them says last."""

    happens: Callable[[Network, Job], None]
    left: Sequence[int]
    said: Sequence[str]
    code: int = 4


LOSSES = {
    "the power of host 1": Loss(lambda net, _: net.hosts[1].kill(), [0], ["host 1 (10.77.0.2) is lost: "]),
    "the power of host 0": Loss(lambda net, _: net.hosts[0].kill(), [1], ["host 0 (10.77.0.1) is lost: "]),
    "the link": Loss(
        lambda net, _: net.part(net.hosts[1]),
        [0, 1],
        [
            "host 1 (10.77.0.2) is lost: it was not heard for 10 s",
            "host 0 (10.77.0.1) is lost: it was not heard for 10 s",
        ],
    ),
    "the command on host 1": Loss(
        lambda _, made: made.tell(1, signal.SIGKILL), [0], ["host 1 (10.77.0.2) is lost: its connection has ended"]
    ),
    "the command on host 0": Loss(
        lambda _, made: made.tell(0, signal.SIGKILL), [1], ["host 0 (10.77.0.1) is lost: the connection has ended"]
    ),
    "the line, by a reset": Loss(
        lambda net, _: reset(net, ":29400"),
        [0, 1],
        ["host 1 (10.77.0.2) is lost: its connection has ended", "host 0 (10.77.0.1) is lost: "],
    ),
}


def reset(net: Network, port: str) -> None:
    """Reset connections to a port of host 0."""
    net.hosts[1].run("ss", "--kill", "state", "established", "dst", f"10.77.0.1{port}", check=False)


@pytest.mark.parametrize("what", LOSSES)
def test_a_lost_host_is_named_by_the_others_which_end_and_nothing_is_lost(
    net: Network,
    tmp_path: Path,
    clean: Ended,
    what: str,
) -> None:
    loss = LOSSES[what]
    with job(net.hosts[:], tmp_path) as made:
        begun(made)
        began = time.monotonic()
        loss.happens(net, made)
        if len(loss.left) == 1:
            lost = 1 - loss.left[0]
            made.processes[lost].kill()
        for index in loss.left:
            made.processes[index].wait(ENDS_WITHIN_S + 10)
        took_s = time.monotonic() - began
        ended = made.end()
    assert took_s < ENDS_WITHIN_S, ended
    for index, said in zip(loss.left, loss.said, strict=True):
        assert said in text(ended.hosts[index])
        assert said in ended.last[index] or RESUMES in ended.last[index], ended.last
        assert ended.codes[index] == loss.code
    if what == "the link":
        net.join(net.hosts[1])
    for index in (0, 1):
        if net.hosts[index].init.poll() is not None:
            net.add(index)
    resumed(net, tmp_path, clean)


def goes_on(ended: End, clean: Ended, attempts: int) -> None:
    """Require that a job went on by itself after so many starts, and lost nothing."""
    assert ended.codes == [0, 0], ended
    assert ended.first.record.attempts == attempts
    assert ended.first.weights == clean.weights
    assert ended.last[1].startswith("launch.sh: the job is complete; its results are on host 0")


def agent_killed(_: Network, made: Job) -> None:
    answers(made.agent(1), psutil.Process.kill)


def rank_stopped(_: Network, made: Job) -> None:
    answers(made.ranks(1), psutil.Process.suspend)


def connections_reset(net: Network, made: Job) -> None:
    """Reset all connections between ranks, and none of the line."""
    words = ["state", "established", "(", "sport", "!=", ":29400", "and", "dport", "!=", ":29400", ")"]
    net.hosts[1].run("ss", "--kill", *words, check=False)


def link_blinks(net: Network, _: Job) -> None:
    net.part(net.hosts[1])
    time.sleep(2)
    net.join(net.hosts[1])


@pytest.mark.parametrize(
    ("happens", "attempts", "said"),
    [
        (agent_killed, 2, "start 2 of 3"),
        (rank_stopped, 2, "rank 1: its process is stopped (SIGSTOP); start 2 of 3"),
        (connections_reset, 2, "start 2 of 3"),
        (link_blinks, 1, ""),
    ],
)
def test_the_job_goes_on_by_itself_on_all_hosts(
    net: Network,
    tmp_path: Path,
    clean: Ended,
    happens: Callable[[Network, Job], None],
    attempts: int,
    said: str,
) -> None:
    with job(net.hosts, tmp_path) as made:
        begun(made)
        happens(net, made)
        ended = made.end()
    goes_on(ended, clean, attempts)
    assert said in text(ended.first)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
@pytest.mark.parametrize("index", [0, 1])
def test_a_signal_to_any_host_saves_on_all(
    net: Network,
    tmp_path: Path,
    clean: Ended,
    number: signal.Signals,
    index: int,
) -> None:
    with job(net.hosts, tmp_path) as made:
        begun(made)
        began = time.monotonic()
        made.tell(index, number)
        ended = made.end()
        assert time.monotonic() - began < ENDS_WITHIN_S
    assert ended.codes == [75, 75], ended
    assert "told to stop: saved after epoch" in text(ended.first)
    assert ended.last[0] == ended.last[1]
    if (index, number) == (1, signal.SIGUSR1):
        resumed(net, tmp_path, clean)


def test_a_rank_that_is_killed_for_its_memory_again_and_again_ends_the_job(net: Network, tmp_path: Path) -> None:
    with job(net.hosts, tmp_path) as made:
        for index in (0, 1):
            made.start(index, *BOTH, "--hook", "tests/hooks/faults.py:kill=1@5*")
        ended = made.end()
    assert ended.codes == [4, 4], "137 is a failure, and no reason to try again"
    assert ended.last[0] == ended.last[1]
    assert "SIGKILL (often: out of memory)" in text(ended.first)
    assert "start 3 of 3" not in text(ended.first), "twice alike without progress is enough"
