"""Tasks of a user for the tests of the check: each is PLAIN, with what it defines again."""

from pathlib import Path

from ddpbench.config import TrainConfig
from ddpbench.tasks import task
from ddpbench.train.alone import Alone, examine

PLAIN = """
import random
import torch
from torch import nn
from torch.nn import functional as F

def model(): return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

def data():
    draw = torch.Generator().manual_seed(1)
    train = torch.randn(96, 8, generator=draw), torch.randint(3, (96,), generator=draw)
    return train, train

def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1], reduction="sum"), len(batch[1])
"""
# Sentences of 2 to 12 words; 0 is padding.
WORDS = """
class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(9, 8), nn.Linear(8, 9)
    def forward(self, x): return self.out(self.words(x).cumsum(1))

def model(): return Words()

def data():
    draw = torch.Generator().manual_seed(1)
    words = torch.randint(1, 9, (96, 13), generator=draw)
    length = torch.randint(2, 13, (96, 1), generator=draw)
    return (words * (torch.arange(13) <= length),) * 2
"""
NORMS = "def model(): return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))"
CONTRASTIVE = """
def loss(net, batch):
    x = F.normalize(net(batch[0]), dim=1)
    return F.cross_entropy(x @ x.roll(1, 1).T / 0.1, torch.arange(len(x)), reduction="sum"), len(x)
"""


def checked(folder: Path, text: str = "", ranks: int = 2, budget_s: float = 600.0) -> Alone:
    """Check a task that is PLAIN but for some text, in batches of 32."""
    path = folder / "my_task.py"
    path.write_text(PLAIN + text)
    cfg = TrainConfig(task=str(path), global_batch=32, device="cpu")
    found = task.of(cfg)
    return examine(found, found.data(cfg), cfg, ranks, budget_s)
