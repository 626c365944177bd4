"""How a process begins that the check asks: `worker` and `exchange`."""

import os
import signal
import sys
from typing import BinaryIO

from ddpbench import environment, processes


def begin() -> BinaryIO:
    """End with the process that asks, and return the file for answers, whose descriptor is this process's argument."""
    processes.end_with_parent(signal.SIGKILL)
    processes.ignore([signal.SIGINT])  # the check hears it, and ends this process
    environment.usable_cores()  # counted and kept now: a library may bind this thread to one core when it is imported
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    return os.fdopen(descriptor, "wb", buffering=0)
