"""The environment variables that change what a run does: dropped by a study, recorded by every run.

Values of variables are recorded only where their names say that they change how a run computes, as those do that bind,
limit or trace threads and collectives.
"""

import os
import re
from collections.abc import Mapping, MutableMapping

from ddpbench.errors import FAULT, Preempted, UserError

# A rank's place, as torchrun sets it. A value left over from another launch would steer ours.
_RANKS = r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)"
_TORCHRUN = rf"PET_.*|TORCH_?ELASTIC_.*|MASTER_(ADDR|PORT)|PYTHON_EXEC|DDPBENCH_LAUNCH|{_RANKS}"
# Each arm sets its own threads. Variables that bind, limit or trace threads change the speed (pytorch#91989).
_THREADS = r"(OMP|KMP|GOMP|MKL|OPENBLAS|BLIS|DNNL|ONEDNN|VECLIB)_.*|ATEN_CPU_CAPABILITY"
_TRACES = r"GLOO_.*|NCCL_DEBUG.*|TORCH_(LOGS.*|DISTRIBUTED_DEBUG|CPP_LOG_LEVEL|SHOW_CPP_STACKTRACES|NCCL_TRACE.*)"
_DEBUG = r"CUDA_LAUNCH_BLOCKING|PYTHON(DEVMODE|MALLOC|TRACEMALLOC|PROFILEIMPORTTIME|ASYNCIODEBUG|VERBOSE|DEBUG)"
DROPPED = re.compile(rf"{_TORCHRUN}|{_THREADS}|{_TRACES}|{_DEBUG}")
# A machine may not work without these, so a study keeps them. Runs with different ones are not compared.
_KEPT = r"NCCL_.*|PYTORCH_(CUDA_|HIP_)?ALLOC_CONF|CUDA_(DEVICE_MAX_CONNECTIONS|MODULE_LOADING)|LD_PRELOAD|MALLOC_.*"
# Set by torchrun or by ddpbench and not by the user. The number of threads has its own field in the record.
_OURS = r"OMP_NUM_THREADS|(GLOO|NCCL)_SOCKET_IFNAME|(TORCH_)?NCCL_ASYNC_ERROR_HANDLING"
RECORDED = re.compile(rf"(?!({_OURS})$)({_THREADS}|{_TRACES}|{_DEBUG}|{_KEPT})")
MOST_CHARACTERS = 200  # of a value: a record holds short texts


def drop(environment: MutableMapping[str, str]) -> list[str]:
    """Remove the variables that would change the result of a study. Returns their names, sorted."""
    names = sorted(name for name in environment if DROPPED.fullmatch(name))
    for name in names:
        del environment[name]
    return names


def exit_again(environment: Mapping[str, str]) -> int:
    """Return the exit code of what was stopped and can go on: 75, or EXIT_AGAIN where a scheduler knows another one.

    Raises UserError for one that is no exit code, or that says something else.
    """
    text = environment.get("EXIT_AGAIN", "")
    if not text:
        return Preempted.exit_code
    if not text.isdecimal() or not 8 <= int(text) <= 255 or int(text) == FAULT:
        raise UserError(f"EXIT_AGAIN must be an exit code from 8 to 255 but {FAULT}, as in 143; got {text!r}")
    return int(text)


def recorded() -> list[str]:
    """Return the variables of this process that change how it computes, as NAME=VALUE, sorted."""
    chosen = {name: value for name, value in os.environ.items() if RECORDED.fullmatch(name)}
    return [f"{name}={_as_text(value)}" for name, value in sorted(chosen.items())]


def _as_text(value: str) -> str:
    """Return a value as a record may hold it."""
    plain = "".join(char if char.isprintable() and char not in "<>" else "?" for char in value)
    return plain[:MOST_CHARACTERS]
