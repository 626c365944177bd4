"""compare.py as a process: odd shells, odd folders, and the exit code of every way to end."""

import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from ddpbench import errors, words
from ddpbench.errors import GateFailedError, UserError

Run = Callable[..., subprocess.CompletedProcess[str]]


def fail(problem: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise problem

    return main


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (UserError("no such folder"), 2, "tool: no such folder"),
        (GateFailedError("gate failed: speedup"), 1, "tool: gate failed: speedup"),
        (KeyboardInterrupt(), 130, "tool: interrupted"),
        (KeyError("arm"), 70, "tool: a fault of ddpbench, not of your input (KeyError: 'arm'); please report it"),
        (RecursionError("too deep"), 70, "tool: a fault of ddpbench, not of your input (RecursionError: too deep)"),
        (FileNotFoundError(2, "No such file", "page.j2"), 70, "tool: a fault of ddpbench, not of your input"),
        (ValueError("\x1b[31m"), 70, r"(ValueError: \x1b[31m); please report it"),
    ],
)
def test_each_way_to_fail_has_its_exit_code(
    problem: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        errors.run(fail(problem), name="tool")
    lines = capsys.readouterr().err.splitlines()

    assert ended.value.code == code
    assert said in lines[-1]
    assert (lines[0] == "Traceback (most recent call last):") == (code == 70)
    assert len(lines) == 1 or code == 70


def test_output_that_cannot_be_written_is_no_fault_of_ours() -> None:
    code = "from ddpbench import errors; errors.run(lambda: print('a table'), name='tool')"
    with open(os.devnull.replace("null", "full"), "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert (done.returncode, done.stderr) == (2, "tool: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("4.81 ± 0.20", "ascii", "4.81 +- 0.20"),
        ("4.81 ± 0.20", "latin-1", "4.81 ± 0.20"),
        ("2 × 1 · n − 1", "ascii", "2 x 1 - n - 1"),
        ("café, ﬁle, 猫", "ascii", "cafe, file, ?"),
        ("café, 猫", "latin-1", "café, ?"),
        ("a\udcffb", "utf-8", "a?b"),
    ],
)
def test_what_an_encoding_cannot_show_gets_a_plain_stand_in(text: str, encoding: str, shown: str) -> None:
    assert words.showable(text, encoding) == shown


def test_output_of_every_encoding_is_written_so(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)
    words.readable_output()
    print("±", flush=True)

    assert raw.getvalue() == b"+-\n"
