"""Who can reach a run, read what it knows, or steer it: its own user, by its flags, and nobody and nothing else."""

import ast
import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from ddpbench import config, errors
from ddpbench.arm import Arm
from ddpbench.errors import UserError
from ddpbench.judge import study
from ddpbench.notes import Launch
from ddpbench.record import Record, read_record
from ddpbench.study import commands, options, plan
from ddpbench.study.runner import Program
from tests.conftest import PROJECT
from tests.faults.conftest import end_of, start_unsupervised
from tests.faults.launching import (
    SHORT,
    Clean,
    Ended,
    answers,
    ddp,
    marked,
    nothing_left,
    run,
    start,
    training,
    wait_for,
)

SOURCES = sorted([*(PROJECT / "ddpbench").rglob("*.py"), *PROJECT.glob("*.py")])
CANARY = "canary-5f0c1d"
INERT = "exit=1@999999"  # a fault of a step that no run here comes to


# What the kernel knows of a run


@dataclass(frozen=True)
class Socket:
    """A socket that has an address: of a kernel's table, bound there, and whether it waits for others to connect."""

    table: str
    address: str
    port: int
    listens: bool


@dataclass(frozen=True)
class Seen:
    """A run that was looked at from outside while it trained, and then told to stop."""

    sockets: set[Socket]  # at any moment from its start on
    ranks: list[dict[str, str]]  # their environments
    memory: dict[str, set[int]]  # modes of files in memory, by name
    record: Record
    said: str
    left: dict[Path, tuple[int, bytes]]  # mode and content of every file
    folder_mode: int  # of the checkpoints


def addresses() -> dict[str, Socket]:
    """Return every socket of this machine that has an address, by inode: the kernel's own tables (proc_net(5))."""
    found = {}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with contextlib.suppress(FileNotFoundError):  # a machine without IPv6
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                place, _, port = words[1].partition(":")
                packed = b"".join(bytes.fromhex(place[at : at + 8])[::-1] for at in range(0, len(place), 8))
                found[words[9]] = Socket(table, str(ip_address(packed)), int(port, 16), words[3] == "0A")
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) > 7:  # it has a name, on the disk or abstract; those without cannot be reached
            found[words[6]] = Socket("unix", words[7], 0, words[3] == "00010000")
    return found


def descriptors(pids: Iterable[int]) -> Iterator[tuple[Path, str]]:
    """Yield what the processes of a run have open, beyond what they were started with, and where that leads."""
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile, or what it had open is closed
            for path in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if int(path.name) > 2:
                        yield path, str(path.readlink())


def marked_pids(mark: str) -> list[int]:
    return [process.pid for process in marked(mark)]


def sockets_of(pids: Iterable[int]) -> set[Socket]:
    """Return the sockets of a run that have an address."""
    inodes = {target[8:-1] for _, target in descriptors(pids) if target.startswith("socket:[")}
    known = addresses()
    return {known[inode] for inode in inodes & known.keys()}


@pytest.fixture(scope="module", params=["shm", pytest.param("gloo", marks=pytest.mark.long)])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Watch a run of two ranks, started by somebody whose files are open to all and whose environment has a secret."""
    results = tmp_path_factory.mktemp(f"seen-{request.param}")
    command = ddp(results, "--comm", request.param, "--epochs", "100")
    sockets: set[Socket] = set()
    with nothing_left(results) as mark:
        process = start(["bash", "-c", 'umask 000; exec "$@"', "bash", *command], mark, AWS_SECRET=CANARY)

        def has_saved() -> bool:
            sockets.update(sockets_of(marked_pids(mark)))
            return any(results.glob("*.checkpoint/0*")) or process.poll() is not None

        wait_for(has_saved)
        ranks = answers(training(mark, "ddp_train.py"), psutil.Process.environ)
        memory: dict[str, set[int]] = {}
        for path, target in descriptors(marked_pids(mark)):
            if target.startswith("/memfd:"):
                memory.setdefault(target.split()[0], set()).add(path.stat().st_mode & 0o777)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    (record,) = map(read_record, results.glob("*.json"))
    (folder,) = results.glob("*.checkpoint")
    left = {path: (path.stat().st_mode & 0o777, path.read_bytes()) for path in results.rglob("*") if path.is_file()}
    return Seen(sockets, ranks, memory, record, out + err, left, folder.stat().st_mode & 0o777)


@pytest.mark.slow
def test_no_socket_of_a_run_can_be_reached_from_another_machine(seen: Seen) -> None:
    """The agent has none at all, so nobody joins; the ranks have gloo's, on loopback. Of any kind, at any moment."""
    assert {each.table for each in seen.sockets} <= {"tcp", "tcp6"}
    assert {each.address for each in seen.sockets} <= {"127.0.0.1", "::1"}
    assert sum(each.listens for each in seen.sockets) == 2, "gloo's, one for each rank"


