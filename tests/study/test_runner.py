"""A run, supervised: with fake processes, and lists of what they note."""

import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ddpbench import memory, notes
from ddpbench.notes import AnyNote, Begun, Complete, Failed, Launch, Saved
from ddpbench.study.attempts import End
from ddpbench.study.runner import Notebook, Observer, Program, Stop, supervise, wait


@dataclass
class FakeChild:
    """A process that notes something at each look, and ends after the last."""

    script: list[Sequence[AnyNote]]
    exit_code: int
    launch: Launch
    signals: list[int] = field(default_factory=list)
    stop: Stop | None = None  # gets a signal after the first look

    def wait(self, timeout: float | None = None) -> int:
        if not self.script:
            return self.exit_code
        for note in self.script.pop(0):
            notes.append(self.launch.notes, note)
        if self.stop is not None:
            self.stop.signal = signal.SIGTERM
        raise subprocess.TimeoutExpired("fake", timeout or 0)

    def send_signal(self, sig: int) -> None:
        self.signals.append(sig)


@dataclass
class Listener(Observer):
    """Keeps what an observer is told."""

    events: list[object] = field(default_factory=list)

    def attempt_began(self, attempt: int) -> None:
        self.events.append(f"began {attempt}")

    def noted(self, note: AnyNote) -> None:
        self.events.append(type(note).__name__)

    def attempt_ended(self, attempt: int, end: End) -> None:
        self.events.append(f"{end.outcome} {attempt}")


def carry_out(
    attempts: list[tuple[list[Sequence[AnyNote]], int]], *, restarts: int = 3, stop: Stop | None = None
) -> tuple[End, list[object], list[FakeChild]]:
    """Supervise a run whose attempts note and end like this."""
    children: list[FakeChild] = []
    listener = Listener()

    def spawn(launch: Launch) -> FakeChild:
        script, code = attempts[launch.attempt]
        children.append(FakeChild(list(script), code, launch, stop=stop))
        return children[-1]

    with Notebook() as notebook:
        end = supervise(spawn, notebook, stop or Stop(), listener, restarts=restarts, has_ranks=False)
    return end, listener.events, children


def test_a_run_that_is_killed_is_started_again_and_knows_why_and_as_what() -> None:
    killed = ([[Begun(run="a-run")], [Saved(at=(1, 30))]], -9)
    end, events, children = carry_out([killed, ([[Complete(attempt=1)]], 0)])

    assert end == End("complete", "", 0)
    assert events == ["began 0", "Begun", "Saved", "again 0", "began 1", "Complete", "complete 1"]
    assert [child.launch.attempt for child in children] == [0, 1]
    assert children[0].launch.begun == []
    assert children[1].launch.begun == ["a-run"]
    assert (
        children[1].launch.failure == "the process after epoch 1, step 30 was killed by SIGKILL (often: out of memory)"
    )


def test_restarts_are_used_up_and_then_it_has_failed() -> None:
    end, events, _ = carry_out([([], -9), ([[Saved(attempt=1)]], -9), ([], -9)], restarts=2)

    assert (end.outcome, end.exit_code) == ("failed", 4)
    assert [event for event in events if event != "Saved"] == [
        *("began 0", "again 0", "began 1", "again 1", "began 2", "failed 2")
    ]


def test_what_would_end_the_same_way_is_not_started_again() -> None:
    bad = Failed(why="--lr must be above 0", code=2, is_final=True)
    end, events, _ = carry_out([([[bad]], 2)])

    assert (end.outcome, end.exit_code, end.why) == ("failed", 2, "the process: --lr must be above 0")
    assert events == ["began 0", "Failed", "failed 0"]


def test_a_signal_is_passed_on_once_and_no_attempt_follows() -> None:
    saved = Failed(why="told to stop: saved", code=75, is_final=True)
    end, _, children = carry_out([([[], [saved], []], 75)], stop=Stop())

    assert (end.outcome, end.exit_code) == ("stopped", 75)
    assert [child.signals for child in children] == [[signal.SIGTERM]]


def test_a_run_that_completes_although_it_is_told_to_stop_is_complete() -> None:
    end, _, _ = carry_out([([[], [Complete()]], 0)], stop=Stop())

    assert end.outcome == "complete"


def test_a_signal_before_the_first_look_stops_the_process_at_once() -> None:
    stop = Stop()
    stop.signal = signal.SIGHUP
    child = FakeChild([[]], 75, Launch(parent=1))

    assert wait(child, stop) == 75
    assert child.signals == [signal.SIGTERM]


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        (signal.SIGINT, 75, 130),
        (signal.SIGHUP, 75, 129),
        (signal.SIGTERM, 75, 75),
        (signal.SIGUSR1, 75, 75),
        (signal.SIGTERM, 0, 143),
        (signal.SIGUSR1, 4, 128 + signal.SIGUSR1),
    ],
)
def test_a_study_ends_with_75_only_where_a_scheduler_stops_it_and_the_run_has_saved(
    number: int, code: int, expected: int
) -> None:
    stop = Stop()
    stop.signal = number

    assert stop.exit_code(code) == expected


def test_notes_that_are_written_in_parts_are_read_when_they_are_whole() -> None:
    with Notebook() as notebook, Path(notebook.path).open("ab", buffering=0) as file:
        file.write(b'{"what":"saved","rank":1}\n{"what":"be')
        assert [note.rank for note in notebook.read_new()] == [1]
        assert notebook.read_new() == []
        file.write(b'gun","run":"x"}\n')
        assert notebook.read_new() == [Begun(run="x")]
        assert len(notebook.notes) == 2


def test_a_log_keeps_what_the_attempt_before_has_printed(tmp_path: Path) -> None:
    for attempt in (0, 1):
        program = Program(["sh", "-c", f"echo attempt {attempt}; echo failed >&2"], tmp_path / "logs" / "run.log")
        assert program.start(Launch(parent=1, attempt=attempt)).wait(timeout=30) == 0

    assert (tmp_path / "logs" / "run.log").read_text() == "attempt 0\nfailed\nattempt 1\nfailed\n"


def test_the_memory_of_notes_is_found_by_its_path_alone() -> None:
    descriptor = memory.private("ddpbench-notes")

    assert notes.append(memory.path(descriptor), Saved())
    assert not notes.append("/proc/0/fd/0", Saved())


@pytest.mark.parametrize("note", [Begun(run="r"), Saved(at=(1, 2)), Failed(why="w", code=4, peer=1), Complete()])
def test_a_note_comes_back_as_it_was(note: AnyNote) -> None:
    descriptor = memory.private("ddpbench-notes")
    notes.append(memory.path(descriptor), note)

    assert notes.read(Path(memory.path(descriptor)).read_bytes()) == [note]
