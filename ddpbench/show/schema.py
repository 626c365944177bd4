"""The names in summary.json. No name changes its meaning within a SCHEMA; results/README.md documents them.

null: not measured.
"""

from typing import Literal

import msgspec

from ddpbench.findings import EqualGradient
from ddpbench.judge.breakdown import Term
from ddpbench.judge.comparison import Turning
from ddpbench.judge.outcome import Criteria, Outcome
from ddpbench.judge.scaling import LargerBatch
from ddpbench.judge.stats import Estimate
from ddpbench.record import Environment
from ddpbench.settings import Settings

SCHEMA = 3


class ArmSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A way of training, and what was measured of it."""

    label: str
    kind: str
    ranks: int
    threads: int
    comm: str | None
    batch: int
    role: Literal["reference", "parallel", "control", "other"]
    step_s: Estimate
    speed: Estimate | None
    efficiency: Estimate | None
    metric: Estimate | None  # in the unit that is shown


class Speed(msgspec.Struct, frozen=True):
    """How many times as fast the parallel arm is."""

    value: float
    low: float | None
    high: float | None
    n: int
    unit: str


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted over the test set, and what the parallel arm learns less the reference. Units as shown."""

    name: str
    unit: str
    lower_is_better: bool
    margin: float | None
    difference: Estimate | None
    tested: Estimate | None
    outcome: Literal["kept", "lost", "cannot_tell", "not_judged"] | None
    p: float | None


class WholeRunSummary(msgspec.Struct, frozen=True):
    """A run with start-up and evaluation."""

    epochs: int
    reference_s: Estimate
    parallel_s: Estimate
    times_as_long: Estimate
    later_start_s: float
    ahead_from_epochs: Turning


class BreakdownSummary(msgspec.Struct, frozen=True):
    """Where a step of an arm goes."""

    arm: str
    batch: int
    observed_s: Estimate
    slowest_rank: int | None
    terms: list[Term]


class CostSummary(msgspec.Struct, frozen=True):
    """What an epoch costs, in the unit of the price."""

    price_per_hour: float
    reference: float
    parallel: float
    times_as_dear: Estimate
    outcome: Literal["pays", "does_not_pay", "cannot_tell"]


class AgreementSummary(msgspec.Struct, frozen=True):
    """The speed in turns against that of whole runs."""

    in_turns: Estimate
    in_runs: Estimate
    apart: Estimate | None
    agrees: bool


class SweepPoint(msgspec.Struct, frozen=True):
    """The swept arm at one batch."""

    batch: int
    speed: Estimate
    outcome: Outcome
    is_check: bool


class SweepSummary(msgspec.Struct, frozen=True):
    """A sweep over batches."""

    arm: str
    crossover_batch: float | None
    crossover_batch_predicted: float | None
    points: list[SweepPoint]


class Stalled(msgspec.Struct, frozen=True):
    """How much of an arm's rounds was disturbed."""

    arm: str
    share: float


class DisturbanceSummary(msgspec.Struct, frozen=True):
    """What disturbed the two arms."""

    stolen_share: float
    stalled: list[Stalled]
    minutes_needed: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What summary.json holds."""

    schema: int
    ddpbench: str
    study: str
    outcome: Outcome | None
    title: str
    subject: str
    rows: dict[str, str]
    speed: Speed | None
    equal_gradient: EqualGradient | None
    metric: MetricSummary | None
    whole_run: WholeRunSummary | None
    cost: CostSummary | None
    arms: list[ArmSummary]
    breakdowns: list[BreakdownSummary]
    larger_batch: LargerBatch | None
    sweep: SweepSummary | None
    disturbance: DisturbanceSummary | None
    agreement: AgreementSummary | None
    criteria: Criteria
    settings: Settings
    parameters: int
    machine: Environment
    launches: int
    runs: int
    cautions: list[str]
    left_out: list[str]