@pytest.mark.slow
def test_memory_and_checkpoints_are_their_owners_alone_whatever_the_umask(seen: Seen) -> None:
    names = {f"/memfd:ddpbench{name}" for name in ("", "-notes", "-store", "-rendezvous")}

    assert seen.memory == {name: {0o600} for name in names}
    assert seen.folder_mode == 0o700
    assert {mode for path, (mode, _) in seen.left.items() if ".checkpoint" in str(path.parent)} == {0o600}


@pytest.mark.slow
def test_no_secret_of_the_environment_is_in_anything_a_run_says_or_leaves(seen: Seen) -> None:
    assert all(rank["AWS_SECRET"] == CANARY for rank in seen.ranks), "it was there to be found"
    assert {path.suffix for path in seen.left} == {".json", ""}
    assert CANARY not in seen.said
    assert [path for path, (_, content) in seen.left.items() if CANARY.encode() in content] == []


@pytest.mark.slow
# Garbage and noise


def throw_something_at(port: int, noise: random.Random, kept: list[socket.socket]) -> None:
    """Connect as port scanners do: with bytes that mean nothing, too few of them, none; or stay and be silent."""
    with contextlib.suppress(OSError):  # the run ends meanwhile
        line = socket.create_connection(("127.0.0.1", port), timeout=2)
        kind = noise.choice(("bytes", "few bytes", "nothing", "silence"))
        if kind == "silence":
            kept.append(line)
            return
        line.sendall({"bytes": noise.randbytes(4096), "few bytes": b"abc", "nothing": b""}[kind])
        line.close()


@dataclass(frozen=True)
class Pestered:
    """A run of gloo with garbage at every port from the moment it is open."""

    ended: Ended
    times: int


@pytest.fixture(scope="module")
def pestered(tmp_path_factory: pytest.TempPathFactory) -> Pestered:
    folder, noise, times = tmp_path_factory.mktemp("pestered"), random.Random(0), 0
    kept: list[socket.socket] = []
    inert = ("--hook", f"tests/hooks/faults.py:{INERT}")
    processes = start_unsupervised("gloo", folder, *inert)
    try:
        while any(process.is_alive() for process in processes):
            for each in sockets_of(process.pid for process in processes):
                if each.listens:
                    throw_something_at(each.port, noise, kept)
                    times += 1
            time.sleep(0.002)
    finally:
        for line in kept:
            line.close()
    return Pestered(end_of(processes, folder), times)


def id_of(environment: dict[str, str]) -> str:
    return environment["TORCHELASTIC_RUN_ID"]


@pytest.mark.slow
def test_garbage_at_every_port_changes_no_bit_of_what_is_learnt(pestered: Pestered, clean: Clean) -> None:
    ended = pestered.ended

    assert pestered.times > 20
    assert ended.code == 0, ended.err
    assert ended.record.attempts == 1
    assert ended.weights == clean("gloo").weights
    assert ended.learnt == clean("gloo").learnt


