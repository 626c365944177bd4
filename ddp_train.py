"""Train under torchrun with DistributedDataParallel and write a record to results/.

torchrun --nproc_per_node=2 ddp_train.py --epochs 3
"""

from ddpbench.train import process

process.begin()  # first of all: before the imports below, which take a second

from torch.nn.parallel import DistributedDataParallel

from ddpbench import config, files
from ddpbench.comm import shm
from ddpbench.tasks import models
from ddpbench.train import data, engine, startup, world


def main() -> None:
    """Build everything, then fit."""
    startup.reached("imports")
    cfg = config.parse(doc=__doc__, refuse={"data_parallel": "is for baseline_train.py"})
    here = world.join(cfg)
    files.claim(cfg.results, writer=here.is_main)
    batches = data.Batches(data.load(cfg), cfg, here)  # this rank's; loaded before ranks can wait for each other
    with here:
        net = models.build(cfg).to(here.device)
        if here.comm != "none":  # the control: replicas that never communicate
            net = ddp = DistributedDataParallel(net, gradient_as_bucket_view=True)
            if here.comm == "shm":  # ranks of one machine: shared memory in place of gloo's sockets
                ddp.register_comm_hook(*shm.hook(here))
        engine.fit(net, batches, cfg, here, kind="ddp")


if __name__ == "__main__":
    world.run(main)
