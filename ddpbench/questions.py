"""What the orchestrator asks the one process of a study that imports torch before the runs do, and what it answers."""

from typing import Literal

import msgspec

from ddpbench.record import Comm, Environment
from ddpbench.settings import Settings


class Describe(msgspec.Struct, frozen=True, tag="describe"):
    """Is there all that a run of these flags needs? The data is fetched where it is missing."""

    flags: list[str]


class Check(msgspec.Struct, frozen=True, tag="check"):
    """Can so many ranks of this machine train with these flags?"""

    flags: list[str]
    ranks: int


class Machine(msgspec.Struct, frozen=True, tag="machine"):
    """What there is to train, and on what."""

    environment: Environment
    settings: Settings  # of a run with these flags, all of them resolved
    device: Literal["cpu", "cuda"]
    comm: Comm  # the fastest that fits, or the one that was asked for
    gpus: int  # 0 where it trains on the CPU
    parameters: int
    num_train: int
    num_test: int
    start_s: float  # from the start of Python until the data is there


class Fine(msgspec.Struct, frozen=True, tag="fine"):
    """It can."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """What a run would refuse, in one line, and its exit code."""

    why: str
    code: int


Question = Describe | Check
Reply = Machine | Fine | Refused
