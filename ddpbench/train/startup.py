"""How far a process has come on its way to its first training step."""

import os
import time

from ddpbench import processes

PARTS = ("interpreter", "imports", "data", "rendezvous", "build")  # one after the other; see record.Startup


class StartUp:
    """The moments at which the parts of a start-up ended. It is made when Python runs the script."""

    def __init__(self) -> None:
        self._ends = {"interpreter": time.monotonic()}

    def reached(self, part: str) -> None:
        """Note that a part of start-up ends now. Only the first call for a part counts."""
        self._ends.setdefault(part, time.monotonic())

    def parts_s(self, *, with_parent: bool) -> dict[str, float]:
        """Return the seconds of each part so far, and first those of the launcher: 0 unless the parent is torchrun."""
        begin = processes.born(os.getpid())
        launcher_s = max(0.0, begin - processes.born(os.getppid())) if with_parent else 0.0
        parts = {"launcher_s": launcher_s}
        for part in PARTS:
            end = max(begin, self._ends.get(part, begin))
            parts[f"{part}_s"], begin = end - begin, end
        return parts


def alive_s(*, with_parent: bool) -> float:
    """Return the seconds since this process began; with its parent, since torchrun began."""
    return time.monotonic() - processes.born(os.getppid() if with_parent else os.getpid())
