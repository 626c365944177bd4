"""Losses of a known size, added on purpose to real runs, are found under their own name and nowhere else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from ddpbench.arm import Arm
from ddpbench.errors import UserError
from ddpbench.judge import breakdown, study
from ddpbench.judge.breakdown import COMMUNICATION, CONTENTION, IDEAL, REDUCING, SMALLER, UNEVEN, WAITING
from ddpbench.record import read_record
from tests.conftest import PROJECT
from tests.hooks import losses
from tests.judge.attribution import LARGE_SHARE, SLOW_RANK, SLOW_REDUCTION_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROUNDS = 3
BATCH, STEPS = 1_000, 6  # of the synthetic data
Run = Callable[..., subprocess.CompletedProcess[str]]
Terms = dict[str, float]


class Study:
    """Real runs with every loss, in one torchrun job, interleaved; more rounds can be added."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.rounds = folder, 0

    def run_more(self) -> None:
        """Run every variant for three more seeds."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
        # Few and long steps: waking a rank that has waited long costs a millisecond a step, and is no part of a loss.
        flags = f"--dataset synthetic --model mlp --global-batch {BATCH} --epochs 2 --device cpu".split()
        done = subprocess.run(
            [*torchrun, "-m", "tests.judge.attribution", str(self._folder), str(self.rounds), str(ROUNDS), *flags],
            cwd=PROJECT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=230,
        )
        assert done.returncode == 0, done.stderr
        self.rounds += ROUNDS

    def require(self, check: Callable[[Terms, Terms], None], loss: str) -> None:
        """Check a loss against no loss; a machine disturbed in these rounds is given as many again, once."""
        try:
            check(*(median_terms(self._folder, name, self.rounds) for name in ("none", loss)))
        except AssertionError:
            if self.rounds > ROUNDS:
                raise
            self.run_more()
            check(*(median_terms(self._folder, name, self.rounds) for name in ("none", loss)))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = Study(tmp_path_factory.mktemp("attribution"))
    made.run_more()
    return made


def median_terms(folder: Path, name: str, seeds: int) -> Terms:
    """Return the terms of one loss: each the median of the rounds, so that one disturbed run decides nothing."""
    rounds = []
    for seed in range(seeds):
        files = [*(folder / "singles").glob("*.json"), *(folder / name).glob("*.json")]
        judged = study.load([path for path in files if read_record(path).seed == seed], allow_injected=True)
        told = breakdown.break_down(judged, Arm("ddp", 2, 1, "gloo"))
        assert not told.unexplained
        rounds.append({term.term: term.seconds.value for term in told.terms if term.seconds})
        rounds[-1]["observed"] = told.observed.value
    return {term: median(each[term] for each in rounds) for term in rounds[0]}


def require_found(clean: Terms, spoilt: Terms, term: str, injected_s: float, elsewhere: tuple[str, ...]) -> None:
    """Fail unless the loss lies within 15 % in its own term, and no other moves by more than 15 % of it.

    Communication may fall by what ranks waited for each other by turns: beside a loss that makes one of them always
    wait, or work while another one waits, there is no such waiting.
    """
    grown = {name: spoilt[name] - clean[name] for name in clean}
    said = {name: f"{value:+.3f}" for name, value in grown.items()}
    assert grown[term] == pytest.approx(injected_s, rel=0.15), (injected_s, said)
    for other in elsewhere:
        displaced_s = clean[WAITING] if other == COMMUNICATION else 0
        assert -0.15 * injected_s - displaced_s <= grown[other] <= 0.15 * injected_s, (other, injected_s, said)


def half_s(clean: Terms) -> float:
    """Return the seconds that half of an epoch's samples cost one worker alone."""
    return clean[IDEAL] + clean[SMALLER]


def test_a_slower_link_is_exposed_communication(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        injected_s = STEPS * SLOW_REDUCTION_S
        require_found(clean, spoilt, COMMUNICATION, injected_s, (IDEAL, UNEVEN, SMALLER, CONTENTION, WAITING))
        require_found(clean, spoilt, REDUCING, injected_s, ())

    found.require(check, f"slow-reduction={SLOW_REDUCTION_S}")


def test_a_slow_rank_is_waited_for(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        injected_s = (SLOW_RANK - 1) * half_s(clean)
        require_found(clean, spoilt, COMMUNICATION, injected_s, (IDEAL, UNEVEN, SMALLER, CONTENTION, REDUCING))
        # Ranks that waited for each other by turns now wait for one: that much is displaced, not added.
        assert spoilt[WAITING] == pytest.approx(injected_s, rel=0.15)

    found.require(check, f"slow-rank={SLOW_RANK}")


def test_a_larger_share_is_uneven(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        injected_s = (LARGE_SHARE - 0.5) * 2 * half_s(clean)
        require_found(clean, spoilt, UNEVEN, injected_s, (IDEAL, SMALLER, CONTENTION, COMMUNICATION, REDUCING))
        # And it is what an epoch really took longer.
        assert spoilt["observed"] - clean["observed"] == pytest.approx(injected_s, rel=0.15)

    found.require(check, f"large-share={LARGE_SHARE}")


def test_ranks_on_one_core_contend(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        # Each stands still while the other works.
        require_found(clean, spoilt, CONTENTION, half_s(clean), (IDEAL, UNEVEN, SMALLER, COMMUNICATION))

    found.require(check, "one-core=1")


def test_a_late_start_is_start_up(tmp_path: Path, run_script: Run) -> None:
    torchrun = ("torchrun", "--nproc_per_node=2", "ddp_train.py", "--dataset", "synthetic", "--device", "cpu")
    torchrun += ("--model", "mlp", "--epochs", "1")
    for name, flags in (("clean", ()), ("spoilt", ("--hook", "tests/hooks/losses.py:slow-start=6"))):
        done = run_script(*torchrun, *flags, "--results", tmp_path / name)
        assert done.returncode == 0, done.stderr
    (clean,), (spoilt,) = (list((tmp_path / name).glob("*.json")) for name in ("clean", "spoilt"))
    before, after = (json.loads(path.read_text()) for path in (clean, spoilt))

    assert after["startup_s"] - before["startup_s"] == pytest.approx(6, rel=0.15)
    assert after["injected"] == "losses.py:slow-start=6"
    assert after["epochs"][0]["train_s"] < before["epochs"][0]["train_s"] + 0.15 * 6


@pytest.mark.parametrize("text", ["slow-rank", "slow-rank=x", "earthquake=9", ""])
def test_a_loss_that_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is none of slow-rank, slow-reduction"):
        losses.read(text)
