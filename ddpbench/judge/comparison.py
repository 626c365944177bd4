"""The main parallel arm against the reference: paired times, accuracy, and what its start-up costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ddpbench.judge.arms import ArmResult, main_parallel, pairs, reference_of
from ddpbench.judge.epochs import final_accuracy, run_epoch_s
from ddpbench.judge.outcome import Outcome, outcome_of
from ddpbench.judge.stats import Equivalence, Estimate, equivalence, mean


@dataclass(frozen=True, slots=True)
class StartUp:
    """Seconds before the first training step, and how many epochs make up for the longer start of the parallel arm."""

    reference_s: Estimate
    parallel_s: Estimate
    break_even_epochs: float | None  # None if an epoch of the parallel arm is not shorter


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms: the reference, and the parallel one that the verdict is about."""

    reference: ArmResult
    parallel: ArmResult
    ratios: list[float]  # reference seconds per epoch / parallel seconds per epoch, one for each seed of both
    accuracy: Equivalence | None  # parallel less reference; None without a common seed
    startup: StartUp

    @property
    def outcome(self) -> Outcome:
        """Whether the parallel arm pays."""
        return outcome_of(self.parallel.speedup, self.accuracy)

    @property
    def reference_over_one_worker(self) -> float | None:
        """The speedup of the reference over one worker; None if it was not measured, or if one worker is as fast."""
        speedup, efficiency = self.parallel.speedup, self.parallel.efficiency
        if speedup is None or efficiency is None:
            return None
        over_one = efficiency.value * self.parallel.arm.world_size / speedup.value
        return over_one if over_one > 1.001 else None


def compare(results: Sequence[ArmResult], margin: float) -> Comparison | None:
    """Compare the two arms that matter; None if either was not run. `margin` is a difference in accuracy, 0 to 1."""
    reference, parallel = reference_of(results), main_parallel(results)
    if reference is None or parallel is None:
        return None
    times = pairs(reference.runs, parallel.runs, run_epoch_s)
    gains = [new - old for old, new in pairs(reference.runs, parallel.runs, final_accuracy)]
    return Comparison(
        reference=reference,
        parallel=parallel,
        ratios=[old / new for old, new in times],
        accuracy=equivalence(gains, margin) if gains else None,
        startup=_startup(reference, parallel),
    )


def _startup(reference: ArmResult, parallel: ArmResult) -> StartUp:
    before, after = (mean([run.startup_s for run in result.runs]) for result in (reference, parallel))
    saved_s = fmean(map(run_epoch_s, reference.runs)) - fmean(map(run_epoch_s, parallel.runs))
    break_even = max(0.0, after.value - before.value) / saved_s if saved_s > 0 else None
    return StartUp(before, after, break_even)
