"""Ranks that check several tasks, one after the other, and print what each is told: a line of JSON for each task.

python -m tests.train.check_ranks FILE ...    in the environment that torchrun would make for a rank
"""

import sys

import msgspec

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.findings import Check
from ddpbench.tasks import task
from ddpbench.train import world
from ddpbench.train.check import examine
from ddpbench.train.life import Life


class Told(msgspec.Struct):
    """What one rank is told about a task: the check, or why there is none."""

    check: Check | None = None
    error: str = ""


def main() -> None:
    configurations = [TrainConfig(task=path, global_batch=32, device="cpu", threads=1) for path in sys.argv[1:]]
    with world.join(configurations[0]) as here:
        for cfg in configurations:
            found = task.of(cfg)
            try:
                told = Told(check=examine(found, found.data(cfg), cfg, here))
            except UserError as problem:
                told = Told(error=str(problem))
            print(msgspec.json.encode(told).decode(), flush=True)


if __name__ == "__main__":
    Life().run(main)
