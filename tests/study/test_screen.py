"""What a person sees: lines that fit, one that is rewritten on a terminal, and in a log only lines that stay."""

import io
import os
import pty
import struct
import termios
from fcntl import ioctl

import pytest

from ddpbench.arm import Arm
from ddpbench.notes import EpochDone
from ddpbench.study import run_line, screen
from ddpbench.study.plan import Job
from ddpbench.study.screen import Screen

WHOLE = Job(arm=Arm("ddp", 2, 1, "shm"), global_batch=256, steps=None, epochs=3)
TIMED = Job(arm=Arm("ddp", 2, 1, "shm"), global_batch=512, steps=100, epochs=2)
CONTROL = Job(arm=Arm("ddp", 2, 1, "none"), global_batch=256, steps=None, epochs=3)
EPOCHS = [
    EpochDone(epoch=number + 1, epochs=3, train_s=train_s, accuracy=0.98 + number / 1000)
    for number, train_s in enumerate((4.0, 2.0, 3.0))
]


def test_parts_that_do_not_fit_are_left_out_the_last_first() -> None:
    assert screen.fit(["[1/2] a run", "2.50 s", "98.20%"], 40) == "[1/2] a run  2.50 s  98.20%"
    assert screen.fit(["[1/2] a run", "2.50 s", "98.20%"], 20) == "[1/2] a run  2.50 s"
    assert screen.fit(["[1/2] a run", "", "98.20%"], 40) == "[1/2] a run  98.20%"
    assert screen.fit(["[1/2] a run"], 5) == "[1/2]"


def test_the_first_of_several_epochs_is_warm_up_and_a_control_has_no_accuracy() -> None:
    assert run_line.speed(WHOLE, EPOCHS) == "2.50 s an epoch"
    assert run_line.speed(WHOLE, EPOCHS[:1]) == "4.00 s an epoch"
    assert run_line.speed(TIMED, EPOCHS) == "25.00 ms a step"
    assert run_line.speed(WHOLE, []) == ""
    assert [run_line.accuracy(job, EPOCHS) for job in (WHOLE, TIMED, CONTROL)] == ["98.20%", "", ""]


def test_a_log_gets_only_lines_that_stay() -> None:
    stream = io.StringIO()
    log = Screen(stream)
    log.rewrite(["running"])
    log.say_parts(["done", "2.50 s"])
    log.warn("a\x1bb")

    assert stream.getvalue() == "done  2.50 s\nlaunch.sh: a\\x1bb\n"


@pytest.mark.parametrize("columns", [60, 80])
def test_a_terminal_gets_one_line_rewritten_within_its_width(columns: int) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        terminal = Screen(stream)
        terminal.rewrite(["a long line " * 3, "more " * 3, "and more " * 9])
        terminal.rewrite(["short"])
        terminal.say("words " * 40)
        terminal.say("end")
        written = ""
        while not written.endswith("end\r\n"):
            written += os.read(ours, 10_000).decode()
    os.close(ours)

    lines = written.replace("\r\n", "\n").split("\n")
    assert max(len(part) for line in lines for part in line.split("\r")) <= columns
    assert "\r" in lines[0]
    assert "short" in lines[0]
    assert lines[1].startswith("words")
