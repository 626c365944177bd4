"""Turns of a breakdown's arms with and without injected losses, in one job, and what the judge makes of them.

python -m tests.judge.attribution FOLDER NUMBER    in the environment that torchrun makes for a rank

The ranks, their gradients, DDP, timers, rounds and judge are the real ones. A user's hook holds for a whole launch.
Here the arms of every loss take turns in the same rounds, so what disturbs the machine disturbs them alike. Each loss
gets a record of its own in FOLDER, as if it had been launched alone.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import msgspec
from msgspec.structs import replace

from ddpbench import config
from ddpbench.arm import Arm
from ddpbench.judge import timing
from ddpbench.judge.breakdown import break_down, levels_of
from ddpbench.tasks import task
from ddpbench.train import machine, world
from ddpbench.train.contenders import Contender
from ddpbench.train.life import Life
from ddpbench.train.turns import Rounds
from ddpbench.turns import SCHEMA, Launch, TurnArm, path_of, read_launches
from tests import warm

BATCH, RANKS = 1_000, 2
# Few and long steps: to wake a rank that has waited long costs a millisecond a step, and is no part of a loss.
WORK = "work=60e-6"
SLOW_RANK, SLOW_REDUCTION_S, LARGE_SHARE = 3, 0.030, 0.9
# slow-start is not among them: it lies before training, and is tested on its own.
LOSSES = (f"slow-rank={SLOW_RANK}", f"slow-reduction={SLOW_REDUCTION_S}", f"large-share={LARGE_SHARE}", "one-core=1")
ROUNDS_S = 20.0
FLAGS = f"--dataset synthetic --model mlp --global-batch {BATCH} --device cpu".split()

REFERENCE = TurnArm(arm=Arm("baseline", 1, 1, None), global_batch=BATCH)
WORKER = TurnArm(arm=REFERENCE.arm, global_batch=BATCH // RANKS)
RANKED = DDP, *_ = [TurnArm(arm=Arm("ddp", RANKS, 1, comm), global_batch=BATCH) for comm in ("gloo", "none", "nothing")]


def main() -> None:
    """Take turns, and write the records."""
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    cfg = config.parse(FLAGS)
    here = world.join(cfg)
    found = task.of(cfg)
    data = found.data(cfg)
    with here:
        places = [(turn, WORK) for turn in (REFERENCE, WORKER)]
        places += [(turn, words) for words in (WORK, *(f"{WORK},{loss}" for loss in LOSSES)) for turn in RANKED]
        hooked = [(turn, replace(cfg, hook=f"tests/hooks/losses.py:{words}")) for turn, words in places]
        rounds = Rounds([Contender(turn, data, each, here) for turn, each in hooked], here, number)
        rounds.calibrate()
        rounds.run(ROUNDS_S)
        if here.is_main:
            visits = rounds.visits()
            for number_of_loss, name in enumerate(("none", *LOSSES)):
                first = 2 + number_of_loss * len(RANKED)
                mine = [0, 1, *range(first, first + len(RANKED))]
                (folder / name).mkdir(exist_ok=True)
                launch = Launch(
                    schema=SCHEMA,
                    study=name,
                    number=number,
                    settings=found.settings(cfg, "cpu", found.step(cfg).net, data),
                    parameters=1,
                    environment=machine.describe(),
                    started_at="",
                    startup_s=0.0,
                    order=[[mine.index(index) for index in order if index in mine] for order in rounds.order],
                    round_s=rounds.round_s,
                    stolen_s=rounds.stolen_s,
                    visits=[visits[index] for index in mine],
                    check=None,
                    injected=name,
                    peak_rss_bytes=[0] * RANKS,
                )
                path_of(folder / name, number).write_bytes(msgspec.json.encode(launch))
        here.barrier()


def launch(folder: Path, number: int) -> None:
    """Start the ranks, and wait for them. They are forked from a process that has torch already."""
    words = ("-m", "tests.judge.attribution", str(folder), str(number))
    ended = [rank.wait() for rank in warm.start_ranks(RANKS, *words, folder=folder, name=f"launch-{number}")]
    assert [rank.returncode for rank in ended] == [0] * RANKS, [rank.stderr for rank in ended]


def median_terms(folder: Path) -> Mapping[str, float]:
    """Return the seconds of every term by its name: the median of the launches, so a disturbed one decides nothing."""
    launches = [_terms(each) for each in read_launches(folder)]
    return {name: median(terms[name] for terms in launches) for name in launches[0]}


def _terms(launch: Launch) -> dict[str, float]:
    """Return every term, also those that the judge would put together, and the observed step."""
    measured = timing.of_launches([launch])
    rank_batches = next(visits.rank_batches for visits in launch.visits if visits.turn == DDP)
    levels, _ = levels_of(measured, DDP, REFERENCE, rank_batches, on_gpu=False)
    ends_s = [level.by_unit[0] for level in levels]
    costs_s = [end - begin for begin, end in zip([0.0, *ends_s], ends_s, strict=False)]
    terms: dict[str, float] = {level.causes[0]: cost for level, cost in zip(levels, costs_s, strict=True)}
    judged = break_down(measured, DDP, REFERENCE, rank_batches, on_gpu=False)
    assert judged is not None
    parts = {part.causes[0]: part.seconds.value for part in judged.parts_of("exchange")}
    return terms | parts | {"observed": ends_s[-1]}


if __name__ == "__main__":
    Life().run(main)
