"""Speed in turns: one launch in which every arm is alive, and all take turns in short blocks of steps.

python -m ddpbench.train.turns QUESTION      under torchrun's agent; QUESTION is a turns.Question as JSON

1. A launch has as many ranks on each host as its largest arm. The ranks of an arm are the first on each of its hosts;
   the others sleep while it takes its turn. A single process is rank 0 alone. In a launch over several hosts the first
   rank of each runs it at the same time, which shows hosts that are not equally fast; its figures are those of host 0.
   Every rank builds every arm in which it takes part.
2. In every round the arms are visited in a new random order, the same on all ranks. Arms that only explain the others
   are in every sixth round, so that more of them is known about the arms that the answer is about.
3. A visit is a step that does not count, which warms caches and wakes threads, and then a block of steps. All ranks of
   the arm begin the block together, and it ends with its slowest rank. The loop that trains a run takes the steps.
4. Long steps, of LONG_STEP_S and more, are a block each, and none is left uncounted but an arm's first: what warming
   costs is little beside them.
"""

from ddpbench.train import life

if __name__ == "__main__":
    process = life.begin()  # before the imports below, which take a second

import random
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ddpbench import config, environment, files, notes
from ddpbench.tasks import task
from ddpbench.train import machine, reductions, world
from ddpbench.train.check import examine
from ddpbench.train.contenders import Contender
from ddpbench.train.onlookers import Heartbeat
from ddpbench.train.state import num_parameters
from ddpbench.train.world import World
from ddpbench.turns import SCHEMA, Launch, Question, TurnArm, Visit, Visits

CALIBRATION_STEPS = 3
LONG_STEP_S = 0.2
BLOCK_S = 0.05  # about, of the counted steps: longer blocks scatter as much, and there are fewer of them
FULL_EVERY = 6  # rounds: one with all arms, then five with those in focus
MOST_STEPS = 500  # of a block


class Rounds:
    """The rounds of a launch, and what was measured in them."""

    def __init__(self, contenders: Sequence[Contender], here: World, number: int) -> None:
        self._contenders, self._here = contenders, here
        self._random = random.Random(number)
        self._steps = [1] * len(contenders)  # of a block of each arm
        self._uncounted = [1] * len(contenders)  # before each block
        self.order: list[list[int]] = []
        self.round_s: list[float] = []
        self.stolen_s: list[float] = []
        self.block_s: list[list[list[float]]] = [[] for _ in contenders]
        self.reduce_s: list[list[list[float]]] = [[] for _ in contenders]
        self.late_s: list[list[list[float]]] = [[] for _ in contenders]
        self.data_s: list[list[list[float]]] = [[] for _ in contenders]
        self.hosts_s: list[list[list[float]]] = [[] for _ in contenders]
        self.between_s: list[list[list[float]]] = [[] for _ in contenders]

    def calibrate(self) -> None:
        """Visit every arm, and choose the steps of its blocks so that a block takes about BLOCK_S."""
        for index in range(len(self._contenders)):
            self._steps[index] = 1
            step_s = self._step_s(index)
            if step_s < LONG_STEP_S:
                self._steps[index] = CALIBRATION_STEPS
                step_s = self._step_s(index)
                self._steps[index] = min(MOST_STEPS, max(2, round(BLOCK_S / step_s)))
            else:
                self._uncounted[index] = 0

    def run(self, seconds: float, focus: Sequence[TurnArm] | None = None) -> None:
        """Carry out rounds until so many seconds are spent.

        The arms in `focus` are in every round, the others in every sixth. None: all are in every round.
        """
        everyone = [*range(len(self._contenders))]
        few = [index for index in everyone if focus is None or self._contenders[index].turn in focus]
        begin, is_over = time.perf_counter(), False
        while not is_over:
            order = [*(few if len(self.order) % FULL_EVERY else everyone)]
            self._random.shuffle(order)
            began, before_s = time.perf_counter(), environment.stolen_s()
            for index in order:
                self._note(index, self._visit(index))
            self.order.append(order)
            self.round_s.append(time.perf_counter() - began)
            self.stolen_s.append(environment.stolen_s() - before_s)
            is_over = self._here.gather(time.perf_counter() - begin > seconds)[0]

    def close(self) -> None:
        """End what reads the data of the arms."""
        for each in self._contenders:
            each.close()

    def visits(self) -> list[Visits]:
        """Return what was measured, by arm."""
        return [
            Visits(
                turn=each.turn,
                steps=self._steps[index],
                rank_batches=each.rank_batches,
                block_s=self.block_s[index],
                reduce_s=self.reduce_s[index] or None,
                late_s=self.late_s[index] or None,
                data_s=self.data_s[index] or None,
                hosts_s=self.hosts_s[index] or None,
                between_s=self.between_s[index] or None,
            )
            for index, each in enumerate(self._contenders)
        ]

    def _step_s(self, index: int) -> float:
        """Visit an arm. Returns the seconds of a step."""
        return max(visit.block_s for visit in self._of_arm(index, self._visit(index))) / self._steps[index]

    def _visit(self, index: int) -> list[Visit]:
        """Let one arm take its turn. Returns what each rank of the launch measured, on every rank."""
        contender = self._contenders[index]
        self._here.barrier()
        steps, uncounted = self._steps[index], self._uncounted[index]
        mine = contender.visit(steps, uncounted) if contender.takes_part else Visit(0.0, [], None)
        return self._here.gather(mine)

    def _of_arm(self, index: int, visits: Sequence[Visit]) -> list[Visit]:
        """Return what the ranks of an arm measured."""
        arm = self._contenders[index].turn.arm
        return [visits[rank] for rank in self._here.members(arm.hosts, arm.ranks_per_host)]

    def _note(self, index: int, of_all: Sequence[Visit]) -> None:
        visits = self._of_arm(index, of_all)
        if self._here.hosts > 1 and self._contenders[index].turn.arm.comm is None:
            self.hosts_s[index].append([of_all[rank].block_s for rank in self._here.members(self._here.hosts, 1)])
        self.block_s[index].append([visit.block_s for visit in visits])
        data_s = [visit.data_s for visit in visits if visit.data_s is not None]
        if data_s:
            self.data_s[index].append(data_s)
        between_s = [visit.between_s for visit in visits if visit.between_s is not None]
        if between_s:
            self.between_s[index].append(between_s)
        waits = [visit.waits_s for visit in visits]
        if waits[0]:
            self.reduce_s[index].append([sum(wait_s) for wait_s in waits])
            self.late_s[index].append(reductions.late_s(waits))


