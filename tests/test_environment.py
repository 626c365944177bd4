"""What is recorded of the machine: usable cores, memory, versions, and nothing private."""

import getpass
import mmap
import os
import platform
from pathlib import Path

import msgspec
import pytest

from ddpbench import environment
from ddpbench.train import machine


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"job/step/cpu.max": "max 100000", "job/cpu.max": "300000 100000"}, 3),
        ({"cpu/job/cpu.cfs_quota_us": "200000", "cpu/job/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cores_are_those_the_process_may_use(
    files: dict[str, str], cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(content)

    membership = tmp_path / "membership"
    membership.write_text("4:cpu,cpuacct:/job\n1:name=systemd:/x\n0::/job/step\n")

    assert environment.usable_cores(tmp_path, membership) == (cores or 7)


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})

    assert environment.usable_cores(tmp_path) == 1


def test_peak_memory_is_at_least_what_was_just_touched() -> None:
    before = environment.peak_rss_bytes()
    block = bytearray(os.urandom(1)) * (before + 2**26)

    assert environment.peak_rss_bytes() >= len(block)


def test_a_description_holds_no_host_name_user_or_path() -> None:
    text = msgspec.json.encode(machine.describe()).decode()

    assert platform.node() not in text
    assert f'"{getpass.getuser()}"' not in text
    assert str(Path.home()) not in text
    assert "/" not in text.replace("n/a", "")


def test_what_is_mapped_from_a_file_is_not_private(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(2**16) * 2**10)
    before = environment.private_bytes()
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) >= 0
        of_file = environment.private_bytes() - before
        own = bytearray(mapped)
        of_copy = environment.private_bytes() - before

    assert of_file < 2**25 < len(own) <= of_copy + 2**20
