"""Train under torchrun with DistributedDataParallel and write a record to results/.

torchrun --nproc_per_node=2 ddp_train.py --epochs 3
"""

from ddpbench.train import life

process = life.begin()  # first of all: before the imports below, which take a second

from ddpbench import config, files
from ddpbench.comm import ddp
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches


def main() -> None:
    """Build everything, then fit."""
    cfg = config.parse(doc=__doc__, refuse=config.OF_ONE_PROCESS)
    here = world.join(cfg, process)
    files.claim(cfg.results, writer=here.is_main)
    batches = Batches.load(cfg, here)  # this rank's, before ranks can wait for others
    with here:
        step = batches.task.step(cfg).to(here.device)  # the network and its loss
        net = ddp.wrap(step, here, here.comm)  # in DistributedDataParallel, but for a control
        engine.fit(net, batches, cfg, here, kind="ddp")


if __name__ == "__main__":
    process.run(main)
