"""What tests of faults share: runs without one, to compare with."""

import pytest

from tests.faults.launching import Clean, Ended, alone, ddp, run


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """The same run without a fault, by comm, or "single" for one process; each is run once."""
    known: dict[str, Ended] = {}

    def of(comm: str) -> Ended:
        if comm not in known:
            results = tmp_path_factory.mktemp(f"clean-{comm}")
            known[comm] = run(alone(results) if comm == "single" else ddp(results, "--comm", comm), results)
            assert known[comm].code == 0, known[comm].err
        return known[comm]

    return of
