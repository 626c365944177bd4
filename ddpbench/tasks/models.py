"""Networks by name. None has batch norm or dropout: two ranks can then be proved to learn what one learns."""

import hashlib
from collections.abc import Callable

import torch
from torch import nn

from ddpbench.config import TrainConfig


def mlp(classes: int) -> nn.Module:
    """784-128-10: 101,770 parameters, the network of the original experiment."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, classes))


def cnn(classes: int) -> nn.Module:
    """Two convolutions and two linear layers: 56,826 parameters, past 99 % on MNIST in three epochs."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=4, stride=2),  # 28 -> 13
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3),  # 13 -> 11
        nn.MaxPool2d(2),  # 11 -> 5
        nn.ReLU(),  # after the pooling, where it is the same function of a quarter of the numbers
        nn.Flatten(),
        nn.Linear(32 * 5 * 5, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def cnn_small(classes: int) -> nn.Module:
    """A third of the cnn's time a step and 38,538 parameters: the quickest of a dozen that we tried to reach 99 %."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=5, stride=2),  # 28 -> 12
        nn.MaxPool2d(2),  # 12 -> 6
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3),  # 6 -> 4
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"mlp": mlp, "cnn": cnn, "cnn-small": cnn_small}


def dtype(cfg: TrainConfig) -> torch.dtype:
    """Return the type of weights and images. bf16 keeps both in fp32 and rounds inside autocast."""
    return torch.float64 if cfg.precision == "fp64" else torch.float32


def memory_format(cfg: TrainConfig) -> torch.memory_format:
    """Return the layout of convolution weights; an image of one channel has the same bytes in either."""
    return torch.channels_last if cfg.channels_last else torch.contiguous_format


def build(cfg: TrainConfig, classes: int = 10) -> nn.Module:
    """Build the network on the CPU. The seed alone decides its weights: every rank starts equal."""
    torch.manual_seed(cfg.seed)
    return NETWORKS[cfg.model](classes).to(dtype(cfg)).to(memory_format=memory_format(cfg))


def bare(net: nn.Module) -> nn.Module:
    """Return the network inside DistributedDataParallel or DataParallel, or `net` itself."""
    inner = getattr(net, "module", net)
    assert isinstance(inner, nn.Module)
    return inner


def num_parameters(net: nn.Module) -> int:
    """Count the trained numbers of a network."""
    return sum(p.numel() for p in net.parameters())


def checksum(net: nn.Module) -> int:
    """Return 48 bits of the SHA-256 of all weights: equal on ranks that have equal bits, exact in double precision."""
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:6], "big")