@pytest.mark.slow
def test_a_run_has_an_id_that_nobody_guesses_and_no_other_run_has(seen: Seen) -> None:
    from ddpbench.train import agent  # imports much of torch

    ids = {id_of(rank) for rank in seen.ranks} | {agent._config(2).run_id for _ in range(99)}

    assert len(seen.ranks) == 2
    assert len(ids) == 100, "both ranks have the same"
    assert all(re.fullmatch("[0-9a-f]{32,}", each) for each in ids), "at least 128 bits"


@pytest.mark.slow
def test_a_run_with_a_fault_planned_says_so_and_is_not_compared(pestered: Pestered) -> None:
    assert pestered.ended.record.injected == f"faults.py:{INERT}"
    with pytest.raises(UserError, match=f"was watched by a hook \\(faults.py:{INERT}\\)"):
        study.load([pestered.ended.results])


# A machine that offers next to nothing, in namespaces of its own: loopback without IPv6, a name that nobody resolves,
# no room in /tmp and /dev/shm, few files open at once, a log that takes no more; and an environment that tells gloo to
# use what is not there. Where the project lies in /tmp, it is all that is there.
BARE = """
    ip link set lo up
    [ ! -e /proc/sys/net/ipv6 ] || sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    hostname nosuchhost.invalid
    mount --bind "$1" /mnt
    mount --bind "$PWD" /srv
    mount -t tmpfs none /tmp
    mkdir -p "$PWD"
    mount --bind /srv "$PWD"
    mount -o remount,size=4k,nr_inodes="$(df --output=iused /tmp | tail -1 | tr -d ' ')" /tmp
    mount -t tmpfs -o size=4k,nr_inodes=1 none /dev/shm
    ! touch /tmp/file 2>/dev/null || exit 9
    shift
    exec prlimit --nofile=32 "$@" >/dev/full
"""
NAMESPACES = ("unshare", "--net", "--uts", "--mount")