def main() -> None:
    """Carry out one launch of turns, and write its record."""
    question = msgspec.json.decode(sys.argv[1], type=Question)
    cfg = replace(config.parse(question.flags), seed=question.number)
    here = world.join(cfg, process)
    started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    largest = max(turn.global_batch for turn in question.arms)
    found = task.of(cfg)
    data = found.data(replace(cfg, global_batch=largest)).to(here.device)  # once for all arms
    with here, Heartbeat(here.process, cfg.timeout_s):
        check = examine(found, data, cfg, here, question.arms) if question.number == 0 else None
        here.barrier()
        if here.is_main:
            process.tell(notes.Begun(Path(question.path).stem))
        rounds = Rounds([Contender(turn, data, cfg, here) for turn in question.arms], here, question.number)
        rounds.calibrate()
        startup_s = max(here.gather(process.alive_s(with_torchrun=True)))
        rounds.run(question.seconds, question.focus)
        rounds.close()
        peaks = here.gather(environment.peak_rss_bytes())
        machines = here.gather(machine.describe())[:: here.local_size]
        if here.is_main:
            net = found.step(cfg).net
            launch = Launch(
                schema=SCHEMA,
                study=Path(question.path).resolve().parent.name,
                number=question.number,
                settings=found.settings(cfg, here.device, net, data),
                parameters=num_parameters(net),
                environment=machines[0],
                started_at=started,
                startup_s=startup_s,
                order=rounds.order,
                round_s=rounds.round_s,
                stolen_s=rounds.stolen_s,
                visits=rounds.visits(),
                check=check,
                injected=cfg.injected,
                peak_rss_bytes=peaks,
                hosts=here.hosts,
                others=machines[1:],
            )
            files.write_whole(Path(question.path), msgspec.json.encode(launch) + b"\n")
            process.tell(notes.Complete())
        here.barrier()


if __name__ == "__main__":
    process.run(main)
