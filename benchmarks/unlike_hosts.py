"""Is a slow host found, and an equal one not? Two hosts of a core each, with and without a busy loop on host 1's.

python -m benchmarks.unlike_hosts          seven launches of each: about four minutes on two quiet cores

Hosts are namespaces of this machine (tests/hosts/network.py; only root can make them). Where a busy loop takes half of
a core, the same steps take host 1 twice as long as host 0. The launches are those of a study, started by torchrun.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.rounds import Report, in_turn
from ddpbench.arm import Arm
from ddpbench.judge import hosts, study
from ddpbench.turns import Question, TurnArm, path_of
from tests.hosts.network import TORCHRUN, Network

LAUNCHES, ROUNDS_S, BATCH, MARGIN = 7, 5.0, 240, 0.03
CORES = ("0", "1")
TRUTH = {"equal": 1.0, "busy": 2.0}  # times as long as host 0
ARMS = [
    TurnArm(arm=arm, global_batch=BATCH)
    for arm in (Arm("baseline", 1, 1, None), Arm("ddp", 2, 1, "gloo", 2), Arm("ddp", 2, 1, "none", 2))
]
FLAGS = ["--dataset", "synthetic", "--model", "mlp", "--global-batch", str(BATCH), "--device", "cpu"]


def main() -> None:
    """Make the launches in turns, and say what is found of host 1."""
    count, report = int(sys.argv[1]) if len(sys.argv) > 1 else LAUNCHES, Report("unlike_hosts")
    with TemporaryDirectory() as parent:
        folders = {case: Path(parent) / case for case in TRUTH}
        for folder in folders.values():
            folder.mkdir()
        for number in range(count):
            for case in in_turn([*TRUTH], number):
                launch(folders[case], number, is_busy=case == "busy")
        for case, folder in folders.items():
            judged = study.load([folder])
            (other,) = hosts.others(judged)
            by_launch = [hosts.others(study.load([path_of(folder, number)]))[0] for number in range(count)]
            report.section(f"{case}: host 1 should take {TRUTH[case]:g} times as long as host 0 for the same steps")
            took = [each.times_as_long.value for each in by_launch if each.times_as_long is not None]
            report.figure("host 1 / host 0, by launch", took, "times as long")
            print("  caution:", "; ".join(other.doubts(MARGIN)) or "none")
    report.write()


def launch(folder: Path, number: int, *, is_busy: bool) -> None:
    """Carry out one launch of turns over two hosts."""
    path = str(path_of(folder, number))
    question = msgspec.json.encode(Question(FLAGS, ARMS, ARMS, number + 1, ROUNDS_S, path)).decode()
    env = {"OMP_NUM_THREADS": "1"}
    with Network(2, cores=CORES) as net:
        if is_busy:
            net.hosts[1].start(sys.executable, "-c", "while True: pass")  # it ends with its host
        place = ("--nnodes=2", "--nproc-per-node=1", f"--master-addr={net.hosts[0].address}", "--master-port=29511")
        ranks = [
            each.start(*TORCHRUN, *place, f"--node-rank={each.index}", "-m", "ddpbench.train.turns", question, env=env)
            for each in net.hosts
        ]
        for rank in ranks:
            _, errors = rank.communicate()
            if rank.returncode != 0:
                raise subprocess.CalledProcessError(rank.returncode, rank.args, stderr=errors)


if __name__ == "__main__":
    os.environ.pop("GLOO_SOCKET_IFNAME", None)  # the hosts have interfaces of their own
    main()
