"""Train in one process and write a record to results/.

python baseline_train.py --epochs 3
"""

from ddpbench import startup  # first of all: it tells when Python was up, before torch's import takes its time

# isort: split
from torch.nn import DataParallel

from ddpbench import config, data, engine, errors, files, models, world


def main() -> None:
    """Build everything, then fit."""
    startup.reached("imports")
    cfg = config.parse(doc=__doc__, refuse={"comm": "is for ddp_train.py"})
    files.require_writable(cfg.results)
    here = world.solo(cfg)
    batches = data.Batches(data.load(cfg), cfg, here)
    with here:
        net = models.build(cfg).to(here.device)
        if cfg.data_parallel:
            net = DataParallel(net)
        engine.fit(net, batches, cfg, here, kind="data_parallel" if cfg.data_parallel else "baseline")


if __name__ == "__main__":
    errors.run(main)
