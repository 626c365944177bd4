"""torchrun's agent for one attempt of one run: private, without restarts of its own, and bound to its supervisor.

python -m ddpbench.train.agent RANKS SCRIPT FLAGS...

It runs torchrun's own agent (elastic_launch) in this process, so the ranks are started as torchrun starts them. Ranks
meet through memory of this process instead of a listening port or a file. So no other process can join, no port can be
taken by another program, and nothing is left behind, however this process ends. The supervisor decides on restarts.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

from ddpbench import environment
from ddpbench.errors import Preempted
from ddpbench.notes import STOPS
from ddpbench.train import life

HANDLED = tuple(number for number in STOPS if number != signal.SIGINT)  # its supervisor passes SIGINT on as SIGTERM
SHUTDOWN_S = 30  # torchrun waits so long for ranks to end before it sends SIGKILL


def _stop_at_once(_: int, __: FrameType | None) -> NoReturn:
    """Exit at once. There is no rank yet: the import of torch takes seconds, and a signal may come in any of them."""
    os._exit(Preempted.exit_code)


if __name__ == "__main__":
    environment.usable_cores()
    life.handle(_stop_at_once, HANDLED)
    life.end_with_supervisor()

import logging
import secrets
from dataclasses import fields

from msgspec.structs import replace
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ddpbench import memory, notes


def main() -> int:
    """Start the ranks, wait for them, and note for the supervisor how they ended. Returns the exit code."""
    ranks, script, *flags = sys.argv[1:]
    launch = notes.launched() or notes.Launch(parent=os.getppid())
    store = memory.path(memory.private("ddpbench-store"))
    os.environ |= notes.as_variable(replace(launch, store=store))
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    logging.disable(logging.CRITICAL)  # the supervisor prints what went wrong: the ranks note it
    life.handle(_stop_once, HANDLED)
    exit_codes: dict[int, int] = {}
    try:
        elastic_launch(_config(int(ranks)), sys.executable)("-u", script, *flags)
    except ChildFailedError as problem:
        exit_codes = {rank: failure.exitcode for rank, failure in problem.failures.items()}
    except SignalException:
        return Preempted.exit_code
    finally:
        notes.tell(notes.RanksEnded(exit_codes=exit_codes))
    return 1 if exit_codes else 0


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
    raise SignalException(f"told to stop by signal {number}", sigval=signal.Signals(number))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # every rank has ended; a normal exit would wait for threads of the agent that have not
