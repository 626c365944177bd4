"""How much one loss counts in the mean that is trained on.

A task returns the sum of the losses of a batch and their number. DistributedDataParallel averages the gradients of
ranks. So every rank scales the gradient of its sum by ranks / (number over all ranks); the average is then the gradient
of the mean over all losses, also where ranks hold unlike numbers of them, such as tokens that are no padding.

A step may have several parts, whose gradients are added up. The mean is one over the losses of all its parts.
"""

import torch
from torch import Tensor

from ddpbench.errors import TrainingError
from ddpbench.train.world import World


class Counts:
    """The scale of each step on this rank.

    A number that is no tensor is known without looking at the batch: it must be the same in every step and part, and is
    on all ranks alike. One in a tensor may differ, and is added up over the ranks that combine gradients in every step.
    """

    def __init__(self, here: World | None = None, parts: int = 1) -> None:
        """Count alone, or with the ranks of `here`, in steps of so many parts."""
        combines = here is not None and here.size > 1 and here.comm not in (None, "none", "nothing")
        self._others = here if combines else None
        self._parts = parts
        self._number: float | None = None
        self._share = torch.ones(())
        # Of the step that is under way, where numbers are tensors: that of its earlier parts, and what was guessed.
        self._earlier: tuple[Tensor, Tensor] | None = None

    def share(self, total: Tensor, count: float | Tensor) -> Tensor:
        """Return what one loss counts, as a tensor without dimensions of the type of `total`.

        `count` is the number of the whole step where it is a tensor, and of each of its parts where it is none.
        Raises TrainingError where a number that is no tensor changes.
        """
        if not isinstance(count, Tensor):
            if count != self._number:
                self._keep(total, count)
            return self._share
        number = _beside(total, count)
        if self._others is None:
            return 1 / number
        return self._others.size / self._others.add_up(number)

    def early_share(self, total: Tensor, count: float | Tensor) -> Tensor:
        """Return what one loss counts in a part of a step before its last.

        Where numbers are tensors it is a guess, the same in all of these parts, because later parts are not known yet.
        """
        if not isinstance(count, Tensor):
            return self.share(total, count)
        number = _beside(total, count)
        if self._earlier is None:
            guess = 1 / (self._parts * number.clamp(min=1))
        else:
            number, guess = number + self._earlier[0], self._earlier[1]
        self._earlier = number, guess
        return guess

    def last_share(self, total: Tensor, count: float | Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what one loss counts in this step, once its last part is there.

        The second value is what the gradients of its earlier parts must be multiplied by; None: they are right.
        """
        if isinstance(count, Tensor) == (self._earlier is None):
            raise TrainingError("loss() of the task returned its number as a tensor and as none; return a tensor")
        if not isinstance(count, Tensor) or self._earlier is None:
            return self.share(total, count), None
        (number, guess), self._earlier = self._earlier, None
        share = self.share(total, number + _beside(total, count))
        return share, share / guess

    def _keep(self, total: Tensor, count: float) -> None:
        if self._number is not None:
            raise TrainingError(
                f"loss() of the task returned the number {count} after {self._number}; a number that differs from "
                "batch to batch must be a tensor, because workers add theirs up"
            )
        if not count >= 1:  # nor is it a number where it is NaN
            raise TrainingError(f"loss() of the task returned the number {count}; it must be at least 1")
        share = 1 / (count * self._parts)
        self._number, self._share = count, torch.tensor(share, dtype=total.dtype, device=total.device)


def _beside(total: Tensor, count: Tensor) -> Tensor:
    """Return the number of a loss in the type and the memory of its sum: a task may count on the CPU."""
    return count.detach().to(total.device, total.dtype)
