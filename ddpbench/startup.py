"""How far this process has come on its way to the first training step. Import it first: it notes that Python is up."""

import time

import psutil

PARTS = ("interpreter", "imports", "data", "rendezvous", "build")  # one after the other; see record.Startup
_reached = {"interpreter": time.time()}  # the clock that tells when processes were born


def reached(part: str) -> None:
    """Note that a part of start-up ends now; the first call for a part counts."""
    _reached.setdefault(part, time.time())


def parts_s(*, with_parent: bool) -> dict[str, float]:
    """Return the seconds of each part so far, and first those of the launcher: 0 unless the parent is torchrun."""
    process = psutil.Process()
    born = float(process.create_time())
    parent = process.parent() if with_parent else None
    parts = {"launcher_s": max(0.0, born - float(parent.create_time())) if parent else 0.0}
    before = born
    for part in PARTS:
        now = max(before, _reached.get(part, before))
        parts[f"{part}_s"], before = now - before, now
    return parts
