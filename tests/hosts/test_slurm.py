"""docs/hosts/slurm.sh under a real Slurm of two nodes, whose jobs run on two hosts: signals, the queue, preemption."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ddpbench.record import read_record
from ddpbench.train import checkpoint
from tests.conftest import PROJECT
from tests.faults.launching import SHORT, wait_for
from tests.hosts import slurm
from tests.hosts.slurm import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
SCRIPT = "docs/hosts/slurm.sh"
EPOCHS = 8
RUN = ("run", *SHORT, "--ranks", "1", "--threads", "1", "--checkpoint-every", "20")
MOST_S = 120  # until something happens, on a machine that is busy


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if why := slurm.missing():
        pytest.skip(why)
    with slurm.cluster() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_in_the_queue(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.end()


def begin(cluster: Cluster, folder: Path, *options: str, script: str | Path = SCRIPT, epochs: int = EPOCHS) -> str:
    """Submit a job, and wait until it has finished an epoch. Returns its number."""
    words = (*RUN, "--epochs", str(epochs), "--results", folder / "results")
    job = cluster.submit(*options, script, *words, output=folder / "log")
    wait_for(lambda: has_record(folder) or has_ended(cluster, job), MOST_S)
    assert cluster.says(job, "JobState") == "RUNNING", log_of(folder)
    return job


def has_record(folder: Path) -> bool:
    return any((folder / "results").glob("*.json"))


def has_ended(cluster: Cluster, job: str) -> bool:
    return cluster.says(job, "JobState") not in {"PENDING", "RUNNING", "COMPLETING"}


def log_of(folder: Path) -> str:
    return (folder / "log").read_text() if (folder / "log").exists() else ""


def complete(cluster: Cluster, job: str, folder: Path) -> None:
    """Wait for a job's end, and require the one record of a whole run on two hosts that was stopped once."""
    wait_for(lambda: has_ended(cluster, job), MOST_S)
    assert (cluster.says(job, "JobState"), cluster.says(job, "ExitCode")) == ("COMPLETED", "0:0"), log_of(folder)
    (record,) = [read_record(path) for path in (folder / "results").glob("*.json")]
    assert (record.status, record.hosts, record.world_size) == ("complete", 2, 2)
    assert [epoch.epoch for epoch in record.epochs] == [*range(1, EPOCHS + 1)]
    assert record.attempts == 2, "it was stopped, and went on from its checkpoint"


def require_saved(folder: Path) -> None:
    """Require a run that was stopped, and can go on."""
    (record,) = [read_record(path) for path in (folder / "results").glob("*.json")]
    (place,) = (folder / "results").glob(f"*{checkpoint.SUFFIX}")
    assert record.status == "preempted", log_of(folder)
    assert all(map(checkpoint.is_whole, checkpoint.generations(place)))


def signal_it(cluster: Cluster, job: str) -> None:
    cluster.run("scancel", "--signal=USR1", job)


def preempt(cluster: Cluster, job: str) -> None:
    """Submit a job that needs both nodes, and is more urgent."""
    cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 1", output=Path("/dev/null"))


def requeue(cluster: Cluster, job: str) -> None:
    cluster.run("scontrol", "requeue", job)


@pytest.mark.parametrize(
    "stop", [signal_it, *(pytest.param(each, marks=pytest.mark.long) for each in (preempt, requeue))]
)
def test_a_job_that_loses_its_nodes_saves_and_goes_on_when_it_has_nodes_again(
    cluster: Cluster, tmp_path: Path, stop: Callable[[Cluster, str], None]
) -> None:
    job = begin(cluster, tmp_path)
    stop(cluster, job)
    wait_for(lambda: cluster.says(job, "JobState") == "PENDING", MOST_S)
    require_saved(tmp_path)
    cluster.start_soon(job)
    complete(cluster, job, tmp_path)

    assert cluster.says(job, "Restarts") == "1"
    assert log_of(tmp_path).count("2 hosts are here (SLURM_*)") == 2


def test_several_tasks_on_a_node_are_refused(cluster: Cluster) -> None:
    said = cluster.run("srun", "--nodes=2", "--ntasks-per-node=2", "bash", "launch.sh", *RUN, code=2)

    assert "use srun --ntasks-per-node=1" in said
    assert "Traceback" not in said


@pytest.mark.long
def test_a_cancelled_job_has_saved_and_another_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    first = begin(cluster, tmp_path)
    cluster.run("scancel", first)
    wait_for(lambda: has_ended(cluster, first), MOST_S)
    assert cluster.says(first, "JobState") == "CANCELLED"
    require_saved(tmp_path)

    words = (*RUN, "--epochs", str(EPOCHS), "--resume", "--results", tmp_path / "results")
    second = cluster.submit(SCRIPT, *words, output=tmp_path / "log")
    complete(cluster, second, tmp_path)


@pytest.mark.long
def test_the_signal_of_the_script_comes_before_the_end_of_the_allowed_time(cluster: Cluster, tmp_path: Path) -> None:
    """Slurm looks every half a minute, and sends the signal up to a minute early."""
    job = begin(cluster, tmp_path, "--time=2", "--signal=USR1@60", epochs=10_000)
    wait_for(lambda: cluster.says(job, "JobState") == "PENDING", 150)
    require_saved(tmp_path)
    assert cluster.says(job, "Restarts") == "1"


@pytest.mark.long
def test_slurms_own_rule_for_the_exit_code_starts_a_job_again(tmp_path: Path) -> None:
    """Of an administrator: RequeueExit. The script asks for it as well, which is one restart all the same."""
    plain = tmp_path / "plain.sh"
    lines = (PROJECT / SCRIPT).read_text().splitlines(keepends=True)
    plain.write_text("".join(line for line in lines if "scontrol" not in line))
    with slurm.cluster("RequeueExit=75,143") as made:
        for name, script, code in (("both", SCRIPT, "75"), ("plain", plain, "143")):
            folder = tmp_path / name
            folder.mkdir()
            job = begin(made, folder, f"--export=ALL,EXIT_AGAIN={code}", script=script)
            signal_it(made, job)
            wait_for(lambda made=made, job=job: made.says(job, "JobState") == "PENDING", MOST_S)
            made.start_soon(job)
            complete(made, job, folder)
            assert made.says(job, "Restarts") == "1"


@pytest.mark.long
def test_a_study_that_loses_its_nodes_goes_on_with_the_launches_that_it_has(cluster: Cluster, tmp_path: Path) -> None:
    words = ("speed", *SHORT[:6], "--minutes", "0.2", "--results", tmp_path / "results")
    job = cluster.submit(SCRIPT, *words, output=tmp_path / "log")
    wait_for(lambda: any(tmp_path.rglob("turns-*.json")) or has_ended(cluster, job), 300)
    signal_it(cluster, job)
    wait_for(lambda: cluster.says(job, "JobState") == "PENDING", MOST_S)
    cluster.start_soon(job)
    wait_for(lambda: has_ended(cluster, job), 300)

    assert (cluster.says(job, "JobState"), cluster.says(job, "Restarts")) == ("COMPLETED", "1"), log_of(tmp_path)
    assert re.search(r"going on with \S+: [1-9]\d* launch", " ".join(log_of(tmp_path).split()))
    (summary,) = tmp_path.rglob("summary.json")
    assert (summary.parent / "report.html").exists()
