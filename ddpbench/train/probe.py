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

import msgspec
import torch

from ddpbench import config, questions
from ddpbench.comm import ddp
from ddpbench.config import TrainConfig
from ddpbench.errors import DdpbenchError
from ddpbench.tasks import task
from ddpbench.train import machine, world
from ddpbench.train.state import num_parameters


def main(start_s: float) -> None:
    """Answer until there are no more questions. `start_s` is what every run takes before it can load its data."""
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as answers:
        for line in sys.stdin.buffer:
            try:
                reply = _reply(msgspec.json.decode(line, type=questions.Question), start_s)
            except DdpbenchError as problem:
                reply = questions.Refused(why=str(problem), code=problem.exit_code)
            answers.write(msgspec.json.encode(reply) + b"\n")


def _reply(question: questions.Question, start_s: float) -> questions.Reply:
    cfg = config.parse(question.flags)
    if isinstance(question, questions.Describe):
        return _describe(cfg, start_s)
    world.check(cfg, question.ranks, question.ranks)
    return questions.Fine()


def _describe(cfg: TrainConfig, start_s: float) -> questions.Machine:
    """Fetch the data where it is missing, and describe what there is to train, and on what."""
    device = world.resolve_device(cfg)
    comm = ddp.resolve(cfg.comm, device, one_machine=True)
    world.check(cfg, 1, 1)
    begin = time.perf_counter()
    found = task.of(cfg)
    net, data = found.step(cfg).net, found.data(cfg, lambda line: print(line, file=sys.stderr, flush=True))
    return questions.Machine(
        environment=machine.describe(),
        settings=found.settings(cfg, device, net),
        device=device,
        comm=comm,
        gpus=torch.cuda.device_count() if device == "cuda" else 0,
        parameters=num_parameters(net),
        num_train=len(data.train),
        num_test=len(data.test),
        start_s=start_s + time.perf_counter() - begin,
    )


if __name__ == "__main__":
    main(process.alive_s(with_torchrun=False))
    os._exit(0)  # to take torch apart would keep the first run waiting
