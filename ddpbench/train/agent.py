"""torchrun's agent for one attempt of one run: private, without restarts of its own, and bound to its supervisor.

python -m ddpbench.train.agent RANKS SCRIPT FLAGS...

It runs torchrun's own agent (elastic_launch) in this process, so the ranks are started as torchrun starts them. Only a
launch of turns, which was forked from a process that has torch, forks its ranks: its start-up is not measured. Ranks
meet through memory of this process instead of a listening port or a file. So no other process can join, no port can be
taken by another program, and nothing is left behind, however this process ends. The supervisor decides on restarts.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from ddpbench import environment
from ddpbench.errors import PeerError, Preempted
from ddpbench.notes import STOPS
from ddpbench.train import life

HANDLED = tuple(number for number in STOPS if number != signal.SIGINT)  # its supervisor passes SIGINT on as SIGTERM
SUSPENDED_S = 0.2
SHUTDOWN_S = 30  # torchrun waits so long for ranks to end before it sends SIGKILL


def _stop_at_once(_: int, __: FrameType | None) -> NoReturn:
    """Exit at once. There is no rank yet: the import of torch takes seconds, and a signal may come in any of them."""
    os._exit(Preempted.exit_code)


if __name__ == "__main__":
    environment.usable_cores()
    life.handle(_stop_at_once, HANDLED)
    life.end_with_supervisor()

import logging
import multiprocessing
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import psutil
from msgspec.structs import replace
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ddpbench import memory, notes, processes
from ddpbench.comm import peers


def main() -> int:
    """Start the ranks, wait for them, and note for the supervisor how they ended. Returns the exit code."""
    ranks, *words = sys.argv[1:]
    launch = notes.launched() or notes.Launch(parent=os.getppid())
    store = memory.path(memory.private("ddpbench-store"))
    os.environ |= notes.as_variable(replace(launch, store=store))
    logging.disable(logging.CRITICAL)  # the supervisor prints what went wrong: the ranks note it
    life.handle(_stop_once, HANDLED)
    exit_codes: dict[int, int] = {}
    try:
        exit_codes = (_fork if launch.has_torch else _torchrun)(int(ranks), words)
    except SignalException:
        return Preempted.exit_code
    finally:
        ended = {launch.first_rank + rank: code for rank, code in exit_codes.items()}
        notes.tell(notes.RanksEnded(exit_codes=ended))
    return 1 if exit_codes else 0


def _torchrun(size: int, words: Sequence[str]) -> dict[int, int]:
    """Let torchrun's own agent carry the ranks out. Returns the exit codes of those that failed."""
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    try:
        elastic_launch(_config(size), sys.executable)("-u", *words)
    except ChildFailedError as problem:
        return {rank: failure.exitcode for rank, failure in problem.failures.items()}
    return {}


def _fork(size: int, words: Sequence[str]) -> dict[int, int]:
    """Fork the ranks from this process, which has torch, and do with them what torchrun's agent does."""
    fork, supervisor = multiprocessing.get_context("fork"), multiprocessing.parent_process()
    assert supervisor is not None, "this process has been forked for it"
    ranks: list[BaseProcess] = [fork.Process(target=_become_rank, args=(rank, size, words)) for rank in range(size)]
    started = []
    try:
        for each in ranks:
            each.start()
            started.append(each)
        # `exitcode` asks the kernel each time. So the ranks that run are asked for once, and waited for as they were.
        while (running := [each for each in ranks if each.exitcode is None]) and not any(e.exitcode for e in ranks):
            # The server of this process lives while this process does: only the sentinel tells of the supervisor's end.
            if supervisor.sentinel in wait([supervisor.sentinel, *(each.sentinel for each in running)]):
                raise SignalException("the supervisor has ended", sigval=signal.SIGTERM)
        _join(ranks, life.FIRST_REPORTS_S)  # the others notice that one has failed, and name it
    finally:
        _end_suspended({rank: each.pid for rank, each in enumerate(started) if each.pid})
        _end(started)
    return {rank: each.exitcode for rank, each in enumerate(ranks) if each.exitcode}


def _become_rank(rank: int, size: int, words: Sequence[str]) -> None:
    for number in HANDLED:
        if signal.getsignal(number) == _stop_once:
            signal.signal(number, signal.SIG_DFL)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": 0}
    told = {"TORCHELASTIC_RUN_ID": "forked", **{name: str(value) for name, value in place.items()}}
    processes.become(words, {**os.environ, **told})


def _end(ranks: Sequence[BaseProcess]) -> None:
    """End what still runs: by SIGTERM, and after SHUTDOWN_S by SIGKILL."""
    for each in ranks:
        each.terminate()
    _join(ranks, SHUTDOWN_S)
    for each in ranks:
        each.kill()
        each.join()


def _join(ranks: Sequence[BaseProcess], seconds: float) -> None:
    until = time.monotonic() + seconds
    for each in ranks:
        each.join(max(0.0, until - time.monotonic()))


def _config(ranks: int) -> LaunchConfig:
    """Return the configuration of torchrun's agent."""
    # torch 2.10 has no such field: its agent waits for SHUTDOWN_S of its own.
    more: Any = {"shutdown_timeout": SHUTDOWN_S} if "shutdown_timeout" in {f.name for f in fields(LaunchConfig)} else {}
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=secrets.token_hex(16),
        rdzv_backend="c10d",
        rdzv_endpoint=memory.path(memory.private("ddpbench-rendezvous")),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        signals_to_handle="",  # our handlers stay: at a second signal, torchrun's would break off its own shutdown
        **more,
    )


def _stop_once(number: int, _: FrameType | None) -> NoReturn:
    """Let torchrun's agent stop its ranks and wait until they have saved. Further signals are ignored."""
    for each in HANDLED:
        signal.signal(each, signal.SIG_IGN)
    _end_suspended(_ranks())
    raise SignalException(f"told to stop by signal {number}", sigval=signal.Signals(number))


def _ranks() -> dict[int, int]:
    """Return the process ids of the ranks that torchrun's agent has started, by local rank."""
    found = {}
    for each in psutil.Process().children():
        with suppress(psutil.Error, KeyError):  # it has just ended, or is no rank
            found[int(each.environ()["LOCAL_RANK"])] = each.pid
    return found


def _end_suspended(ranks: Mapping[int, int]) -> None:
    """Note which ranks are suspended, and end them, where the job is on several hosts: the others cannot see it.

    `ranks` has process ids by local rank. On one host a rank names and ends those that it waits for (`comm.peers`).
    """
    launch = notes.launched()
    suspended = {rank: pid for rank, pid in ranks.items() if processes.state(pid) == "stopped"}
    if launch is None or launch.seat is None or not suspended:
        return
    time.sleep(SUSPENDED_S)  # what is told to stop and to go on at the same time goes on a moment later
    for rank, pid in suspended.items():
        if processes.state(pid) == "stopped":
            failed = notes.Failed(why=f"its process {peers.STATES['stopped']}", code=PeerError.exit_code)
            sender = {"rank": launch.first_rank + rank, "attempt": launch.attempt, "time_ns": time.monotonic_ns()}
            notes.append(launch.notes, replace(failed, **sender))
            processes.send([pid], signal.SIGKILL)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # every rank has ended; a normal exit would wait for threads of the agent that have not
