"""Launches of turns, forked from a process that has torch: a launch then starts in two seconds and not in six.

The server is the standard library's forkserver: it imports torch once, forks each launch, and ends with this process
and the launches. Its socket is in a temporary folder, which it removes where this process was killed.
Whole runs are not started in this way, because their start-up is measured.
"""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from multiprocessing import util
from pathlib import Path

from msgspec.structs import replace

from ddpbench import notes, processes
from ddpbench.notes import Launch
from ddpbench.processes import FOLDER
from ddpbench.study.runner import LOOK_EVERY_S, Program, Spawn, ignore_interrupts, lead_output

IMPORTED = "ddpbench.train.preloaded"


class Server:
    """Starts programs of this project in processes that have torch. It starts with the first of them."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([IMPORTED])

    def spawn(self, program: Program) -> Spawn:
        """Return what starts a Python program, as `Program.start` does."""

        def start(launch: Launch) -> Forked:
            _, *words = program.command
            told = replace(launch, has_torch=True)
            process = self._context.Process(target=_become, args=(words, program.environment(told), program.log, told))
            os.environ[FOLDER] = util.get_temp_dir()  # for the server, if it is started now
            try:
                process.start()
            except (EOFError, OSError):  # the server has been killed, and the standard library did not know it yet
                time.sleep(LOOK_EVERY_S)
                process.start()
            finally:
                del os.environ[FOLDER]
            return Forked(process)

        return start


class Forked:
    """A process of the server's, as a supervisor sees it: a runner.Child."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code; negative: killed by that signal. Raises TimeoutExpired after so many seconds."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self._process.name), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send it a signal, which can only be SIGTERM."""
        assert sig == signal.SIGTERM, "a supervisor sends no other"
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


def _become(words: Sequence[str], environment: Mapping[str, str], log: Path | None, launch: Launch) -> None:
    """Turn this new process into a Python that runs `words`, as far as a program can see."""
    ignore_interrupts()
    told = notes.as_variable(replace(launch, parent=os.getppid()))  # the server: the kernel tells of its end
    lead_output(log)
    processes.become([*words], {**environment, **told})