@pytest.mark.slow
def test_a_run_needs_loopback_a_folder_and_nothing_else_of_the_machine(clean: Clean, tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        pytest.skip("only root can make namespaces")
    within = ["bash", "-euc", textwrap.dedent(BARE), "bash", str(tmp_path), *ddp(Path("/mnt"), "--comm", "gloo")]
    ended = run([*NAMESPACES, *within], tmp_path, GLOO_SOCKET_IFNAME="eth9")

    assert ended.code == 0, ended.err
    assert (ended.weights, ended.learnt) == (clean("gloo").weights, clean("gloo").learnt)


# What the environment and names can do


HOSTILE = {
    "PET_NPROC_PER_NODE": "7",
    "PET_RDZV_ENDPOINT": "192.0.2.1:29500",
    "PYTHON_EXEC": "/bin/false",
    "MASTER_ADDR": "192.0.2.1",
    "MASTER_PORT": "1",
    "RANK": "5",
    "WORLD_SIZE": "9",
    "LOCAL_RANK": "5",
    "GROUP_RANK": "5",
    "ROLE_WORLD_SIZE": "9",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "0",
    "GLOO_SOCKET_IFNAME": "eth9",
    "GLOO_DEVICE_TRANSPORT": "TCP_TLS",
}
OF_THE_AGENT = {"MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "ROLE_WORLD_SIZE"}
OF_THE_AGENT |= {"TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"}


@pytest.mark.slow
def test_launch_drops_and_names_what_would_steer_torchrun_and_then_works(tmp_path: Path) -> None:
    with nothing_left(tmp_path) as mark:
        process = start(
            ["bash", "launch.sh", *SHORT, "--minutes", "0.1", "--results", str(tmp_path)],
            mark,
            SEEDS="0",
            WORLD_SIZES="2",
            **HOSTILE,
        )
        training: list[dict[str, str]] = []

        def has_trained() -> bool:  # a launch is forked from a server, which has the environment of all launches
            for words, environment in answers(marked(mark), lambda each: (each.cmdline(), each.environ())):
                if "ddpbench.train.preloaded" in " ".join(words):
                    training.append(environment)
            return any(tmp_path.glob("*/turns-000.json")) or process.poll() is not None

        wait_for(has_trained)
        process.terminate()
        _, err = process.communicate(timeout=60)

    assert any(tmp_path.glob("*/turns-000.json")), err
    assert err.startswith(f"launch.sh: ignoring from the environment: {' '.join(sorted(HOSTILE))}\n")
    assert training
    # torchrun's agent sets some of these names itself, for its ranks.
    assert [name for each in training for name, value in HOSTILE.items() if each.get(name) == value] == []
    assert [name for each in training for name in each.keys() & HOSTILE.keys() if name not in OF_THE_AGENT] == []
    assert "192.0.2.1" not in err, "names, and no values: one may be a secret"


# Stands where python3 is looked for: notes how it was called, and says that it has all that is needed.
STAND_IN = """\
    #!{python} -IS
    import json, os, sys
    with open(os.environ["STAND_IN_LOG"], "a") as log:
        print(json.dumps([sys.argv[1:], os.getcwd()]), file=log)
"""
NAMES = [
    "$(touch ran)",
    "`touch ran`",
    "; touch ran",
    "a&touch ran",
    "a b  c",
    " before",
    "behind ",
    "*",
    "~",
    "$HOME",
    "'\"",
    "back\\slash",
    "naïve ☃",
    "{a,b}",
    "%s%n",
]


@pytest.mark.parametrize("name", NAMES)
def test_launch_takes_a_name_as_it_is_and_runs_none_of_it(name: str, tmp_path: Path) -> None:
    """It hands every word on to Python, and no shell sees one after that."""
    place, log = tmp_path / "place", tmp_path / "log"
    place.mkdir()
    shutil.copy(PROJECT / "launch.sh", place)
    stand_in = tmp_path / "bin" / "python3"
    stand_in.parent.mkdir()
    stand_in.write_text(textwrap.dedent(STAND_IN).format(python=sys.executable))
    stand_in.chmod(0o755)
    env = os.environ | {"PATH": f"{stand_in.parent}:{os.environ['PATH']}", "STAND_IN_LOG": str(log)}
    told = ["--results", name, "--data-dir", name]
    command = ["bash", str(place / "launch.sh"), *told]
    done = subprocess.run(command, env=env | {"SEEDS": name}, capture_output=True, text=True, timeout=30, check=False)
    calls = [json.loads(line) for line in log.read_text().splitlines()]

    assert done.returncode == 0, done.stderr
    assert {path.name for path in place.iterdir()} == {"launch.sh"}
    assert calls[-1] == [["-m", "ddpbench", *told], str(place)]


@pytest.mark.parametrize("name", NAMES)
def test_a_study_takes_a_name_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of folders come to the programs that it starts as they were given."""
    monkeypatch.chdir(tmp_path)
    asked = options.read("comparison", ["--results", name, "--data-dir", name], {})
    job = plan.Job(arm=Arm("ddp", 2, 1, "shm"), seed=0)
    command = commands.command_of(job, asked, Path(name) / "study", resume=False)
    script = "import json, sys; json.dump(sys.argv[1:], sys.stdout)"
    child = Program([sys.executable, "-c", script, *command], tmp_path / "log").start(Launch(parent=os.getpid()))

    assert child.wait(timeout=30) == 0
    flags = json.loads((tmp_path / "log").read_text())
    assert flags == command
    assert flags[flags.index("--results") + 1] == str(Path(name) / "study")
    assert flags[flags.index("--data-dir") + 1] == str(Path(name))
    assert {path.name for path in tmp_path.iterdir()} == {"log"}


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "\x1b[31mred\x07"],
        ["--wat\x1b]0;title\x07"],
        ["--epochs", "1\u202e2\u2028"],
        ["--checkpoint-every", "\x9b31m\x7f"],
        ["--results", "a\nb: all is well"],
        ["--results", "a\tb"],
        ["--results", "\x1b[2J"],
        ["--results", b"\xff".decode(errors="surrogateescape")],
        ["--results", ""],
        ["--results=-rf"],
        ["--data-dir", "a\0b"],
    ],
    ids=ascii,
)
def test_a_flag_cannot_break_or_paint_the_line_that_refuses_it(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        errors.run(lambda: config.parse(words), name="launch.sh")
    said = capsys.readouterr().err

    assert ended.value.code == 2
    assert said.startswith("launch.sh: ")
    assert said.endswith("\n")
    assert said[:-1].isprintable()


# What our own code may not do


BANNED_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
BANNED_MODULES |= {"torch.distributed.checkpoint", "torch.distributed.rpc", "torch.package", "torch.hub"}
OBJECTS = {"all_gather_object", "gather_object", "broadcast_object_list", "scatter_object_list"}
OBJECTS |= {"send_object_list", "recv_object_list"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "getoutput", "getstatusoutput", "popen", "extractall"}
BANNED_CALLS |= {"torch.load", "torch.save", "torch.jit.load", "os.system", "yaml.load", "execfile"}


def ways_in(source: str) -> set[str]:
    """Return what in a program could run what it reads: unpickling, evaluating, a shell; unpacking where told."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            is_method = called.startswith(("re.", "self."))
            short = called if called in BANNED_CALLS else called.rpartition(".")[2]
            if short in BANNED_CALLS and not is_method and not (short in {"eval", "compile"} and "." in called):
                found.add(short)
            found |= {"shell" for word in node.keywords if word.arg in {"shell", "allow_pickle"}}
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        found |= {name for name in names if name in OBJECTS or name.rpartition(".")[2] in OBJECTS}
        found |= {
            name
            for name in names
            for banned in BANNED_MODULES
            if name == banned or name.startswith(f"{banned}.") or (name == "torch.load" or name == "torch.save")
        }
    return found


def test_nothing_that_is_read_or_received_is_unpickled_or_executed() -> None:
    found = {str(path.relative_to(PROJECT)): ways_in(path.read_text()) for path in SOURCES}

    assert len(found) > 40
    assert {name: ways for name, ways in found.items() if ways} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import torch.distributed.checkpoint as dcp",
        "from torch.distributed import checkpoint",
        "from torch import load",
        "torch.load(path, weights_only=True)",
        "dist.all_gather_object(found, mine)",
        "gather = dist.broadcast_object_list",
        "from torch.distributed import scatter_object_list",
        "subprocess.run(text, shell=True)",
        "numpy.load(path, allow_pickle=True)",
        "os.system(text)",
        "eval(text)",
        "exec(text)",
        "yaml.load(text)",
        "archive.extractall(folder)",
    ],
)
def test_the_ban_sees_each_way_in(line: str) -> None:
    assert ways_in(line)
    assert not ways_in("net.eval(); re.compile('x'); exec_module = safetensors.torch.load(packed)")


