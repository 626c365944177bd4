"""compare.py as a process: odd shells, odd folders, and the exit code of every way to end."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import compare
from ddpbench import errors, words
from ddpbench.errors import GateFailedError, UserError
from ddpbench.judge import judgement, study
from ddpbench.judge.change import change
from ddpbench.record import Record
from ddpbench.show import answer, charts, explain, layout, outputs, report, tables
from ddpbench.turns import Launch
from tests.conftest import PROJECT
from tests.judge.studies import complete, faster, launches, paired, swept, two_arms
from tests.records import MACHINE, ddp, make_record, put

COMPARE = str(PROJECT / "compare.py")
MATPLOTLIBRC = b"font.size: 30\nsavefig.dpi: 20\ntext.usetex: True\nno such key: 1\nbackend: none\n# not UTF-8: \xff\n"


def fail(problem: BaseException) -> Callable[..., None]:
    def main(*_: object) -> None:
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
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

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


def judge(folder: Path, *measured: Record | Launch) -> judgement.Judgement:
    folder.mkdir(exist_ok=True)
    put(folder, *measured)
    return judgement.judge(study.load([folder]))


@pytest.mark.slow
def test_odd_shells_and_folders_change_no_word_and_no_pixel(tmp_path: Path) -> None:
    """Everything at once: ASCII, a user's plotting set-up, no home, a folder that is no text, a stray in it."""
    folder, here = tmp_path / "st\udcff\nudy", tmp_path / "here"
    judged = judge(folder, *paired([2.0, 2.1, 2.05]))
    (folder / "notes.json").write_bytes(b"{}")
    here.mkdir()
    (here / "matplotlibrc").write_bytes(MATPLOTLIBRC)
    odd = {"PYTHONIOENCODING": "ascii", "MPLBACKEND": "module://matplotlib_inline.backend_inline", "HOME": "/proc"}
    odd |= {"MATPLOTLIBRC": str(here), "MPLCONFIGDIR": "/proc/none", "LC_ALL": "POSIX", "PYTHONUTF8": "0"}
    command = [sys.executable, COMPARE, os.fsencode(folder)]
    done = subprocess.run(command, cwd=here, env=os.environ | odd, capture_output=True, timeout=100, check=False)
    said = done.stdout.decode("ascii")

    assert (done.returncode, done.stderr) == (0, b"")
    assert "+- 0.00 %" in said
    assert said.count("left out: notes.json: no records") == 1
    assert "st\\udcff\\nudy: report.html" in " ".join(said.split()), "a long path before it may have filled the line"
    for picture in charts.build(judged):
        assert (folder / f"{picture.slug}.png").read_bytes() == picture.png, picture.slug
        assert picture.alt in (folder / "report.html").read_text()


def ended(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Run compare.py's main within this process. Returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, words)])
    try:
        errors.run(compare.main)
    except SystemExit as problem:
        return int(problem.code or 0)
    return 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("least", "code", "said"),
    [
        (1.0, 2, "compare.py: cannot write "),
        (2.5, 1, "compare.py: gate failed: speedup is 1.952, required at least 2.5; also: cannot write "),
    ],
)
def test_a_gate_holds_where_nothing_can_be_written(
    least: float,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    put(tmp_path, *paired([2.0, 2.1]))
    (tmp_path / "report.html").mkdir()

    assert ended(monkeypatch, tmp_path, "--fail-below-speedup", least) == code
    out, err = capfd.readouterr()
    assert out.startswith("FASTER   2 workers (DDP, gloo) against one process (2 threads)\n  speed      95 % faster")
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_a_fault_of_ours_is_never_a_failed_gate_and_hides_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, *paired([2.0, 2.1]))
    monkeypatch.setattr(outputs, "write_all", fail(KeyError("slug")))

    assert ended(monkeypatch, tmp_path, "--fail-below-speedup", 2.5) == 70
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "compare.py: gate failed: speedup is 1.952, required at least 2.5"
    assert lines[-1].startswith("compare.py: a fault of ddpbench")


@pytest.mark.slow
def test_a_terminal_is_filled_and_not_passed(tmp_path: Path) -> None:
    """A pseudoterminal of 70 columns. Elsewhere, as in a pipe, COLUMNS counts for nothing: a log has one width."""
    judged = judge(tmp_path, *complete())
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 70, 0, 0))
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, COMPARE, "--no-charts", str(tmp_path)]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    lines = shown.decode().split("\r\n")

    assert process.wait() == 0
    assert 66 <= max(map(len, lines)) <= 70
    assert "\n".join(lines).rstrip() == report.format_all([judged], [answer.write(judged)], layout.Page(70))


