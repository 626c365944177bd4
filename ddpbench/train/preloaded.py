"""What the server of `study.warm` imports before it forks launches: torch, and all else that their ranks need."""

from ddpbench import environment, processes

processes.remove_folder_at_end()
environment.usable_cores()  # counted and kept before torch is there: a library may bind this thread to one core

from ddpbench.train import contenders as contenders  # noqa: E402 - torch comes with it
