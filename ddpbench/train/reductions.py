"""How long a rank waits for the reduction of gradients, timed inside the run. It checks what the controls say.

Exposed communication is the time from a rank's last gradient, when it has nothing left to compute, until the optimizer
may step. Hooks mark both ends, so neither the loop nor DDP's overlap is disturbed: nothing synchronises inside a step.
Where a step has several parts, gradients are reduced in the last one, and only that one is timed: it marks last.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ddpbench.comm.between import MeanOverHosts

LOG_EVERY = 10  # DDP's own log times one step of so many


class ReductionTimer:
    """Times the exposed reduction of every step on this rank. Without DistributedDataParallel it does nothing."""

    def __init__(self, net: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._ddp = net if isinstance(net, DistributedDataParallel) else None
        self._mark = _cuda_mark if device.type == "cuda" else time.perf_counter
        self._last_gradient: float | torch.cuda.Event = 0.0
        self._steps: list[tuple[float | torch.cuda.Event, float | torch.cuda.Event]] = []
        self._between: MeanOverHosts | None = getattr(net, "between", None)
        if self._ddp is None:
            return
        if device.type == "cpu":  # on a GPU a timed step waits for the device, so torch chooses the steps
            self._ddp._set_ddp_runtime_logging_sample_rate(LOG_EVERY)
        for parameter in net.parameters():
            parameter.register_post_accumulate_grad_hook(self._gradient)
        hook = optimizer.register_step_pre_hook(self._reduced)
        # Before gradients are clipped. torch does not say that it keeps its hooks in an OrderedDict.
        optimizer._optimizer_step_pre_hooks.move_to_end(hook.id, last=False)  # type: ignore[attr-defined]

    def _gradient(self, _: Tensor) -> None:
        self._last_gradient = self._mark()  # overwritten until the last gradient of a step

    def _reduced(self, *_: object) -> None:
        self._steps.append((self._last_gradient, self._mark()))

    def take(self) -> list[float]:
        """Return the seconds of each step since the last call, in order; empty without a reduction."""
        steps, self._steps = self._steps, []
        return [_seconds(begin, end) for begin, end in steps]

    def take_between_s(self) -> float | None:
        """Return the seconds of those steps that this rank waited for other hosts; None where that is not timed apart.

        It is called as often as `take`.
        """
        return sum(self._between.take()) if self._between is not None else None

    def torch_reduce_s(self) -> float | None:
        """Return the exposed reduction of one step by DDP's own log, in seconds: the mean over sampled steps so far.

        It is the backward communication less its overlap with backward computation, both timed by DDP's reducer.
        None where this torch does not log them.
        """
        log = self._ddp._get_ddp_logging_data() if self._ddp is not None else {}
        whole, overlap = (log.get(f"avg_backward_{name}", 0) for name in ("comm_time", "compute_comm_overlap_time"))
        return (whole - overlap) / 1e9 if whole > 0 else None


def late_s(waits: Sequence[Sequence[float]]) -> list[float]:
    """Return the seconds that each rank waited for slower ranks. `waits` [ranks, steps] is in seconds.

    The rank that finishes a step's gradients last waits for the transfer alone. What another rank waits longer than
    that, it waits for the slowest rank. Only durations are used: the clocks of ranks are never compared.
    """
    quickest = [min(step) for step in zip(*waits, strict=True)]
    return [sum(row) - sum(quickest) for row in waits]


def _cuda_mark() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(begin: "float | torch.cuda.Event", end: "float | torch.cuda.Event") -> float:
    if isinstance(begin, float) and isinstance(end, float):
        return end - begin
    return float(begin.elapsed_time(end)) / 1e3  # type: ignore[union-attr, arg-type]