@pytest.mark.parametrize("columns", ["70", "200", None])
def test_a_pipe_has_one_width(columns: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)

    assert layout.of_output().width == 80


@pytest.mark.parametrize(("columns", "width"), [("70", 70), ("200", 80), ("20", 60)])
def test_a_terminal_has_its_own_width_or_that_of_columns(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert layout.of_output().width == width


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[judgement.Judgement]:
    """Return a whole study, a sweep, runs by hand, half a study, one launch, and one whose names are very long."""
    folder = tmp_path_factory.mktemp("many")
    long = msgspec.structs.replace(MACHINE, cpu_model="X" * 300)
    wide = {"world_size": 128, "threads": 128, "environment": long}
    return [
        judge(folder / "whole", *complete()),
        judge(folder / "unsure", *launches(5, faster(1.01), spread=0.05)),
        judge(folder / "sweep", *swept(check=320)),
        judge(folder / "hand", *two_arms()),
        judge(folder / "half", make_record(), ddp(seed=7, status="failed")),
        judge(folder / "one", *launches(1)),
        judge(folder / ("y" * 200), make_record(environment=long, threads=1024), ddp(**wide)),
    ]


@pytest.mark.parametrize("width", range(60, 81))
def test_nothing_is_wider_than_the_terminal_and_nothing_is_cut(width: int, many: list[judgement.Judgement]) -> None:
    page = layout.Page(width, "utf-8" if width % 2 else "ascii")
    reached = list(map(answer.write, many))
    shown = [report.format_all(many, reached, page), *(explain.explain(each, page) for each in many)]
    said = "".join("\n".join(shown).split())

    assert [line for text in shown for line in text.split("\n") if len(line) > width] == []
    assert [line for text in shown for line in text.split("\n") if line != line.rstrip()] == []
    for judged, written in zip(many, reached, strict=True):
        grid = tables.arms_table(judged) if judged.results else []
        words_shown = " ".join([written.title, written.subject, *(text for _, text in written.rows)])
        cells = {part for row in grid for cell in row for part in cell.split()} | {*words_shown.split()}
        assert [cell for cell in cells if words.showable(cell, page.encoding) not in said] == []


def test_a_change_reads_like_an_answer(tmp_path: Path) -> None:
    old, new = judge(tmp_path / "old", *launches(5, faster(1.25))), judge(tmp_path / "new", *launches(5, faster(1.1)))
    calm = judge(tmp_path / "calm", *launches(5, faster(1.25), spread=0.002))
    slower, same = (report.format_change(change(*pair)) for pair in ((old, new), (calm, calm)))

    assert slower.startswith(
        "SLOWER THAN BEFORE   2 workers (DDP, shared memory)\n  speed      12 % slower: 10 to 14 % (95 %)\n"
    )
    assert "before: old\nnow: new\n" in slower
    assert same.startswith("NO CHANGE THAT MATTERS   2 workers (DDP, shared memory)\n")
    assert max(map(len, slower.split("\n"))) <= 80


TABLE = [
    ("", "seconds (95 % CI)", "measured by"),
    ("smaller batches", "0.24 (0.14 - 0.62)", "one worker alone"),
    ("sum", "-", ""),
]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (
            60,
            """\
                   seconds (95 % CI)   measured by
smaller batches   0.24 (0.14 - 0.62)   one worker alone
sum                                -""",
        ),
        (
            48,
            """\
                  seconds (95 % CI)  measured by
smaller batches  0.24 (0.14 - 0.62)  one worker
                                     alone
sum                               -""",
        ),
        (
            42,
            """\
                       seconds  measured
                     (95 % CI)  by
smaller batches           0.24  one worker
                 (0.14 - 0.62)  alone
sum                          -""",
        ),
        (
            38,
            """\
smaller batches
  seconds (95 % CI): 0.24
                     (0.14 - 0.62)
  measured by:       one worker alone
sum""",
        ),
    ],
)
def test_a_table_wraps_and_then_stands_row_by_row(width: int, shown: str) -> None:
    assert layout.Page(width).table(TABLE) == shown
