"""DDP exchanges gradients in buckets while backward still computes others: what of that costs time.

1. Backward is taken to be two thirds of computing, and to finish the same number of bytes in every moment. Which layer
   has how many is not in a record.
2. DDP sends a first bucket of 1 MiB and then buckets of 25 MiB, one after the other, each as soon as it is complete.
3. What is sent before backward ends is hidden. The rest is exposed: the optimizer waits for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddpbench.predict.draws import Values

FIRST_BYTES, BUCKET_BYTES = 2**20, 25 * 2**20  # DistributedDataParallel's own sizes
BACKWARD = 2 / 3  # of computing: backward has two products of matrices where forward has one


@dataclass(frozen=True, slots=True)
class Sent:
    """The exchange of one bucket."""

    size_bytes: float
    seconds: Values
    exposed_s: Values  # of these: while nothing else is done


def sizes(total_bytes: float) -> list[float]:
    """Return the bytes of each bucket, in the order in which they are sent."""
    found, left, size = list[float](), total_bytes, float(FIRST_BYTES)
    while left > 0:
        found.append(min(left, size))
        left, size = left - found[-1], float(BUCKET_BYTES)
    return found


def send(buckets: Sequence[float], compute_s: Values, seconds: Callable[[float], Values], parts: int = 1) -> list[Sent]:
    """Return the exchanges of one step. `parts`: of a batch, of which gradients of the last alone are sent."""
    backward_s = BACKWARD * compute_s / parts
    total, ready, free_s = sum(buckets), 0.0, np.zeros_like(compute_s)
    sent = []
    for size_bytes in buckets:
        ready += size_bytes / total
        took_s = seconds(size_bytes)
        before_s = np.maximum(free_s, backward_s)
        free_s = np.maximum(free_s, ready * backward_s) + took_s
        sent.append(Sent(size_bytes, took_s, np.maximum(free_s, backward_s) - before_s))
    return sent
