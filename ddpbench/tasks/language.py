"""A small GPT that continues text, byte by byte. The text is on every machine: the source of Python's standard library.

It differs from one version of Python to the next: compare runs of one version.
"""

import math
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from ddpbench.errors import UserError

batch, epochs = 64, 3  # a sample is a piece of text
test_batch = 128
lr = 0.003
margin, lower_is_better = 0.1, True  # of perplexity
score = math.exp  # of the mean loss of a byte
BYTES = 256


class Block(nn.Module):
    """Attention to what came before, then two layers for each byte."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return what every byte, [samples, length, width], becomes."""
        samples, length, width = x.shape
        heads = self.attention(self.norm_1(x)).view(samples, length, 3 * self.heads, width // self.heads)
        query, key, value = heads.transpose(1, 2).chunk(3, dim=1)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.mixed(seen.transpose(1, 2).reshape(x.shape)))
        found: Tensor = x + self.dropout(self.layers(self.norm_2(x)))
        return found


class Gpt(nn.Module):
    """A byte's embedding is also the row of weights that scores it as the next byte: the two are tied."""

    def __init__(self, context: int, width: int, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(BYTES, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.scores = nn.Linear(width, BYTES, bias=False)
        for each in (self.embed, self.places):
            nn.init.normal_(each.weight, std=0.02)
        self.scores.weight = self.embed.weight

    def forward(self, text: Tensor) -> Tensor:
        """Return the scores of the byte after each, [samples, length, 256]."""
        places = torch.arange(text.shape[1], device=text.device)
        scores: Tensor = self.scores(self.blocks(self.embed(text) + self.places(places)))
        return scores


def model(context: int = 64, width: int = 64, layers: int = 2, heads: int = 2, dropout: float = 0.0) -> nn.Module:
    """Return the network: 120,000 parameters by default."""
    if width % heads:
        near = width // heads * heads or heads
        raise UserError(f"--set width={width} does not divide over {heads} heads; use {near}")
    return Gpt(context, width, [Block(width, heads, dropout) for _ in range(layers)])


def data(context: int = 64, train_bytes: int = 1_000_000, test_bytes: int = 100_000) -> tuple[Tensor, Tensor]:
    """Return pieces of text to train on, and those to test with, which are from other modules."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = [path for name in sorted(sys.stdlib_module_names) if (path := folder / f"{name}.py").is_file()]
    train = [path for index, path in enumerate(files) if index % 10]
    return _pieces(train, "train_bytes", train_bytes, context), _pieces(files[::10], "test_bytes", test_bytes, context)


def loss(net: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
    """Return the sum of the losses of all bytes but the first of each piece, and how many were summed."""
    text = batch.long()
    targets = text[:, 1:].flatten()
    return F.cross_entropy(net(text[:, :-1]).flatten(0, 1), targets, reduction="sum"), len(targets)


def metric(net: nn.Module, batch: Tensor) -> dict[str, tuple[Tensor, int]]:
    """Return the sum of the losses and their number: `score` makes perplexity of the mean over the whole test set."""
    return {"perplexity": loss(net, batch)}


def _pieces(files: Sequence[Path], name: str, size: int, context: int) -> Tensor:
    """Return the first `size` bytes of some files in pieces. Each begins with the last byte of the one before."""
    text = b"".join(path.read_bytes() for path in files)
    if not context < size <= len(text):
        bounds = f"above the context, {context}, and at most {len(text)}, which is all there is"
        raise UserError(f"--set {name}={size}: it must be {bounds}")
    return torch.frombuffer(bytearray(text[:size]), dtype=torch.uint8).unfold(0, context + 1, context).contiguous()
