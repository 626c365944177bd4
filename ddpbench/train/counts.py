"""How much one loss counts in the mean that is trained on.

A task returns the sum of the losses of a batch and their number. DistributedDataParallel averages the gradients of
ranks. So every rank scales the gradient of its sum by ranks / (number over all ranks); the average is then the gradient
of the mean over all losses, also where ranks hold unlike numbers of them, such as tokens that are no padding.
"""

import torch
from torch import Tensor

from ddpbench.errors import TrainingError
from ddpbench.train.world import World


class Counts:
    """The scale of each step on this rank.

    A number that is an int is known without looking at the batch: it must be the same in every step, and is on all
    ranks alike. One in a tensor may differ, and is added up over the ranks that combine gradients in every step.
    """

    def __init__(self, here: World | None = None) -> None:
        """Count alone, or with the ranks of `here`."""
        combines = here is not None and here.size > 1 and here.comm not in (None, "none", "nothing")
        self._others = here if combines else None
        self._number: int | None = None
        self._share = torch.ones(())

    def share(self, total: Tensor, count: int | Tensor) -> Tensor:
        """Return what one loss counts, as a tensor without dimensions of the type of `total`.

        Raises TrainingError where a number that is an int changes from step to step.
        """
        if not isinstance(count, Tensor):
            if count != self._number:
                self._keep(total, int(count))
            return self._share
        number = count.detach().to(total.dtype)
        if self._others is None:
            return 1 / number
        return self._others.size / self._others.add_up(number)

    def _keep(self, total: Tensor, count: int) -> None:
        if self._number is not None:
            raise TrainingError(
                f"loss() of the task returned the number {count} after {self._number}; a number that differs from "
                "batch to batch must be a tensor, because workers add theirs up"
            )
        if count < 1:
            raise TrainingError(f"loss() of the task returned the number {count}; it must be at least 1")
        self._number, self._share = count, torch.tensor(1 / count, dtype=total.dtype, device=total.device)
