"""What is done to gradients once ranks have combined them, before the optimizer changes the weights.

--precision fp16 takes the scale of the loss out of them, and --clip limits their norm. Both are in one hook of the
optimizer: the training loop stays as it is, and a task's own optimizer has it too. Where neither is asked for, there is
no hook. All ranks have the same gradients by then, so they all do the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from ddpbench.config import TrainConfig
from ddpbench.errors import DataError, NumericalError

# As torch.amp.GradScaler has them: the first scale, and how it changes after a step that is left out or a long streak.
FIRST, BACKOFF, GROWTH, STREAK = 2.0**16, 0.5, 2.0, 2_000
LEAST = 2.0**-24  # a scale so small would help no network: its gradients are not finite in any case


class LossScale:
    """What the loss is multiplied by in fp16, so that small gradients do not become 0. It changes as in GradScaler.

    A step whose gradients are not finite is left out, and the scale is halved. After 2,000 steps without such a step it
    is doubled.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.full((), FIRST, device=device)
        self.streak = torch.zeros((), dtype=torch.int32, device=device)  # steps since the scale changed
        self._found = torch.zeros((), device=device)  # 1 where a gradient of this step is not finite

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide gradients by the scale, choose the next one, and see to it that a step is left out where it must be.

        Raises NumericalError where no scale helps.
        """
        parameters = parameters_of(optimizer)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self._found.zero_()
        inverse = self.factor.double().reciprocal().float()
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, self._found, inverse)
        torch._amp_update_scale_(self.factor, self.streak, self._found, GROWTH, BACKOFF, STREAK)
        if _skips_by_itself(optimizer, self._found.device):
            optimizer.found_inf = self._found  # type: ignore[attr-defined]
        elif self._found.item():
            for parameter in parameters:  # an optimizer leaves parameters without a gradient as they are
                parameter.grad = None
            if self.factor.item() < LEAST:
                raise NumericalError(
                    "a gradient is not a finite number, however the loss is scaled; "
                    "use a lower --lr, or --precision bf16"
                )

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps, by name."""
        return {"scale.factor": self.factor, "scale.streak": self.streak}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what a checkpoint kept. Raises DataError where that is no scale."""
        for name, own in self.tensors().items():
            value = tensors.get(name)
            if value is None or (value.shape, value.dtype) != (own.shape, own.dtype):
                raise DataError("the checkpoint lacks the scale of the loss in fp16; start anew, without --resume")
            own.copy_(value)


def prepare(optimizer: Optimizer, cfg: TrainConfig) -> None:
    """Let an optimizer unscale and clip gradients before each of its steps, where this is asked for."""
    scale = LossScale(parameters_of(optimizer)[0].device) if cfg.precision == "fp16" else None
    limit = cfg.clip

    def before_step(optimizer: Optimizer, *_: object) -> None:
        if scale is not None:
            scale.unscale(optimizer)
        if limit is not None:
            clip_grad_norm_(parameters_of(optimizer), limit, foreach=True)

    if scale is not None:
        optimizer.loss_scale = scale  # type: ignore[attr-defined]  # a checkpoint finds it there
    if scale is not None or limit is not None:
        optimizer.register_step_pre_hook(before_step)


def scale_of(optimizer: Optimizer) -> LossScale | None:
    """Return the scale of the loss whose gradients this optimizer gets; None where the loss is not scaled."""
    found = getattr(optimizer, "loss_scale", None)
    return found if isinstance(found, LossScale) else None


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that an optimizer changes."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _skips_by_itself(optimizer: Optimizer, device: torch.device) -> bool:
    """Whether an optimizer looks at `found_inf` on the device, so that nobody waits for it: torch's fused ones do.

    But a first step that is left out in this way would leave SGD with momentum that nothing was ever written to.
    """
    if device.type == "cpu" or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return False
    return any(optimizer.state.values()) or not any(group.get("momentum") for group in optimizer.param_groups)
