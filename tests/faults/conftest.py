"""What tests of faults share: runs without one, to compare with."""

from pathlib import Path

import pytest

from tests import warm
from tests.faults.launching import SAVING, SHORT, Clean, Ended
from tests.warm import Warm


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """The same run without a fault and without a supervisor, by comm, or "single" for one process; each is run once."""
    known: dict[str, Ended] = {}

    def run(comm: str) -> Ended:
        if comm not in known:
            folder = tmp_path_factory.mktemp(f"clean-{comm}")
            known[comm] = end_of(start_unsupervised(comm, folder), folder)
            assert known[comm].code == 0, known[comm].err
        return known[comm]

    return run


def start_unsupervised(comm: str, folder: Path, *more: str) -> list[Warm]:
    """Start the processes of a run. Their results will be in a folder below `folder`."""
    flags = ("--threads", "1", *SHORT, *SAVING, "--results", str(folder / "results"), *more)
    if comm == "single":
        return [warm.start(["baseline_train.py", *flags], folder)]
    return warm.start_ranks(2, "ddp_train.py", *flags, "--comm", comm, folder=folder)


def end_of(processes: list[Warm], folder: Path) -> Ended:
    """Return how these processes ended, and what they left."""
    ended = [process.wait() for process in processes]
    code, err = max(process.returncode for process in ended), "".join(process.stderr for process in ended)
    return Ended.of(code, ended[0].stdout, err, folder / "results")
