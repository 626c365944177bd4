"""What a command works with: a screen, the signal to stop, and a way to start programs, on this host or on several."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ddpbench.study.runner import Program, Spawn, Stop
from ddpbench.study.runner import Stopped as Stopped
from ddpbench.study.screen import Screen
from ddpbench.study.warm import Server

Spawner = Callable[[Program], Spawn]


def _here(spawn: Spawner) -> Spawner:
    return spawn


@dataclass(frozen=True)
class Desk:
    """What a command works with. By itself it is that of a job on one host."""

    screen: Screen = field(default_factory=Screen)
    stop: Stop = field(default_factory=Stop)
    hosts: int = 1
    on_all: Callable[[Spawner], Spawner] = _here  # of what starts a program here: what starts it on all hosts

    @property
    def start(self) -> Spawner:
        """What starts a program in a process of its own."""
        return self.on_all(Program.spawn)

    @property
    def fork(self) -> Spawner:
        """What forks a program from a process that has torch."""
        return self.on_all(Server().spawn)
