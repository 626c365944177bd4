"""What jobs on two hosts are compared with: a run of two ranks on one host, with no fault and no supervisor."""

import pytest

from tests.faults.conftest import end_of, start_unsupervised
from tests.faults.launching import Ended


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """How it ended, and what it left."""
    folder = tmp_path_factory.mktemp("clean")
    ended = end_of(start_unsupervised("gloo", folder, "--timeout-s", "60"), folder)
    assert ended.code == 0, ended.err
    return ended
