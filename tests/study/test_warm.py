"""Processes that have torch from their start: what they see of the world, and how they and their ranks end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ddpbench import processes
from ddpbench.notes import Failed, Launch, RanksEnded, Seat
from ddpbench.study.runner import Child, Notebook, Program
from ddpbench.study.warm import Server
from tests.conftest import PROJECT

SEEN = """
import json, os, signal, sys
had_torch = "torch" in sys.modules
json.dump({
    "had_torch": had_torch, "words": sys.argv[1:], "name": __name__, "own": os.environ.get("OWN"),
    "parent": os.getppid(), "launch": os.environ["DDPBENCH_LAUNCH"],
    "ignores_interrupts": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    "place": [os.environ.get(name) for name in ("RANK", "WORLD_SIZE")],
}, open(sys.argv[1] + os.environ.get("RANK", ""), "w"))
print("printed")
"""
ENDS_BADLY = "import os, sys, time\nos._exit(7) if os.environ['RANK'] == '1' else time.sleep(600)"
SAVES = (
    "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(75))\nprint('ready', flush=True)\ntime.sleep(600)"
)


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


@pytest.fixture
def start(server: Server, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Return what starts a script, or an agent with ranks that run it, warm; it is ended after the test."""
    started: list[Child] = []

    def begin(text: str, *words: str, ranks: int = 0, told: str = "", seat: Seat | None = None) -> Child:
        script = tmp_path / "script.py"
        script.write_text(text)
        before = ["-m", "ddpbench.train.agent", str(ranks)] if ranks else []
        program = Program([sys.executable, *before, str(script), *words], tmp_path / "log", {"OWN": "own"})
        child = server.spawn(program)(Launch(parent=os.getpid(), attempt=2, notes=told, seat=seat))
        started.append(child)
        return child

    yield begin
    for child in started:
        try:
            child.wait(0)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGTERM)
            child.wait(60)


def test_a_program_starts_as_a_new_python_would_and_has_torch(start: Callable[..., Child], tmp_path: Path) -> None:
    seen, before = tmp_path / "seen", dict(os.environ)

    assert start(SEEN, str(seen), "-a word", "").wait(60) == 0
    found = json.loads(seen.read_text())
    assert (found["had_torch"], found["name"], found["own"]) == (True, "__main__", "own")
    assert found["words"] == [str(seen), "-a word", ""]
    assert found["ignores_interrupts"]
    launch = json.loads(found["launch"])
    assert (launch["parent"], launch["attempt"], launch["has_torch"]) == (found["parent"], 2, True)
    assert (tmp_path / "log").read_text() == "printed\n"
    assert dict(os.environ) == before


def test_ranks_are_forked_with_their_places(start: Callable[..., Child], tmp_path: Path) -> None:
    seen = tmp_path / "seen"

    assert start(SEEN, str(seen), ranks=3).wait(60) == 0
    found = [json.loads((tmp_path / f"seen{rank}").read_text()) for rank in range(3)]
    assert [each["place"] for each in found] == [[str(rank), "3"] for rank in range(3)]
    assert all(each["had_torch"] for each in found)
    assert len({each["parent"] for each in found}) == 1
    assert all(json.loads(each["launch"])["store"] for each in found)


def test_a_rank_that_fails_ends_the_others_and_its_exit_code_is_told(start: Callable[..., Child]) -> None:
    with Notebook() as notebook:
        child = start(ENDS_BADLY, ranks=2, told=notebook.path)

        assert child.wait(60) == 1
        (end,) = [note for note in notebook.read_new() if isinstance(note, RanksEnded)]
    assert end.exit_codes == {0: -signal.SIGTERM, 1: 7}


def test_sigterm_reaches_every_rank_and_the_agent_waits_for_them(start: Callable[..., Child], tmp_path: Path) -> None:
    child = start(SAVES, ranks=2)
    while (tmp_path / "log").exists() is False or (tmp_path / "log").read_text().count("ready") < 2:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)

    assert child.wait(60) == 75


def suspended() -> list[int]:
    """Return the processes below this one that are suspended."""
    below = [each.pid for each in psutil.Process().children(recursive=True)]
    return [pid for pid in below if processes.state(pid) == "stopped"]


def test_a_suspended_rank_of_another_host_is_named_and_ended(start: Callable[..., Child], tmp_path: Path) -> None:
    """It hears no SIGTERM, and ranks of other hosts cannot see its state."""
    seat = Seat(host=2, hosts=3, first_rank=4, address="192.0.2.1", port=1, job=0, secret="a secret of this test")
    suspends = f"import os, signal\nif os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGSTOP)\n{SAVES}"
    with Notebook() as notebook:
        child = start(suspends, ranks=2, told=notebook.path, seat=seat)
        log = tmp_path / "log"
        while not log.exists() or "ready" not in log.read_text() or not suspended():
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)

        assert child.wait(60) == 75
        (failed,) = [note for note in notebook.read_new() if isinstance(note, Failed)]
    assert (failed.why, failed.rank, failed.attempt) == ("its process is stopped (SIGSTOP)", 5, 2)


def test_nothing_is_left_where_the_supervisor_is_killed(tmp_path: Path) -> None:
    """The kernel ends the server, its agents and their ranks, one after the other."""
    script = tmp_path / "script.py"
    script.write_text(SAVES)
    log, code = tmp_path / "log", tmp_path / "supervisor.py"
    code.write_text(
        "import os, sys\nfrom pathlib import Path\nfrom ddpbench.notes import Launch\n"
        "from ddpbench.study.runner import Program\nfrom ddpbench.study.warm import Server\n"
        "if __name__ == '__main__':\n"
        f"    words = [sys.executable, '-m', 'ddpbench.train.agent', '2', {str(script)!r}]\n"
        f"    Server().spawn(Program(words, Path({str(log)!r})))(Launch(parent=os.getpid())).wait()\n"
    )
    supervisor = subprocess.Popen([sys.executable, code], cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)})
    try:
        until = time.monotonic() + 60
        while (not log.exists() or log.read_text().count("ready") < 2) and time.monotonic() < until:
            time.sleep(0.05)
        family = psutil.Process(supervisor.pid).children(recursive=True)
    finally:
        supervisor.kill()
        supervisor.wait()

    assert len(family) >= 4, "a server, an agent, and two ranks"
    assert psutil.wait_procs(family, timeout=40)[1] == []


def test_a_server_that_was_killed_is_started_again(start: Callable[..., Child], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert start(SEEN, str(first)).wait(60) == 0
    os.kill(json.loads(first.read_text())["parent"], signal.SIGKILL)

    assert start(SEEN, str(second)).wait(60) == 0
    assert json.loads(second.read_text())["had_torch"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_that_end_at_any_moment_are_not_waited_for(start: Callable[..., Child], ranks: int) -> None:
    """An agent that looks twice at its ranks may wait for one that has ended between: seen in one of four launches."""
    for _ in range(6):
        assert start("import time, random\ntime.sleep(random.random() / 20)", ranks=ranks).wait(20) == 0