@pytest.mark.parametrize("name", ["ci.yml", "long.yml"])
def test_a_workflow_runs_code_that_was_looked_at_and_may_only_read(name: str) -> None:
    path = PROJECT / ".github/workflows" / name
    assert {each.name for each in path.parent.iterdir()} == {"ci.yml", "long.yml"}
    text = path.read_text()
    used = re.findall(r"uses: *(\S+)", text)
    own = [each for each in used if each.startswith("./")]  # of this repository; what they use is looked at as well
    used = [each for each in used if each not in own]
    used += re.findall(r"uses: *(\S+)", "".join((PROJECT / each / "action.yml").read_text() for each in own))
    jobs = text.partition("\njobs:\n")[2]

    assert used
    assert [each for each in used if not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", each)] == []
    assert re.search(r"^permissions: (\{ contents: read \}|\n  contents: read\n)", text, re.M)
    assert text.count("permissions:") == 1
    assert len(re.findall(r"^  [\w-]+:$", jobs, re.M)) == len(re.findall(r"^    timeout-minutes: \d+$", jobs, re.M)) > 0
    assert "pull_request_target" not in text
    assert "secrets." not in text
    # What a stranger can write, in the name of a branch or the title of a pull request, reaches no shell.
    assert [each for each in re.findall(r"\$\{\{ *(\S+) *\}\}", text) if not each.startswith("matrix.")] == []
