"""The check of a task before it is measured: whether it fits, and whether workers compute what one process computes.

`space` looks at memory, `alone` at what one process shows, and `together` at what only all workers show.
"""

import time
from collections.abc import Sequence

from ddpbench.config import TrainConfig
from ddpbench.findings import Check, sentence
from ddpbench.tasks.task import Data, Task
from ddpbench.train import alone, space
from ddpbench.train.together import Together, agreed
from ddpbench.train.world import World
from ddpbench.turns import TurnArm


def examine(task: Task, data: Data, cfg: TrainConfig, here: World, arms: Sequence[TurnArm] = ()) -> Check:
    """Check a task for training by these workers. A collective. Generators of random numbers stay as they are.

    `arms` are those that are then there at the same time. Raises UserError, on every rank, where the task cannot be
    trained, or not by workers.
    """
    begin = time.perf_counter()
    with alone.kept(here.device):
        agreed(here, lambda: _require_space(task, data, cfg, here, arms))
        found = agreed(here, lambda: alone.examine(task, data, cfg, here.size) if here.is_main else None)
        equal, said = Together(task, data, cfg, here).compare(found)
    took_s = time.perf_counter() - begin
    return Check(equal_gradient=equal, findings=[sentence(text) for text in said], took_s=took_s)


def _require_space(task: Task, data: Data, cfg: TrainConfig, here: World, arms: Sequence[TurnArm]) -> None:
    local_rank = here.rank % here.local_size
    if arms and (local_rank == 0 or here.device.type == "cuda"):
        space.require_all(space.sizes_of(task.step(cfg).net, data, cfg), arms, here.device, local_rank)
