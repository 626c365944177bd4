"""What the orchestrator asks torch, in a process of its own that ends before the runs begin."""

import os
import select
import sys
from types import TracebackType

import msgspec
from typing_extensions import Self

from ddpbench import questions
from ddpbench.config import TrainConfig, to_flags
from ddpbench.errors import DataError, UserError
from ddpbench.notes import Launch
from ddpbench.questions import Fine, Machine, Question, Refused
from ddpbench.study.runner import LOOK_EVERY_S, Program, Stop, Stopped, wait


class Inquiry:
    """A process that answers questions while `with` lasts.

    Each question raises UserError or DataError for what a run would refuse, and Stopped after a signal.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def __enter__(self) -> Self:
        answers, answers_end = os.pipe()
        questions_end, self._questions = os.pipe()
        command = [sys.executable, "-m", "ddpbench.train.probe", str(answers_end)]
        # Libraries may print on standard output, so it is led to standard error, and a descriptor carries the answers.
        with os.fdopen(questions_end, "rb") as stdin:
            program = Program(["sh", "-c", 'exec "$@" >&2', "sh", *command])
            self._child = program.start(Launch(parent=os.getpid()), keep=[answers_end], stdin=stdin)
        os.close(answers_end)
        self._answers = os.fdopen(answers, "rb")
        return self

    def describe(self, cfg: TrainConfig) -> Machine:
        """Return what there is to train, and on what."""
        reply = self._ask(questions.Describe(to_flags(cfg)))
        assert isinstance(reply, Machine)
        return reply

    def check(self, cfg: TrainConfig, ranks: int) -> None:
        """Raise UserError unless so many ranks can train with this configuration."""
        reply = self._ask(questions.Check(to_flags(cfg), ranks))
        assert isinstance(reply, Fine)

    def _ask(self, question: Question) -> questions.Reply:
        try:
            os.write(self._questions, msgspec.json.encode(question) + b"\n")
            while not select.select([self._answers], [], [], LOOK_EVERY_S)[0]:
                if self._stop.signal is not None:
                    raise Stopped
            line = self._answers.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise UserError("the process that asks torch about this machine ended without an answer; see above")
        reply: questions.Reply = msgspec.json.decode(line, type=questions.Reply)
        if isinstance(reply, Refused):
            raise DataError(reply.why) if reply.code == DataError.exit_code else UserError(reply.why)
        return reply

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._questions)
        self._answers.close()
        wait(self._child, self._stop)
