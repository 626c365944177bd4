"""New processes that have torch from the start, for tests in which the start of a process proves nothing.

A server imports torch once, and each process is forked from it: that spares two seconds of a core for each. The server
is the standard library's forkserver, one for each process that runs tests; it ends with that process.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from ddpbench import processes
from ddpbench.notes import Launch, as_variable
from tests.conftest import PROJECT

IMPORTED = ("torch", "torch.distributed", "torch._dynamo", "safetensors.torch", "psutil")  # DDP imports torch._dynamo
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*IMPORTED])


@dataclass
class Warm:
    """A script that runs in a process of its own. What it prints is in two files."""

    process: BaseProcess
    words: Sequence[str]
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None, "it has been started"
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def wait(self, timeout_s: float = 100) -> "subprocess.CompletedProcess[str]":
        """Wait for its end, and return it as subprocess does."""
        self.process.join(timeout_s)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise subprocess.TimeoutExpired([*self.words], timeout_s, self.out.read_bytes(), self.err.read_bytes())
        return subprocess.CompletedProcess([*self.words], code, self.out.read_text(), self.err.read_text())


def start(words: Sequence[str], folder: Path, name: str = "run", env: Mapping[str, str] | None = None) -> Warm:
    """Start a script of the project with its arguments; -m and a module also do. `folder` takes what it prints."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | dict(env or {})
    out, err = (folder / f"{name}.{stream}" for stream in ("out", "err"))
    process = _context.Process(target=_become, args=(list(words), env, str(out), str(err)), daemon=True)
    process.start()
    return Warm(process, words, out, err)


def run(*words: str | Path, folder: Path, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a script of the project to its end."""
    return start([str(word) for word in words], folder, env=env).wait()


def start_ranks(
    size: int, *words: str | Path, folder: Path, name: str = "rank", told: Path | None = None
) -> list[Warm]:
    """Start a script once for each rank, with what torchrun's agent tells a rank under launch.sh, and no agent.

    They meet in a file of `folder`, by `name`, which no other ranks may have. `told` is a file that takes the notes
    which they would send to their supervisor; without it they print why they fail.
    """
    launch = Launch(parent=os.getpid(), store=str(folder / f"{name}.store"), notes=str(told or ""))
    shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": 1, "TORCHELASTIC_RUN_ID": name}
    started = []
    for rank in range(size):
        place = {key: str(value) for key, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
        env = {**place, **as_variable(launch)}
        started.append(start([str(word) for word in words], folder, f"{name}-{rank}", env))
    return started


def _become(words: list[str], env: dict[str, str], out: str, err: str) -> None:
    """Turn the forked process into one that has been started with these words, as far as a script can see."""
    os.chdir(PROJECT)
    sys.path.insert(0, str(PROJECT))
    for descriptor, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    multiprocessing.process.current_process()._config["daemon"] = False  # a script may start processes of its own
    processes.become(words, env)
