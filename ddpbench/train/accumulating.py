"""The passes of each step: forward, and where its batch has several parts, backward too for all parts but the last.

--accumulate K cuts the batch of a rank into K parts, which are computed one after the other. Their gradients add up in
the parameters. Ranks combine them once, in the backward pass of the last part, which the training loop takes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.nn.parallel import DistributedDataParallel

from ddpbench.tasks.samples import Batch
from ddpbench.train.counts import Counts
from ddpbench.train.gradients import LossScale

Precision = AbstractContextManager[object]
# The sum of a step's losses; the sum of the losses of its last part, to go backward from; what one loss counts.
Passed = tuple[Tensor, Tensor, Tensor]


class Passes:
    """Takes the passes of a network. Each step begins without gradients, and leaves its last backward pass to do."""

    def __init__(self, net: nn.Module, counts: Counts, scale: LossScale | None, parts: int) -> None:
        self._net, self._counts, self._scale, self._parts = net, counts, scale, parts
        self._parameters = list(net.parameters())

    def of(self, batches: Iterator[Batch], precision: Precision) -> Iterator[Passed]:
        """Yield what the passes of each step come to. A step takes as many batches as it has parts."""
        return self._whole(batches, precision) if self._parts == 1 else self._in_parts(batches, precision)

    def _whole(self, batches: Iterator[Batch], precision: Precision) -> Iterator[Passed]:
        net, counts = self._net, self._counts
        for batch in batches:
            with precision:
                total, count = net(batch)  # of the losses of this batch
            self._forget_gradients()
            yield total.detach(), self._scaled(total), counts.share(total, count)

    def _in_parts(self, batches: Iterator[Batch], precision: Precision) -> Iterator[Passed]:
        net, counts = self._net, self._counts
        for first in batches:
            sums = list[Tensor]()
            with self._not_combined():
                for batch in chain([first], islice(batches, self._parts - 2)):
                    with precision:
                        total, count = net(batch)
                    if not sums:
                        self._forget_gradients()
                    sums.append(total.detach())
                    self.backward(self._scaled(total), counts.early_share(total, count))
            with precision:
                total, count = net(next(batches))
            share, correction = counts.last_share(total, count)
            if correction is not None:
                self._multiply_gradients(correction)
            yield sum(sums, start=total.detach()), self._scaled(total), share

    @staticmethod
    def backward(total: Tensor, share: Tensor) -> None:
        """Add the gradients of a sum of losses, of which each counts `share`, to those of the parameters.

        It is total.backward(share) without what that does beside: it imports sympy, for half a second, to compare two
        shapes, which takes 10 us of every step.
        """
        _engine_run_backward((total,), (share,), False, False, (), allow_unreachable=True, accumulate_grad=True)

    def _scaled(self, total: Tensor) -> Tensor:
        return total if self._scale is None else total * self._scale.factor

    def _not_combined(self) -> Precision:
        """Return the context of passes whose gradients are not combined yet."""
        return self._net.no_sync() if isinstance(self._net, DistributedDataParallel) else nullcontext()

    def _forget_gradients(self) -> None:
        for parameter in self._parameters:  # optimizer.zero_grad() does the same and takes 5 % of a step at batch 16
            parameter.grad = None

    def _multiply_gradients(self, factor: Tensor) -> None:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))
