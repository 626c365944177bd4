"""A real Slurm cluster on one machine: every node is a host of `network`, with its own slurmd, munge and /run.

Host 0 also has slurmctld, and is where jobs are submitted. The project's folder and the cluster's are the same on all
hosts, as a shared home folder is. Nothing of it outlives the network.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.faults.launching import wait_for
from tests.hosts import network
from tests.hosts.network import Host, Network

PROGRAMS = ("slurmctld", "slurmd", "srun", "munged")
CONFIGURATION = """
ClusterName=test
SlurmctldHost=host-0({controller})
SlurmUser=root
StateSaveLocation=/run/slurmctld
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/affinity
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=usual Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""
# Process 1 of a host waits for nobody, and Slurm waits until no process of a job is left, be it one that has ended. So
# slurmd runs below a process that the kernel makes the parent of all that lose theirs (PR_SET_CHILD_SUBREAPER).
REAPER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    os.wait()
"""


@cache
def missing() -> str:
    """Return why there can be no cluster here; "" where there can."""
    if lacking := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"{lacking[0]} is not installed: apt-get install slurmctld slurmd slurm-client munge"
    return network.missing()


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    hosts: Sequence[Host]
    folder: Path
    daemons: "list[subprocess.Popen[bytes]]"

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Run a program on host 0, and require its exit code. Returns what it prints."""
        done = subprocess.run(self._command(0, *words), env=_environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def submit(self, *words: str | Path, output: Path) -> str:
        """Submit a batch job. Returns its number."""
        return self.run("sbatch", "--parsable", f"--output={output}", *words).strip()

    def says(self, job: str, what: str) -> str:
        """Return what Slurm says of a job: its JobState, or its Restarts."""
        fields = (each.partition("=") for each in self.run("scontrol", "--oneliner", "show", "job", job).split())
        return next(value for name, _, value in fields if name == what)

    def start_soon(self, job: str) -> None:
        """End the two minutes for which Slurm lets a job wait that it has put in the queue again.

        A node refuses a job in the second in which it has ended it ("Job credential revoked").
        """
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now+2")

    def end(self) -> None:
        """Cancel what still runs, so that no job is in the way of the next test."""
        self.run("scancel", "--state=PENDING", "--user=root")
        self.run("scancel", "--user=root")
        wait_for(self.is_idle)

    def is_idle(self) -> bool:
        """Whether all nodes are there, and free."""
        words = ("sinfo", "--noheader", "--partition=usual", "--states=idle", "--format=%D")
        done = subprocess.run(self._command(0, *words), env=_environment(), capture_output=True, text=True)
        return done.stdout.strip() == str(len(self.hosts))

    def _command(self, host: int, *words: str | Path) -> list[str]:
        return self.hosts[host].command("env", f"SLURM_CONF={self.folder}/slurm.conf", *words)

    def begin(self, *more: str) -> None:
        """Start Slurm on all hosts, with more lines of configuration."""
        names, key = network.names(self.folder, len(self.hosts)), self.folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        nodes = [f"NodeName={host.name} NodeAddr={host.address} CPUs=2" for host in self.hosts]
        text = CONFIGURATION.format(folder=self.folder, controller=self.hosts[0].address)
        (self.folder / "slurm.conf").write_text(text + "\n".join([*nodes, *more]) + "\n")
        for host in self.hosts:
            host.run("mount", "--bind", names, "/etc/hosts")
            host.run("mount", "-t", "tmpfs", "-o", "mode=755", "none", "/run")
            host.run("mkdir", "--mode=755", "/run/munge")
            files = (f"--key-file={key}", "--log-file=/run/munge/log", "--seed-file=/run/munge/seed")
            host.run("munged", "--force", "--socket=/run/munge/munge.socket.2", "--pid-file=/run/munge/pid", *files)
        self._start(0, "slurmctld", "-D")
        for host in self.hosts:
            self._start(host.index, sys.executable, "-I", "-c", REAPER, "slurmd", "-D", "-N", host.name)
        wait_for(self.is_idle)

    def _start(self, host: int, *words: str) -> None:
        """Start what runs until the host ends."""
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.daemons.append(subprocess.Popen(self._command(host, *words), env=_environment(), **silent))


@contextmanager
def cluster(*more: str) -> Iterator[Cluster]:
    """Start a cluster of two nodes, with more lines of slurm.conf, and end it with all that runs on it."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        daemons: list[subprocess.Popen[bytes]] = []
        try:
            with Network(2) as net:
                made = Cluster(net.hosts, Path(folder), daemons)
                made.begin(*more)
                yield made
        finally:  # they have ended with their hosts
            for each in daemons:
                each.wait()


def _environment() -> dict[str, str]:
    """Return the environment of what a person starts on a node: with this Python, and nothing of another scheduler."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "DDPBENCH_", "PET_"))}
    return kept | {"PYTHON": sys.executable}
