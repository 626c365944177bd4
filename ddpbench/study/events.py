"""study.jsonl: what happened in a study, one JSON object a line, appended as it happens.

The file is also the lock of the study: one orchestrator at a time carries it out.
"""

import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import msgspec
from typing_extensions import Self

from ddpbench import __version__, environment, files
from ddpbench.command import NAME
from ddpbench.errors import DiskError
from ddpbench.study.plan import Request

EVENTS = "study.jsonl"


class EventLog:
    """The log of one study. While `with` lasts, this process holds the lock."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS
        self._begin_s, self._has_failed = time.monotonic(), False

    def __enter__(self) -> Self:
        """Take the lock. Raises UserError where another process has it, DiskError where the log cannot be written."""
        try:
            self._path.touch()
        except OSError as problem:
            raise DiskError(f"cannot write {self._path}: {problem.strerror}; choose another --results") from problem
        self._lock = files.lock(self._path, wait=False)
        return self

    def begin(self, request: Request) -> None:
        """Write that the study begins, or goes on."""
        self.write("began", version=__version__, request=msgspec.to_builtins(request))

    def end(self, exit_code: int) -> None:
        """Write that the study ends, and what this process itself has used."""
        own = {"peak_rss_bytes": environment.peak_rss_bytes(), "cpu_s": environment.cpu_s()}
        self.write("ended", exit_code=exit_code, **own)

    def write(self, event: str, **values: object) -> None:
        """Add an event. Where the disk refuses, print one line about it; the study goes on."""
        since_s = round(time.monotonic() - self._begin_s, 3)
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = msgspec.json.encode({"event": event, "at": now, "since_start_s": since_s, **values})
        try:
            with self._path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as problem:
            if not self._has_failed:
                why = f"cannot write {self._path}: {problem.strerror}"
                print(f"{NAME}: {why}; the study goes on, and its log lacks events", file=sys.stderr)
            self._has_failed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()
