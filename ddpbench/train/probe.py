"""What only torch can tell before a study. The orchestrator, which never imports torch, asks this process.

python -m ddpbench.train.probe DESCRIPTOR

It reads one question a line from standard input and writes one answer a line to the descriptor, both typed JSON. It
ends when there are no more questions.
"""

from ddpbench.train import life

if __name__ == "__main__":
    process = life.begin()  # before the imports below, which take a second

import os
import sys
import time
from dataclasses import dataclass

import msgspec
import torch

from ddpbench import config, environment, questions
from ddpbench.arm import Arm
from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.errors import DdpbenchError
from ddpbench.tasks import task
from ddpbench.tasks.step import Step
from ddpbench.tasks.task import Data, Task
from ddpbench.train import alone, findings, machine, space, world
from ddpbench.train.space import Sizes
from ddpbench.train.state import num_parameters
from ddpbench.turns import TurnArm


def main(start_s: float) -> None:
    """Answer until there are no more questions. `start_s` is what every run takes before it can load its data."""
    probe = Probe(start_s)
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as answers:
        for line in sys.stdin.buffer:
            try:
                reply = probe.reply(msgspec.json.decode(line, type=questions.Question))
            except DdpbenchError as problem:
                reply = questions.Refused(why=str(problem), code=problem.exit_code)
            answers.write(msgspec.json.encode(reply) + b"\n")


@dataclass
class Probe:
    """What answers. Checks are about the task that was described last."""

    start_s: float
    sizes: Sizes | None = None

    def reply(self, question: questions.Question) -> questions.Reply:
        """Answer a question. Raises UserError for what a run would refuse."""
        cfg = config.parse(question.flags)
        if isinstance(question, questions.Describe):
            return self._describe(cfg)
        world.check(cfg, question.ranks, question.ranks)
        self._require_space(cfg, question.ranks)
        return questions.Fine()

    def _require_space(self, cfg: TrainConfig, ranks: int) -> None:
        """Raise UserError where so many workers, and nothing else, do not fit into the memory of this machine."""
        if self.sizes is None:
            return
        threads = cfg.threads or max(1, environment.usable_cores() // ranks)
        arms = [TurnArm(arm=Arm("ddp", ranks, threads, None), global_batch=cfg.global_batch)]
        space.require_shared(self.sizes, arms, environment.free_shared_bytes())
        if machine.resolve(cfg) == "cpu":  # what is free on a GPU is known once it is used
            space.require_memory(self.sizes, arms, environment.free_memory_bytes())

    def _describe(self, cfg: TrainConfig) -> questions.Machine:
        """Fetch the data where it is missing, and describe what there is to train, and on what."""
        device = machine.resolve(cfg)
        comm = ddp.resolve(cfg.comm, device, hosts=1, local_size=1)
        world.check(cfg, 1, 1)
        begin = time.perf_counter()
        found = task.of(cfg)
        with environment.within_free_memory():
            step = found.step(cfg)
        net, before = step.net, environment.private_bytes()
        data = found.data(cfg, lambda line: print(line, file=sys.stderr, flush=True))
        took_s = time.perf_counter() - begin
        self.sizes = space.sizes_of(net, data, cfg, max(0, environment.private_bytes() - before))
        if device == "cpu":  # a network for GPUs may have layers that CPUs do not know
            _try(found, step, data, cfg)
        return questions.Machine(
            environment=machine.describe(),
            settings=found.settings(cfg, device, net, data),
            device=device,
            comm=comm,
            gpus=machine.gpus() if device == "cuda" else 0,
            parameters=num_parameters(net),
            num_train=len(data.train),
            num_test=len(data.test),
            start_s=self.start_s + took_s,
        )


def _try(found: Task, step: Step, data: Data, cfg: TrainConfig) -> None:
    """Train on two samples, and test with two: what fails at the first step is known before anything starts."""
    with findings.eager(step):
        total, _ = step.train()(data.train.take(torch.arange(min(2, len(data.train)))))
        alone.backward(total, found)
        with torch.no_grad():
            found.measure(step.net.eval(), data.test.take(torch.arange(min(2, len(data.test)))), cfg)


if __name__ == "__main__":
    main(process.alive_s(with_torchrun=False))
    os._exit(0)  # to take torch apart would keep the first run waiting
