"""Ranks that die, hang or go wrong: the run goes on from its newest checkpoint, to the bits of a clean one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.launching import Ended, ddp, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
Clean = Callable[[str], Ended]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """The same run without a fault, by comm; each is run once."""
    known: dict[str, Ended] = {}

    def of(comm: str) -> Ended:
        if comm not in known:
            results = tmp_path_factory.mktemp(f"clean-{comm}")
            known[comm] = run(ddp(results, "--comm", comm), results)
            assert known[comm].code == 0, known[comm].err
        return known[comm]

    return of


# Each kind once, with the comm and the rank that has most to lose.
@pytest.mark.parametrize(
    ("comm", "fault", "said"),
    [
        ("gloo", "kill=0@37", "rank 1: rank 0 did not bring its gradients: its process has ended"),
        ("shm", "kill=1@37,kill=1@120*", "rank 0: rank 1 did not bring its gradients: its process has ended"),
        ("gloo", "stop=1@100", "rank 0: rank 1 did not bring its gradients within 3 s: its process is stopped"),
        ("shm", "hang=0@100", "rank 1: rank 0 did not bring its gradients within 3 s: its process still runs"),
        ("shm", "hold=1@150", "rank 0: rank 1 did not bring its gradients within 3 s: its process still runs"),
        ("gloo", "raise=1@200", "rank 1: RuntimeError: a fault that was asked for (faults.py:"),
        ("shm", "abort=0@95", "rank 1: rank 0 did not bring its gradients: its process has ended"),
        ("gloo", "exit=1@60", "rank 0: rank 1 did not bring its gradients: its process has ended"),
        ("shm", "flip=1@130", "rank 1: after epoch 2 the weights of 1 rank (1) are not those of rank 0"),
    ],
)
def test_a_run_survives_its_ranks_and_learns_the_same_to_the_bit(
    comm: str, fault: str, said: str, clean: Clean, tmp_path: Path
) -> None:
    ended = run(ddp(tmp_path, "--comm", comm, "--inject", fault), tmp_path)

    assert ended.code == 0, ended.err
    assert said in ended.err
    assert ended.weights == clean(comm).weights
    assert ended.learnt == clean(comm).learnt
    assert ended.record.attempts == 2 + fault.count("*")
    assert any(epoch.resumed for epoch in ended.record.epochs)
    assert not any(tmp_path.glob("*.checkpoint"))
