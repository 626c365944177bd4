"""docs/hosts/ssh.sh over real ssh, between hosts that each have a server of it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddpbench.record import read_record
from tests.conftest import PROJECT
from tests.faults.launching import SHORT, wait_for
from tests.hosts import network
from tests.hosts.network import Host, Network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
RUN = ("run", *SHORT, "--ranks", "1", "--threads", "1", "--checkpoint-every", "50")
SERVER = "UsePAM=no\nStrictModes=no\nPidFile=none\nAcceptEnv=PYTHON\nPermitRootLogin=yes\n"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    """Two hosts that know each other's names, with a server of ssh that lets in who has the key."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(server).exists():
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    if network.missing():
        pytest.skip(network.missing())
    folder = tmp_path_factory.mktemp("ssh")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (folder / "server").write_text(f"{SERVER}HostKey={key}\nAuthorizedKeysFile={key}.pub\n")
    client = (
        f"IdentityFile {key}\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nSendEnv PYTHON"
    )
    (folder / "client").write_text(client + "\n")
    servers = []
    with Network(2) as net:
        for host in net.hosts:
            host.run("mount", "--bind", network.names(folder, 2), "/etc/hosts")
            host.run("mount", "-t", "tmpfs", "-o", "mode=755", "none", "/run")
            host.run("mkdir", "--mode=755", "/run/sshd")
            servers.append(subprocess.Popen(host.command(server, "-D", "-f", folder / "server")))
        (folder / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
        (folder / "ssh").chmod(0o755)
        for host in net.hosts:
            wait_for(lambda host=host: not subprocess.run(host.command(folder / "ssh", "host-1", "true")).returncode)
        os.environ["PATH"], before = f"{folder}{os.pathsep}{os.environ['PATH']}", os.environ["PATH"]
        yield net.hosts
        os.environ["PATH"] = before
    for each in servers:
        each.wait()


def start(host: Host, *words: str | Path) -> "subprocess.Popen[str]":
    return host.start(
        "bash", "docs/hosts/ssh.sh", "host-0", "root@host-1", "--", *words, env={"PYTHON": sys.executable}
    )


def told(hosts: list[Host], what: str) -> set[str]:
    """Return what /proc says of all processes on all hosts: their `environ`, or their `cmdline`."""
    words: set[str] = set()
    for path in (Path(f"/proc/{pid}/{what}") for host in hosts for pid in host.pids()):
        with contextlib.suppress(OSError):  # it has just ended
            words.update(path.read_text(errors="replace").split("\0"))
    return words


def test_both_hosts_train_with_one_secret_and_a_signal_lets_both_save(hosts: list[Host], tmp_path: Path) -> None:
    words = (*RUN, "--epochs", "1000", "--results", tmp_path)
    started = start(hosts[1], *words)  # from any host: the first that is named leads
    wait_for(lambda: any(tmp_path.glob("*.json")) or started.poll() is not None, 120)
    secrets = {word.partition("=")[2] for word in told(hosts, "environ") if word.startswith("DDPBENCH_SECRET=")}
    assert len(secrets) == 1, "all processes of all hosts have the same"
    assert not [word for word in told(hosts, "cmdline") if secrets & {*re.split("[ =]", word)}]
    nsenter = Path(f"/proc/{started.pid}/task/{started.pid}/children")  # passes no signal on to the script
    os.kill(int(nsenter.read_text()), signal.SIGTERM)
    out, err = started.communicate(timeout=60)

    assert started.returncode == 75, out + err
    (record,) = [read_record(path) for path in tmp_path.glob("*.json")]
    assert (record.status, record.hosts, record.world_size) == ("preempted", 2, 2)


def test_one_host_and_no_words_are_refused() -> None:
    for words in (["one", "--", "run"], ["one", "two"]):
        done = subprocess.run(["bash", "docs/hosts/ssh.sh", *words], cwd=PROJECT, capture_output=True, text=True)
        assert (done.returncode, "give two hosts or more" in done.stderr) == (2, True)
