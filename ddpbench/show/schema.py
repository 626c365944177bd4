"""The names in summary.json. No name changes its meaning within a SCHEMA.

docs/results.md is made from these types and their comments. null: not measured.
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

    label: str  # its name in tables
    kind: str  # as in a record
    ranks: int  # of all hosts together
    threads: int  # of a rank
    comm: str | None  # as in a record
    batch: int  # the global batch
    role: Literal["reference", "parallel", "control", "other"]  # in the answer
    step_s: Estimate
    speed: Estimate | None  # against the reference; this and the two below: only at the batch of the study
    efficiency: Estimate | None  # the speed against one worker alone / workers
    hosts: int
    # Of an arm over several hosts: its speed against one of them / hosts. At larger batches, where every worker keeps
    # its batch, that host has its own batch.
    host_efficiency: Estimate | None
    metric: Estimate | None  # in the unit that is shown


class HostSummary(msgspec.Struct, frozen=True):
    """A host beside host 0."""

    number: int  # from 1
    machine: Environment
    times_as_long: Estimate | None  # for the same steps as host 0; None: not measured


class Speed(msgspec.Struct, frozen=True):
    """How many times as fast the parallel arm is."""

    value: float
    low: float | None  # its 95 % interval; None for a single unit
    high: float | None
    n: int
    unit: str  # what n counts: launch (of turns), or seed (of whole runs)


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted over the test set, and what the parallel arm learns less the reference. Units as shown."""

    name: str
    unit: str
    lower_is_better: bool
    margin: float | None  # the user's, else the task's; None: there is none
    difference: Estimate | None  # with its 95 % interval; this and the three below: None without two arms
    tested: Estimate | None  # the same with its 90 % interval, which decides whether as much is learnt
    # kept: no worse by more than the margin; not_judged: there is no margin
    outcome: Literal["kept", "lost", "cannot_tell", "not_judged"] | None
    p: float | None  # p-value of "no worse than the margin", kept below 0.05; None without a margin, too


class WholeRunSummary(msgspec.Struct, frozen=True):
    """A run with start-up and evaluation."""

    epochs: int | None  # of every run; None where runs differ in length, as they may where training ends at a target
    reference_s: Estimate
    parallel_s: Estimate
    times_as_long: Estimate  # parallel / reference, paired by seed
    later_start_s: float  # how much later the parallel arm takes its first step
    ahead_from_epochs: Turning | None  # from how many epochs on it is ahead; None where runs differ in length


class BreakdownSummary(msgspec.Struct, frozen=True):
    """Where a step of an arm goes."""

    arm: str  # its label
    batch: int  # the global batch
    observed_s: Estimate  # of a step
    slowest_rank: int | None  # None where that changes from launch to launch
    terms: list[Term]  # those that are no part of another add up to the observed step


class CostSummary(msgspec.Struct, frozen=True):
    """What an epoch costs, in the unit of the price."""

    price_per_hour: float  # of one worker
    reference: float  # of an epoch
    parallel: float
    times_as_dear: Estimate  # parallel / reference
    outcome: Literal["pays", "does_not_pay", "cannot_tell"]


class AgreementSummary(msgspec.Struct, frozen=True):
    """The speed in turns against that of whole runs."""

    in_turns: Estimate
    in_runs: Estimate
    apart: Estimate | None  # the speed in runs / the speed in turns; None where either was measured once
    agrees: bool  # whether the difference is small, or may be chance


class SweepPoint(msgspec.Struct, frozen=True):
    """The swept arm at one batch."""

    batch: int
    speed: Estimate  # against the fastest single process at this batch
    outcome: Outcome
    is_check: bool  # measured to check the prediction


class SweepSummary(msgspec.Struct, frozen=True):
    """A sweep over batches."""

    arm: str  # its label
    crossover_batch: float | None  # from which on it is faster, as measured; None: not among the batches
    crossover_batch_predicted: float | None  # the same by the fitted lines
    points: list[SweepPoint]


class Stalled(msgspec.Struct, frozen=True):
    """How much of an arm's rounds was disturbed."""

    arm: str  # its label
    share: float  # of its blocks


class DisturbanceSummary(msgspec.Struct, frozen=True):
    """What disturbed the two arms."""

    stolen_share: float  # of the CPU time during launches, taken by the host of a virtual machine
    stalled: list[Stalled]
    # Of more launches, which would settle the outcome with 80 % chance; None: more would hardly settle it
    minutes_needed: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What summary.json holds."""

    schema: int
    ddpbench: str  # the version that wrote the file
    study: str  # name of the folder
    outcome: Outcome | None  # of the speed; None for a sweep, which has one for every batch
    title: str  # of the answer, as it is printed
    subject: str  # of the answer: what is compared with what
    rows: dict[str, str]  # of the answer: the text of each row, by its word
    speed: Speed | None
    equal_gradient: EqualGradient | None  # by the check of the first launch; None: not checked
    metric: MetricSummary | None  # None without whole runs
    whole_run: WholeRunSummary | None
    cost: CostSummary | None  # only with a price
    arms: list[ArmSummary]  # at every batch
    breakdowns: list[BreakdownSummary]  # of each ddp arm, that of the answer first
    larger_batch: LargerBatch | None  # at which every worker keeps the batch of one
    sweep: SweepSummary | None
    disturbance: DisturbanceSummary | None
    agreement: AgreementSummary | None
    criteria: Criteria  # what the user said that matters
    settings: Settings
    parameters: int  # of the network
    machine: Environment  # host 0
    other_hosts: list[HostSummary]  # of a study on several
    launches: int  # that were judged
    runs: int  # that were judged
    cautions: list[str]  # sentences
    left_out: list[str]  # files that are no records, and why
