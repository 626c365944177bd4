"""study.jsonl: what happened in a study, one JSON object a line, appended as it happens.

The file is also the study's lock: one orchestrator at a time writes it.
"""

import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import msgspec
from typing_extensions import Self

from ddpbench import files
from ddpbench.errors import DiskError

EVENTS = "study.jsonl"


class EventLog:
    """The log of one study, this process's alone while `with` lasts."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / EVENTS
        self._begin, self._works = time.monotonic(), True

    def __enter__(self) -> Self:
        """Take the lock. Raises UserError where another orchestrator has it."""
        try:
            self._path.touch()
        except OSError as problem:
            raise DiskError(f"cannot write {self._path}: {problem.strerror}; choose another --results") from problem
        self._lock = files.lock(self._path, wait=False)
        return self

    def write(self, event: str, **facts: object) -> None:
        """Add an event. Where the disk refuses, that is said once, and the study goes on."""
        since_s = round(time.monotonic() - self._begin, 3)
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = msgspec.json.encode({"event": event, "at": now, "since_start_s": since_s, **facts})
        try:
            with self._path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as problem:
            if self._works:
                print(f"launch.sh: cannot write {self._path}: {problem.strerror}; the study goes on", file=sys.stderr)
            self._works = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()
