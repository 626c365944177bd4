"""Which arms take turns, at which batch sizes, and which of them train whole runs, in which order. Pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from ddpbench.arm import COMPRESSED, Arm
from ddpbench.record import Comm
from ddpbench.study.layouts import Layout
from ddpbench.study.plan import Job, Plan
from ddpbench.turns import Pair, TurnArm

MAX_DEFAULT_RANKS = 4
MORE_SEEDS = 2  # that --more adds


class Resources(NamedTuple):
    """What a machine has to train with."""

    cores: int
    physical_cores: int
    gpus: int  # 0 where it trains on the CPU

    def threads(self, ranks: int) -> int:
        """Return the threads of each of so many ranks."""
        return max(1, self.cores // ranks)


def default_world_size(cores: int, gpus: int, global_batch: int) -> int:
    """Return the number of GPUs, or at most four ranks that share the cores out evenly and divide the batch."""
    if gpus:
        return gpus
    sizes = [size for size in range(1, min(cores, MAX_DEFAULT_RANKS) + 1) if global_batch % size == 0]
    return max((size for size in sizes if size > 1), key=lambda size: (size * (cores // size), size), default=1)


def nearest_multiple(value: int, divisor: int) -> int:
    """Return the multiple of `divisor`, at least `divisor`, that is nearest to `value`."""
    return max(1, round(value / divisor)) * divisor


def comms(fastest: Comm, wanted: Sequence[Comm] = ()) -> list[Comm]:
    """Return the ways to combine gradients that a study compares: those that are wanted, or else the usual ones.

    The last is probably the fastest, and stands for all where one is enough. The usual ones are the fastest and, beside
    shared memory, gloo, which torch uses by default.
    """
    usual: list[Comm] = ["gloo", "shm"] if fastest == "shm" else [fastest]
    return sorted(wanted or usual, key=lambda comm: (comm == fastest, comm not in COMPRESSED, comm))


def fitting(study_comms: Sequence[Comm], layout: Layout) -> list[Comm]:
    """Return the ways to combine gradients that suit a layout, in the same order.

    Hosts share no memory: there it goes inside each of them, with sockets between, and sockets alone join single ranks.
    """
    shared: Comm = "shm" if layout.hosts == 1 else "shm+gloo" if layout.ranks > 1 else "gloo"
    return list(dict.fromkeys(shared if comm in ("shm", "shm+gloo") else comm for comm in study_comms))


def layouts(hosts: int, sizes: Sequence[int]) -> list[Layout]:
    """Return the layouts of a study for which none are named. `sizes` are numbers of ranks on a host.

    These are on one host and on all of them. One rank on every host shows what hosts alone bring.
    """
    across = [Layout(hosts, ranks) for ranks in (*sizes, 1)] if hosts > 1 else []
    return list(dict.fromkeys([*(Layout(1, size) for size in sizes), *across]))


def singles(sizes: Sequence[int], resources: Resources) -> list[Arm]:
    """Return the single processes of a study, the one with the most threads last. `sizes` are ranks on a host."""
    per_rank = [resources.threads(size) for size in sizes]
    if resources.gpus:
        return [Arm("baseline", 1, per_rank[0], None)]
    # The threads of one worker are there to measure efficiency, and every core for a fair reference. Physical cores
    # too, because a second thread on a core often slows one process down.
    counts = sorted({1, *per_rank, min(resources.cores, resources.physical_cores), resources.cores})
    return [Arm("baseline", 1, count, None) for count in counts]


def turns(
    sizes: Sequence[int],
    resources: Resources,
    study_comms: Sequence[Comm],
    global_batch: int,
    num_train: int,
    *,
    reads: bool = False,
    across: Sequence[Layout] = (),
) -> list[TurnArm]:
    """Return the arms that take turns in a launch of a study of one batch size.

    `sizes` are numbers of ranks on one host, and `across` the layouts over several. The arms are the single processes,
    nn.DataParallel where there are GPUs, every comm, and the controls that take one cause of lost time away after the
    other: ranks that never communicate, ranks whose gradients are wrapped and not exchanged, and one worker at the
    batch of a rank. Where data is read while training (`reads`), these train on batches in memory, and so do one worker
    and the comms once more: reading is then a cost of its own. The last are weak scaling, where the batch grows with
    the ranks.
    """
    spread = [*layouts(1, sizes), *across]
    alone = singles([layout.ranks for layout in spread], resources)
    at_batch, explaining = [*alone], list[TurnArm]()
    if resources.gpus:
        at_batch.append(Arm("data_parallel", 1, alone[0].threads_per_rank, None))
    for layout in spread:
        size, threads, own_comms = layout.size, resources.threads(layout.ranks), fitting(study_comms, layout)
        if size == 1:
            at_batch.append(Arm("ddp", 1, threads, own_comms[-1]))
            continue
        exchanging, controls = (
            [Arm("ddp", size, threads, comm, layout.hosts) for comm in some]
            for some in (own_comms, ("none", "nothing"))
        )
        worker = alone[0] if resources.gpus else Arm("baseline", 1, threads, None)
        at_batch += exchanging if reads else [*exchanging, *controls]
        if reads:
            explaining += at([worker, *exchanging, *controls], global_batch, replayed=True)
        explaining += at([worker], global_batch // size, replayed=reads)
        if (weak_batch := global_batch * size) <= num_train:
            explaining += at([exchanging[-1], alone[-1]], weak_batch)
    return list(dict.fromkeys([*at(at_batch, global_batch), *explaining]))


def with_compiled(study_turns: Sequence[TurnArm]) -> list[TurnArm]:
    """Return arms with one more: the single process with the most threads, and a network that torch.compile made."""
    single = next(turn for turn in study_turns if turn.arm == expected_arms(study_turns)[0])
    at = study_turns.index(single) + 1
    return [*study_turns[:at], replace(single, arm=replace(single.arm, kind="compiled")), *study_turns[at:]]


def sweep(
    sizes: Sequence[int],
    resources: Resources,
    fastest: Comm,
    batches: Sequence[int],
    across: Sequence[Layout] = (),
) -> list[TurnArm]:
    """Return the arms that take turns in a launch of a sweep: single processes and ddp arms, at every batch."""
    spread = [*layouts(1, sizes), *across]
    arms = singles([layout.ranks for layout in spread], resources)
    for layout in spread:
        (comm,), threads = fitting([fastest], layout), resources.threads(layout.ranks)
        arms.append(Arm("ddp", layout.size, threads, comm, layout.hosts))
    return [turn for batch in batches for turn in at(arms, batch)]


def at(arms: Sequence[Arm], global_batch: int, *, replayed: bool = False) -> list[TurnArm]:
    """Return arms as they take turns at one batch."""
    return [TurnArm(arm=arm, global_batch=global_batch, replayed=replayed) for arm in arms]


def choices(study_turns: Sequence[TurnArm], global_batch: int) -> list[TurnArm]:
    """Return the arms that a user could choose at this batch; the others explain how long these take."""
    return [turn for turn in study_turns if turn.global_batch == global_batch and not turn.is_control]


def ranks_of(launch_turns: Sequence[TurnArm]) -> int:
    """Return how many ranks a launch of these arms needs on each host."""
    return max(turn.arm.ranks_per_host for turn in launch_turns)


def runs(plan: Plan, pairs: Sequence[Pair], *, is_more: bool) -> list[Job]:
    """Return the whole runs of a study whose launches are over: all of them, those that are complete too.

    The two arms that the launches have chosen train whole runs, nn.DataParallel, and a compiled network. Runs that were
    planned before stay, and so do their arms; an arm that is chosen now and was not before trains with all seeds.
    `is_more` adds seeds.
    """
    if plan.request.design != "comparison":
        return []
    also = [turn.arm for turn in plan.turns if turn.arm.kind in ("data_parallel", "compiled")]
    chosen = [turn.arm for pair in pairs for turn in (pair.reference, pair.parallel)]
    arms = list(dict.fromkeys([*(job.arm for job in plan.jobs), *chosen, *also]))
    jobs = interleave(arms, more_seeds(plan.seeds) if is_more else plan.seeds)
    return list(dict.fromkeys([*plan.jobs, *jobs]))


def expected_arms(study_turns: Sequence[TurnArm]) -> list[Arm]:
    """Return the arms that will probably train whole runs: the largest single process, and the fastest comm."""
    arms = [turn.arm for turn in study_turns]
    alone = max((arm for arm in arms if arm.kind == "baseline"), key=lambda arm: arm.threads_per_rank)
    ddp = [arm for arm in arms if arm.kind == "ddp" and not arm.is_control]
    most = max(arm.world_size for arm in ddp)
    at_most = [arm for arm in dict.fromkeys(ddp) if arm.world_size == most]
    return [alone, at_most[-1], *dict.fromkeys(arm for arm in arms if arm.kind in ("data_parallel", "compiled"))]


def more_seeds(seeds: Sequence[int]) -> list[int]:
    """Return these seeds and the next whole numbers above the largest."""
    return [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + MORE_SEEDS)]


def interleave(arms: Sequence[Arm], seeds: Sequence[int]) -> list[Job]:
    """Return a run of every arm for each seed; each seed begins one arm later, so that no arm always goes first."""
    turns = [(seed, arms[(turn + k) % len(arms)]) for turn, seed in enumerate(seeds) for k in range(len(arms))]
    return [Job(arm=arm, seed=seed) for seed, arm in turns]
