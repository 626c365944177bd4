"""Train in one process and write a record to results/.

python baseline_train.py --epochs 3
"""

from ddpbench.train import life

process = life.begin()  # first of all: before the imports below, which take a second

from ddpbench import config, files
from ddpbench.train import engine, world
from ddpbench.train.batches import Batches


def main() -> None:
    """Build everything, then fit."""
    cfg = config.parse(doc=__doc__, refuse=config.OF_RANKS)
    here = world.solo(cfg, process)
    files.claim(cfg.results, writer=here.is_main)
    batches = Batches.load(cfg, here)
    with here:
        step = batches.task.step(cfg).to(here.device)  # the network and its loss
        net = world.alone(step, here.device, cfg.kind)  # or compiled, or in nn.DataParallel
        engine.fit(net, batches, cfg, here, kind=cfg.kind)


if __name__ == "__main__":
    process.run(main)
