"""Start-up is told by part, and the parts add up to the truth."""

import subprocess
import sys
import time

import pytest

from ddpbench import processes
from ddpbench.train import startup


def test_a_process_is_born_when_it_is_started() -> None:
    """To two ticks of the clock: psutil's time of day is up to a second off."""
    before = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    after = time.monotonic()
    born = processes.born(process.pid)
    process.communicate(b"\n")

    assert before - 0.02 <= born <= after + 0.02


def test_parts_follow_one_another_from_birth_on() -> None:
    code = (
        "from ddpbench.train import startup; import time; mine = startup.StartUp(); time.sleep(0.3);"
        "mine.reached('imports'); time.sleep(0.2);"
        "mine.reached('data'); mine.reached('data');"
        "print(mine.parts_s(with_parent=False), startup.alive_s(with_parent=False))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    parts, _, alive_s = said.strip().rpartition(" ")
    found = eval(parts)

    assert list(found) == [f"{part}_s" for part in ("launcher", *startup.PARTS)]
    assert found["launcher_s"] == 0
    assert found["imports_s"] == pytest.approx(0.3, abs=0.1)
    assert found["data_s"] == pytest.approx(0.2, abs=0.1)
    assert found["rendezvous_s"] == found["build_s"] == 0
    assert sum(found.values()) == pytest.approx(float(alive_s), abs=0.1)
