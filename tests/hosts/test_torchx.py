"""docs/hosts/component.py: TorchX itself submits it to a real Slurm of two nodes.

TorchX needs an older urllib3 than other packages here, so it is installed beside them, for this test alone.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from ddpbench.record import read_record
from tests.conftest import PROJECT
from tests.faults.launching import SHORT, wait_for
from tests.hosts import slurm

SECRET = "DDPBENCH_SECRET=only-for-this-test"  # as `export` would set it


@pytest.mark.long
@pytest.mark.timeout(300)
def test_torchx_starts_the_hosts_of_a_job_and_each_knows_which_it_is(tmp_path: Path) -> None:
    if why := slurm.missing():
        pytest.skip(why)
    place, results = tmp_path / "packages", tmp_path / "results"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place), "torchx"]
    if subprocess.run(pip, capture_output=True).returncode:
        pytest.skip("TorchX cannot be installed from here")
    component = f"{PROJECT}/docs/hosts/component.py:hosts"
    words = ("run", *SHORT, "--ranks", "1", "--threads", "1", "--results", str(results))
    (tmp_path / "launch.sh").write_text(f'exec bash {PROJECT}/launch.sh "$@"\n')  # TorchX writes files where it is
    start = ("env", "-C", tmp_path, f"PYTHONPATH={place}", SECRET, sys.executable, place / "bin/torchx", "run")
    with slurm.cluster() as made:
        options = ("--scheduler=slurm", component, "--count=2", "--cpu=1", "--memory_mb=100", "--")
        said = made.run(*start, *options, *words, code=1)
        assert "sacct" in said, "it submits, and fails to ask for the state: this Slurm keeps no accounts"
        job = made.run("squeue", "--noheader", "--format=%A").split()[0]
        wait_for(lambda: made.says(job, "JobState") in {"COMPLETED", "FAILED", "CANCELLED"}, 120)
        logs = "".join(path.read_text() for path in tmp_path.glob("slurm-*"))
        assert made.says(job, "JobState") == "COMPLETED", logs
    (record,) = [read_record(path) for path in results.glob("*.json")]
    assert (record.status, record.hosts, record.world_size) == ("complete", 2, 2)
