"""Networks for images of 28 x 28 pixels, by name.

None has batch norm or dropout, so that two ranks can be proved to learn what one process learns.
"""

from collections.abc import Callable

from torch import nn


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
