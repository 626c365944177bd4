"""What people read where several hosts do not find each other, or do not fit. Nothing trains; torch is not imported."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.faults.launching import wait_for
from tests.hosts import network
from tests.hosts.jobs import End, Job, job
from tests.hosts.network import Network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(network.missing()), reason=network.missing() or "hosts can be made"),
]
PORTS = 29500
RUN = ("run", "--ranks", "1", "--join-s", "20")
# Host 0 refuses a host with other words as soon as it has come: so those end that have met, and nothing trains.
OTHER_WORDS = (*RUN, "--epochs", "7")
MET = "launch.sh: host 1 has the words run --ranks 1 --epochs 7, host 0 run --ranks 1; give every host the same command"
FALSE_TORCH = "Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n"
BUSY = """import socket
server = socket.create_server(("10.77.0.1", 29400))
print("here", flush=True)
while True:
    server.accept()[0].sendall(b"SSH-2.0-OpenSSH_9.2p1")
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with Network(3) as made:
        made.hosts[0].run("ip", "address", "add", "10.77.0.101/24", "dev", "eth0")
        for index, host in enumerate(made.hosts):
            host.run("ip", "address", "add", f"fd77::{index + 1}/64", "dev", "eth0", "nodad")
        yield made


@dataclass(frozen=True)
class Case:
    """A job that cannot be: how its hosts end, what each says, and what host 0, host 1 and so on are told."""

    codes: list[int]
    said: list[str]
    told: tuple[dict[str, str], ...] = ({}, {})
    words: tuple[str, ...] = RUN  # of all but host 0
    join_s: str = "20"


LOOPBACK = "is 127.0.0.1, the loopback of every machine; give the address of host 0 by which the other hosts reach it"
TWICE = "; give each host its own NODE_RANK"
LATE, NAME, DOUBLED = "a late host", "a name that is published late", "NODE_RANK=1 on two of three"
CASES = {
    "another secret": Case(
        [4, 2],
        [
            "what connected from 10.77.0.2 does not know DDPBENCH_SECRET, and was refused",
            "host 0 at 10.77.0.1 port {port}: it was refused there: DDPBENCH_SECRET is not the same on both hosts",
        ],
        ({}, {"DDPBENCH_SECRET": "another secret than host 0's"}),
        join_s="9",
    ),
    "NODE_RANK=0 on both": Case(
        [4, 2],
        [
            "host 1 did not come within 9 s (--join-s)",
            "this is host 0, and 10.77.0.1 is no address of this machine (Cannot assign requested address); "
            "give every host its own NODE_RANK, and the address of host 0 as MASTER_ADDR",
        ],
        ({}, {"NODE_RANK": "0"}),
        join_s="9",
    ),
    DOUBLED: Case([4, 2, 4], [TWICE] * 3, ({}, {}, {"NODE_RANK": "1"}), join_s="9"),
    "loopback": Case([2, 2], [f"MASTER_ADDR 127.0.0.1 {LOOPBACK}"] * 2, ({"MASTER_ADDR": "127.0.0.1"},) * 2),
    "other words": Case([2, 2], [MET] * 2, words=OTHER_WORDS),
    "other counts": Case(
        [2, 2], ["host 1 has count 3, host 0 2; give every host the same NNODES"] * 2, ({}, {"NNODES": "3"})
    ),
    "no address": Case(
        [2, 2],
        ["NNODES says 2 hosts, and nothing says where host 0 is: MASTER_ADDR=ADDRESS, the same on every host"] * 2,
        ({"MASTER_ADDR": ""},) * 2,
    ),
    "a second address of host 0": Case([2, 2], [MET] * 2, ({"MASTER_ADDR": "10.77.0.101"},) * 2, OTHER_WORDS),
    "IPv6": Case([2, 2], [MET] * 2, ({"MASTER_ADDR": "fd77::1"},) * 2, OTHER_WORDS),
    "host 1 never comes": Case([4], ["host 1 did not come within 9 s (--join-s)"], ({"NNODES": "2"},), join_s="9"),
    "host 0 never comes": Case(
        [4],
        ["host 0 at 10.77.0.1 port {port} did not come within 9 s: Connection refused"],
        ({"NNODES": "2", "NODE_RANK": "1"},),
        join_s="9",
    ),
    LATE: Case(
        [2, 2],
        ["1 of 2 hosts are here after 8 s; waiting for host 1, up to 20 s (--join-s)", MET],
        words=OTHER_WORDS,
    ),
    NAME: Case(
        [2, 2],
        [MET, "8 s: host 0 at leader port {port} is not here ("],
        ({"MASTER_ADDR": "leader"},) * 2,
        OTHER_WORDS,
    ),
}


@pytest.fixture(scope="module")
def ended(net: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, End]:
    """How all cases ended. They run at once, each on a port of its own: most wait for a host that does not come."""
    folder = tmp_path_factory.mktemp("cases")
    published, own = folder / "published", folder / "own"
    published.write_text("127.0.0.1 localhost\n")
    own.write_text("127.0.0.1 localhost\n10.77.0.1 leader\n")
    net.hosts[0].know(own)
    net.hosts[1].know(published)
    with ExitStack() as opened:
        jobs = {}
        for number, (name, case) in enumerate(CASES.items()):
            made = jobs[name] = opened.enter_context(
                job(net.hosts[: len(case.told)], folder / str(number), PORTS + number)
            )
            for index in range(1 if name == LATE else len(case.told)):
                start(made, case, index)
        jobs[NAME].hear(1, "is not here")
        published.write_text(own.read_text())
        jobs[LATE].hear(0, "waiting for host 1")
        start(jobs[LATE], CASES[LATE], 1)
        return {name: made.end() for name, made in jobs.items()}


