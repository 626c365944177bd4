"""torchrun on one machine, as launch.sh wants it: private, restarting, ending with one line and a telling exit code.

python -m ddpbench.launcher RANKS THREADS RESTARTS FLAGS...

It runs torchrun's own agent (elastic_launch) in this process, so everything that torchrun does stays torchrun's. Ranks
meet through memory of this process instead of a listening port or a file: nobody else can join, no port can be taken
first, and nothing is left behind, however this process ends.
"""

import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ddpbench import process
from ddpbench.errors import Failure, Preempted, one_line

HEARD = (signal.SIGTERM, signal.SIGHUP)
SHUTDOWN_S = 30  # torchrun's own limit before it kills; when it restarts, no other can be set


def _hear(handler: Any) -> None:
    for number in HEARD:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays as it is
            signal.signal(number, handler)


def _stop_at_once(number: int, _: FrameType | None) -> NoReturn:
    """Leave while there is no rank yet: torch's import takes seconds, and a signal may come in any of them."""
    name = signal.Signals(number).name
    print(f"launch.sh: stopped by {name} before it trained; the same command with --resume goes on", file=sys.stderr)
    os._exit(Preempted.exit_code)


if __name__ == "__main__":
    _hear(_stop_at_once)
    process.end_with_launch_sh()

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def main() -> int:
    """Launch, wait, and return the exit code of the run."""
    ranks, threads, restarts, *flags = sys.argv[1:]
    os.environ |= {
        "OMP_NUM_THREADS": threads,
        "TORCHINDUCTOR_CACHE_DIR": str(Path.cwd()),  # torch makes it, by default in /tmp, though nothing is compiled
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "DDPBENCH_NOTES": _private_file("notes"),
        "DDPBENCH_STORE": _private_file("store"),
    }
    logging.disable(logging.CRITICAL)  # what goes wrong is said by the rank that knows, or by us
    _hear(_stop_once)
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=int(ranks),
        run_id=secrets.token_hex(16),
        rdzv_backend="c10d",
        rdzv_endpoint=_private_file("rendezvous"),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",
        max_restarts=int(restarts),
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        signals_to_handle="",  # ours stay: torchrun's would break off its own shutdown at the second signal
        shutdown_timeout=SHUTDOWN_S,
    )
    exit_codes: dict[int, int] = {}
    signalled: signal.Signals | None = None
    try:
        elastic_launch(launch, sys.executable)("-u", "ddp_train.py", "--threads", threads, *flags)
    except ChildFailedError as problem:
        exit_codes = {rank: failure.exitcode for rank, failure in problem.failures.items()}
    except SignalException as stopped:
        signalled = stopped.sigval
    said, code = judge(process.notes(), exit_codes, signalled)
    if said:
        print(f"launch.sh: {one_line(said)}", file=sys.stderr)
    return code


def judge(noted: list[dict[str, Any]], exit_codes: dict[int, int], signalled: int | None) -> tuple[str, int]:
    """Say how a run ended, in one line (empty for a complete one), and with which exit code.

    `noted` are the notes of all ranks and attempts; `exit_codes` are those of the ranks that failed, by torchrun, in
    the last attempt; `signalled` is the signal that torchrun got.
    """
    if any(line["what"] == "complete" for line in noted):
        return "", 0
    attempt = max((line["attempt"] for line in noted), default=0)
    cause = process.root_cause(noted, attempt)
    again = process.is_repeated(noted, attempt)
    if signalled is not None and (cause is None or not (cause["final"] or again)):  # else a rank has sent it
        name = signal.Signals(signalled).name
        return f"stopped by {name} before it trained again; the same command with --resume goes on", Preempted.exit_code
    killed = {rank: -code for rank, code in exit_codes.items() if code < 0 and -code != signal.SIGTERM}
    if killed and (cause is None or cause["peer"] is not None):
        rank, number = min(killed.items())
        where = _where(next((line for line in noted if line.get("peer") == rank and line is cause), None))
        if number == process.HANGS:
            return f"rank {rank}{where} made no step within --timeout-s; its stacks are above", 6
        often = " (often: out of memory)" if number == signal.SIGKILL else ""
        return f"rank {rank}{where} was killed by signal {number}{often}", 4
    if cause is not None:
        twice = ", twice and without progress" if again else ""
        return f"rank {cause['rank']}{_where(cause)}{twice}: {cause['said']}", int(cause["code"])
    return "ranks ended without a word and without having completed the run", Failure.exit_code


def _stop_once(number: int, _: FrameType | None) -> NoReturn:
    """Let torchrun's agent stop its ranks, and wait until they have saved; further signals change nothing."""
    for each in HEARD:
        signal.signal(each, signal.SIG_IGN)
    raise SignalException(f"told to stop by signal {number}", sigval=signal.Signals(number))


def _where(line: dict[str, Any] | None) -> str:
    if line is None or line["at"] is None:
        return ""
    return f" at {process.where(*line['at'])}"


def _private_file(name: str) -> str:
    """Make an empty file in memory and return a path that only this user's processes can open."""
    memory = os.memfd_create(f"ddpbench-{name}", os.MFD_CLOEXEC)
    os.fchmod(memory, 0o600)
    return f"/proc/{os.getpid()}/fd/{memory}"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # every rank has ended; threads of the agent that have not would be waited for
