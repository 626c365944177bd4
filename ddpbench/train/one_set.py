"""Whether every host has the same data: looked at before the first step, on several hosts alone."""

import torch

from ddpbench.errors import DataError
from ddpbench.tasks.samples import tensors_of
from ddpbench.train import alone
from ddpbench.train.batches import Batches
from ddpbench.train.together import digest
from ddpbench.train.world import World

SAMPLES = 64  # that are compared, evenly spread


def require(batches: Batches, here: World) -> None:
    """Raise DataError, on every rank, where a rank has other samples than rank 0. A collective; one host needs none."""
    if here.hosts == 1:
        return
    data = batches.data
    number = len(data.train)
    # In single precision the last one would be none of the samples, where there are more than 2^24.
    order = torch.linspace(0, number - 1, min(SAMPLES, number), dtype=torch.float64).long()
    own = [str(number), str(len(data.test)), digest(tensors_of(alone.take(data, order, here.device)))]
    rows = here.gather(own)
    for rank, row in enumerate(rows):
        if row != rows[0]:
            host = rank // here.local_size
            what = f"{int(row[0]):,} samples to train on and {int(row[1]):,} to test on"
            there = f"host 0 has {int(rows[0][0]):,} and {int(rows[0][1]):,}"
            apart = f"{what}; {there}" if row[:2] != rows[0][:2] else "as many samples, and other ones"
            cure = "give all hosts the same files (--data-dir)"
            raise DataError(f"host {host} has other data than host 0: {apart}; {cure}")
