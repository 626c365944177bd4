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
from ddpbench.study import launch_line, run_line, screen
from ddpbench.study.screen import Screen
from ddpbench.turns import Pair, TurnArm

EPOCHS = [
    EpochDone(epoch=number + 1, epochs=3, train_s=train_s, figure=f"98.{number}0 %")
    for number, train_s in enumerate((4.0, 2.0, 3.0))
]


def test_parts_that_do_not_fit_are_left_out_the_last_first() -> None:
    assert screen.fit(["[1/2] a run", "2.50 s", "98.20%"], 40) == "[1/2] a run  2.50 s  98.20%"
    assert screen.fit(["[1/2] a run", "2.50 s", "98.20%"], 20) == "[1/2] a run  2.50 s"
    assert screen.fit(["[1/2] a run", "", "98.20%"], 40) == "[1/2] a run  98.20%"
    assert screen.fit(["[1/2] a run"], 5) == "[1/2]"


def test_the_first_of_several_epochs_is_warm_up() -> None:
    assert run_line.speed(EPOCHS) == "2.50 s an epoch"
    assert run_line.speed(EPOCHS[:1]) == "4.00 s an epoch"
    assert run_line.figure(EPOCHS) == "98.20 %"
    assert (run_line.speed([]), run_line.figure([])) == ("", "")


def pair(low: float | None, high: float | None, *, is_known: bool = False) -> Pair:
    parallel, reference = (
        TurnArm(arm=arm, global_batch=256) for arm in (Arm("ddp", 2, 1, "shm"), Arm("baseline", 1, 2, None))
    )
    return Pair(parallel, reference, 0.01, 0.01, 1.02, low, high, "cannot_tell", is_known, 0.03)


def test_what_launches_say_is_a_ratio_with_its_interval_or_how_many_batches_are_known() -> None:
    assert launch_line.result([pair(0.981, 1.06)]) == "ddp 2 x 1, shm  1.02x (0.98 - 1.06)"
    assert launch_line.result([pair(None, None)]) == "ddp 2 x 1, shm  1.02x"
    assert launch_line.result([pair(1e-9, 1e9)]) == "ddp 2 x 1, shm  1.02x", "two launches have no useful interval"
    assert launch_line.result([pair(1, 1, is_known=True), pair(0.9, 1.1)]) == "1 of 2 batches known"


@pytest.mark.parametrize("columns", [80, 96])
def test_the_times_that_are_left_stand_below_each_other(columns: int) -> None:
    stream = io.StringIO()
    log = Screen(stream)
    log.__class__ = type("Narrow", (Screen,), {"width": columns})
    for head, text in ((("speed", "launch 3"), "ddp 2 x 1  1.02x"), (("accuracy", "run 4/6"), "ddp 2 x 1, shm  1.02x")):
        log.say_parts([run_line.head_of(*head), run_line.padded(text, log), "about 100 min left"])
    first, second = stream.getvalue().splitlines()

    assert len(first) == len(second) <= columns
    assert first.endswith("about 100 min left")


def test_a_path_is_never_broken_where_lines_are() -> None:
    path, stream = f"/home/{'somebody/' * 12}results/20261126-120000", io.StringIO()
    Screen(stream).say(f"going on with {path}: 3 launches, and a line longer than a log has columns", indent="  ")
    lines = stream.getvalue().splitlines()

    assert f"{path}:" in stream.getvalue().split()
    assert all(len(line) <= screen.LOG_WIDTH or path in line for line in lines)
    assert len(lines) > 1


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
