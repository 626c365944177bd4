"""What an epoch costs where a worker has a price, and whether parallel training pays."""

from dataclasses import dataclass
from typing import Literal

from ddpbench.judge.epochs import num_steps
from ddpbench.judge.stats import Estimate
from ddpbench.judge.timing import Timing
from ddpbench.record import Record
from ddpbench.turns import TurnArm

Verdict = Literal["pays", "does_not_pay", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Money for an epoch, in the unit of the price."""

    price_per_hour: float  # of one worker: the resources of one rank
    reference: float  # for an epoch, training alone
    parallel: float
    times_as_dear: Estimate  # parallel / reference

    @property
    def verdict(self) -> Verdict:
        """Whether an epoch of the parallel arm costs less: the whole interval below 1, or above."""
        low, high = self.times_as_dear.low, self.times_as_dear.high
        if low is None or high is None or low <= 1 <= high:
            return "cannot_tell"
        return "pays" if high < 1 else "does_not_pay"


def cost(timing: Timing, pair: tuple[TurnArm, TurnArm], price_per_hour: float, run: Record) -> Cost | None:
    """Return what epochs like those of `run` cost with the parallel arm and the reference. None without a speed.

    A single process of as many threads as several ranks have takes as many workers. On GPUs it takes one, and
    nn.DataParallel as many as there are GPUs.
    """
    parallel, reference = pair
    speed = timing.speed(parallel, reference)
    if speed is None:
        return None
    workers, on_gpu = parallel.arm.world_size, run.settings.device == "cuda"
    if parallel.arm.kind == "data_parallel" and on_gpu:
        workers = max(1, len(run.environment.gpu_models))
    alone = 1.0 if on_gpu else max(1.0, reference.arm.threads_per_rank / parallel.arm.threads_per_rank)
    hours = num_steps(run) * timing.step_s(reference).value / 3600
    low, high = (None if bound is None else workers / alone / bound for bound in (speed.high, speed.low))
    ratio = Estimate(workers / alone / speed.value, low, high, speed.n)
    before = hours * price_per_hour * alone
    return Cost(price_per_hour, before, before * ratio.value, ratio)
