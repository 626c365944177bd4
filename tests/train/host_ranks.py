"""Ranks of two hosts that are pretended on this machine, in which arms of several layouts take turns.

python -m tests.train.host_ranks    in the environment that torchrun would make for a rank of one machine
"""

import os

import msgspec
import torch

from ddpbench.arm import Arm
from ddpbench.config import TrainConfig
from ddpbench.tasks import task
from ddpbench.train.contenders import Contender
from ddpbench.train.life import Life
from ddpbench.train.turns import Rounds
from ddpbench.train.world import World
from ddpbench.turns import TurnArm, Visits

LOCAL_SIZE, HOSTS = 2, 2
CFG = TrainConfig(dataset="synthetic", model="mlp", global_batch=240, device="cpu", threads=1)
ARMS = {
    "alone": Arm("baseline", 1, 1, None),
    "one host": Arm("ddp", 2, 1, "shm"),
    "single ranks": Arm("ddp", 2, 1, "gloo", HOSTS),
    "all, gloo": Arm("ddp", 4, 1, "gloo", HOSTS),
    "all, shm+gloo": Arm("ddp", 4, 1, "shm+gloo", HOSTS),
    "control": Arm("ddp", 4, 1, "none", HOSTS),
}
TURNS = {name: TurnArm(arm=arm, global_batch=CFG.global_batch) for name, arm in ARMS.items()}


class Told(msgspec.Struct):
    """What one rank says of a launch."""

    weights: dict[str, str]  # a digest after the same steps, by the name of the arm; only of arms that it is a rank of
    visits: list[Visits]


def main() -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    rank = int(os.environ["RANK"])
    here = World(rank, HOSTS * LOCAL_SIZE, LOCAL_SIZE, torch.device("cpu"), "gloo", Life())
    with here:
        data = task.of(CFG).data(CFG)
        contenders = {name: Contender(turn, data, CFG, here) for name, turn in TURNS.items()}
        rounds = Rounds([*contenders.values()], here, 0)
        rounds.run(0.0)  # a step that does not count and one that does
        taking_part = {name: each for name, each in contenders.items() if each.takes_part}
        weights = {name: each._state.weights_sha256().hex() for name, each in taking_part.items()}
        print(msgspec.json.encode(Told(weights, rounds.visits())).decode(), flush=True)
        rounds.close()
        here.barrier()


if __name__ == "__main__":
    Life().run(main)