def start(made: Job, case: Case, index: int) -> None:
    """Start a host of a case."""
    words = [case.join_s if word == "20" else word for word in (case.words if index else RUN)]
    made.start(index, *words, **case.told[index])


@pytest.mark.parametrize("name", CASES)
def test_hosts_that_do_not_fit_say_why_and_all_end(ended: dict[str, End], name: str) -> None:
    case, end = CASES[name], ended[name]
    port = PORTS + [*CASES].index(name)
    for host, said in zip(end.hosts, case.said, strict=True):
        assert "Traceback" not in host.err
        assert not host.results.exists(), "nothing has begun"
        if name != DOUBLED:
            assert said.format(port=port) in host.err
    if name == DOUBLED:  # either may have come first
        assert sorted(end.codes) == [2, 4, 4]
        assert "host 1 came twice, from 10.77.0." in end.first.err
        assert [host.err.count(TWICE) for host in end.hosts] in ([1, 1, 0], [1, 0, 1])
        assert sum("host 2 did not come within 9 s" in host.err for host in end.hosts) == 2
    else:
        assert end.codes == case.codes
    if name in {LATE, NAME}:
        assert all(line.startswith(MET) for line in end.last), "all have met in the end"


def test_a_port_that_another_program_has_is_named_on_both_hosts(net: Network, tmp_path: Path) -> None:
    busy = net.hosts[0].start(sys.executable, "-c", BUSY)
    assert busy.stdout is not None
    assert busy.stdout.readline() == "here\n"
    with job(net.hosts[:2], tmp_path) as made:
        for index in (0, 1):
            made.start(index, *RUN)
        ended = made.end()
    net.hosts[0].tell(busy, 9)
    busy.communicate()
    assert ended.codes == [2, 2]
    assert "10.77.0.1 port 29400 is taken, maybe by another job; give every host another MASTER_PORT" in ended.last[0]
    assert "another program, or another version of this one, answers there" in ended.last[1]


def test_two_jobs_on_one_port_do_not_mix(net: Network, tmp_path: Path) -> None:
    with job(net.hosts[:2], tmp_path / "a") as first, job(net.hosts[:2], tmp_path / "b") as second:
        first.start(0, *RUN)
        wait_for(lambda: ("10.77.0.1", 29400) in net.hosts[0].listening())
        for index in (0, 1):  # the second job has a secret of its own
            second.start(index, *RUN, DDPBENCH_SECRET="the secret of another job")
        ended = second.end()
        first.start(1, *OTHER_WORDS)
        assert first.end().codes == [2, 2]
        assert all(line.startswith(MET) for line in first.end().last), "nothing has disturbed the first"
    assert ended.codes == [2, 2]
    assert "is taken, maybe by another job" in ended.last[0]
    assert "DDPBENCH_SECRET is not the same on both hosts" in ended.last[1]


def other_torch(folder: Path) -> dict[str, str]:
    """Let a host have another torch, as far as its metadata says."""
    metadata = folder / "torch-9.9.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(FALSE_TORCH)
    return {"PYTHONPATH": str(folder)}


def other_code(folder: Path) -> dict[str, str]:
    """Let a host have other code."""
    shutil.copytree(PROJECT / "ddpbench", folder / "ddpbench", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "ddpbench/words.py").open("a") as file:
        file.write("# of another commit\n")
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize(
    ("differ", "said"),
    [
        (other_torch, "launch.sh: host 1 has torch 9.9, host 0 "),
        (other_code, "; use the same commit of ddpbench on all hosts"),
    ],
)
def test_another_torch_or_other_code_on_a_host_is_named(
    net: Network, tmp_path: Path, differ: Callable[[Path], dict[str, str]], said: str
) -> None:
    with job(net.hosts[:2], tmp_path / "results") as made:
        made.start(0, *RUN)
        made.start(1, *RUN, **differ(tmp_path / "other"))
        ended = made.end()
    assert ended.codes == [2, 2]
    assert ended.last[0] == ended.last[1]
    assert said in ended.last[0]


def test_while_hosts_wait_one_socket_listens_and_it_has_the_chosen_address(net: Network, tmp_path: Path) -> None:
    with job(net.hosts[:2], tmp_path) as made:
        made.start(0, *RUN)
        wait_for(lambda: net.hosts[0].listening())
        assert net.hosts[0].listening() == {("10.77.0.1", 29400)}
        assert net.hosts[1].listening() == set()
        made.start(1, *OTHER_WORDS)
        assert made.end().codes == [2, 2]
    assert net.hosts[0].listening() == set()


@pytest.mark.parametrize("signalled", [0, 1])
def test_a_signal_ends_a_host_that_waits(net: Network, tmp_path: Path, signalled: int) -> None:
    """Host 0 waits for host 1; then host 1 waits for host 0."""
    with job(net.hosts[signalled : signalled + 1], tmp_path, address="10.77.0.1") as made:
        made.start(signalled, *RUN, NNODES="2")
        if signalled:
            made.hear(0, "host 1 of 2 (NNODES, NODE_RANK); host 0 is 10.77.0.1")
        else:
            wait_for(lambda: net.hosts[0].listening())
        made.tell(0, 15)
        ended = made.end(10)
    assert ended.codes == [128 + 15]
    assert "Traceback" not in ended.first.err
