"""Made-up studies with known answers, and a short way to judge them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.judge import study
from ddpbench.judge.judgement import Judgement
from ddpbench.judge.judgement import judge as judge_study
from ddpbench.judge.outcome import Criteria
from ddpbench.record import Environment, Metric, Record, Target
from ddpbench.turns import FIRST_LOOK, Launch, TurnArm
from tests.records import BATCH, GLOO, MACHINE, ONE, SHM, TRUTH, TWO, at, ddp, make_launch, make_record, put

STEPS = 59_904 // 256  # in an epoch of a made-up record


def judge(folder: Path, *measured: Record | Launch, criteria: Criteria | None = None) -> Judgement:
    """Write records into a folder, which may be new, and judge it."""
    folder.mkdir(exist_ok=True)
    put(folder, *measured)
    return judge_study(study.load([folder]), criteria)


def launches(
    count: int = FIRST_LOOK, truth: Mapping[TurnArm, float] = TRUTH, *, spread: float = 0.01, rounds: int = 9
) -> list[Launch]:
    """Return launches whose speeds differ by about `spread`, symmetrically, so that their centre is the truth.

    The arms of several ranks differ from launch to launch, and single processes do not.
    """

    def factor(number: int) -> float:
        return math.exp(spread * (number - (count - 1) / 2))

    return [
        make_launch(n, lambda turn, _, n=n: factor(n) if turn.arm.world_size > 1 else 1.0, truth, rounds=rounds)  # type: ignore[misc]
        for n in range(count)
    ]


def whole_runs(
    seeds: int = 3,
    *,
    parallel_step_s: float = TRUTH[at(SHM)],
    accuracies: tuple[float, float] = (0.99, 0.99),
    startup_s: tuple[float, float] = (3.0, 7.0),
) -> list[Record]:
    """Return whole runs of the reference and of two ranks over shm, at the steps of TRUTH unless given otherwise."""
    records = []
    for seed in range(seeds):
        one, two = STEPS * TRUTH[at(TWO)], STEPS * parallel_step_s
        wobble = 1 + 0.002 * seed
        records += [
            make_record(
                seed=seed, minute=2 * seed, train_s=(one, one, one), accuracy=accuracies[0], startup_s=startup_s[0]
            ),
            ddp(
                seed=seed,
                minute=2 * seed + 1,
                comm="shm",
                train_s=(two * wobble,) * 3,
                accuracy=accuracies[1],
                startup_s=startup_s[1],
                late_s=(0.1, 0.0),
            ),
        ]
    return records


def scored(metric: Metric, values: Sequence[tuple[float, float]], parallel_step_s: float = 0.0096) -> list[Record]:
    """Return whole runs of two arms, a seed each, in which this metric had these values, of the reference first."""
    one, two = (STEPS * step_s for step_s in (TRUTH[at(TWO)], parallel_step_s))
    return [
        each
        for seed, (before, after) in enumerate(values)
        for each in (
            make_record(seed=seed, minute=2 * seed, train_s=(one,) * 3, metric=metric, accuracy=before),
            ddp(seed=seed, minute=2 * seed + 1, comm="shm", train_s=(two,) * 3, metric=metric, accuracy=after),
        )
    ]


def faster(times: float = 1.25) -> dict[TurnArm, float]:
    """Return a truth in which two ranks over shm are so many times as fast as the best single process."""
    scale = TRUTH[at(TWO)] / times / TRUTH[at(SHM)]
    return {turn: step_s * (scale if turn.arm.world_size > 1 else 1.0) for turn, step_s in TRUTH.items()}


def complete(count: int = FIRST_LOOK, seeds: int = 3, times: float = 0.8) -> list[Record | Launch]:
    """Return the launches and the runs of a whole study, with gloo beside shm; shm is `times` as fast."""
    truth = {**faster(times), at(GLOO): 0.02, at(SHM, 2 * BATCH): 0.018, at(TWO, 2 * BATCH): 0.022}
    return [*launches(count, truth), *whole_runs(seeds, parallel_step_s=truth[at(SHM)])]


def two_arms(seeds: int = 3) -> list[Record]:
    """Return runs by hand: two baselines, two ranks over gloo, and the control."""
    records = []
    for seed in range(seeds):
        wobble = 1 + 0.01 * seed
        records += [
            make_record(seed=seed, threads=1, train_s=(9, 6 * wobble, 6 * wobble)),
            make_record(seed=seed, threads=2, train_s=(9, 4 * wobble, 4 * wobble)),
            ddp(seed=seed, train_s=(9, 5, 5), accuracy=0.98),
            ddp(seed=seed, train_s=(9, 3, 3), comm="none", accuracy=0.9),
        ]
    return records


def paired(parallel_s: list[float], accuracy: float = 0.99) -> list[Record]:
    """Return a pair of runs for each seed: a process of 4 s an epoch, and two ranks of `parallel_s`."""
    records = []
    for seed, time_s in enumerate(parallel_s):
        records += [
            make_record(seed=seed, train_s=(9, 4, 4)),
            ddp(seed=seed, train_s=(9, time_s, time_s), accuracy=accuracy),
        ]
    return records


def swept(
    batches: tuple[int, ...] = (64, 128, 256, 512, 1024),
    *,
    count: int = 3,
    parallel: tuple[float, float] = (0.004, 1e-5),
    check: int | None = None,
) -> list[Launch]:
    """Return the launches of a sweep. A step of one process takes 1 ms + 20 us a sample, of two ranks `parallel`.

    They are equally fast at 300. `check` adds as many launches at that batch alone.
    """

    def truth(at_batches: tuple[int, ...]) -> dict[TurnArm, float]:
        one = {at(TWO, batch): 0.001 + 2e-5 * batch for batch in at_batches}
        return one | {at(GLOO, batch): parallel[0] + parallel[1] * batch for batch in at_batches}

    grid = launches(count, truth(batches), spread=0.002)
    checks = [] if check is None else launches(count, truth((check,)), spread=0.002)
    return grid + [
        replace(each, number=number, started_at=f"2026-11-24T01:{number:02d}:00.000+00:00")
        for number, each in enumerate(checks, count)
    ]


def ended_after(record: Record, epochs: int, *, reached: bool = True) -> Record:
    """Return a run that trains until 98 %, and that ended after so many epochs."""
    target = Target(epoch=epochs, train_s=9.0, train_eval_s=9.5, process_s=12.0) if reached else None
    names = ("train_s", "wait_s", "cpu_s", "reduce_s", "late_s")
    ranks = [
        replace(rank, **{name: (getattr(rank, name) or [])[:epochs] or None for name in names}) for rank in record.ranks
    ]
    settings = replace(record.settings, target_accuracy=0.98)
    return replace(record, settings=settings, epochs=record.epochs[:epochs], ranks=ranks, target=target)


# Two hosts of two cores, each like the machine of TRUTH. Over both, two ranks on each are 15 / 10 = 1.5 times as fast
# as one host, which is fastest over shm, and one rank on each 12 / 7.5 = 1.6 times. Where every worker keeps its batch,
# they are 1.79 and 1.78 times as fast.
SINGLES, FLAT, BOTH = Arm("ddp", 2, 2, "gloo", 2), Arm("ddp", 4, 1, "gloo", 2), Arm("ddp", 4, 1, "shm+gloo", 2)
OVER_HOSTS = {
    **TRUTH,
    at(GLOO): 0.018,
    at(SINGLES): 0.0075,
    at(FLAT): 0.012,
    at(BOTH): 0.010,
    at(replace(BOTH, comm="none")): 0.0063,
    at(replace(BOTH, comm="nothing")): 0.0066,
    at(replace(SINGLES, comm="none")): 0.0066,
    at(replace(SINGLES, comm="nothing")): 0.0068,
    at(TWO, BATCH // 2): 0.0065,
    at(ONE, BATCH // 4): 0.006,
    at(SHM, 2 * BATCH): 0.025,
    at(TWO, 2 * BATCH): 0.022,
    at(SINGLES, 2 * BATCH): 0.0135,
    at(TWO, 4 * BATCH): 0.040,
    at(BOTH, 4 * BATCH): 0.028,
}


def over_hosts(
    count: int = FIRST_LOOK, times_as_long: float = 1.0, *, wobble: float = 0.01, other: Environment = MACHINE
) -> list[Launch]:
    """Return launches over two hosts. Host 1 takes so many times as long for the steps of a single process.

    That differs by `wobble` from launch to launch and from round to round, about as much up as down.
    """

    def unlike(number: int, each: int) -> float:
        return times_as_long * math.exp(wobble * (number - (count - 1) / 2 + (-1) ** each))

    return [
        replace(
            launch,
            hosts=2,
            others=[other],
            visits=[
                replace(each, hosts_s=[[row[0], row[0] * unlike(number, k)] for k, row in enumerate(each.block_s)])
                if each.turn.arm.comm is None
                else each
                for each in launch.visits
            ],
        )
        for number, launch in enumerate(launches(count, OVER_HOSTS, spread=0.002))
    ]
