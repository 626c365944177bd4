"""Losses of a known size, added on purpose to real ranks, are found under their own name and nowhere else."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ddpbench.errors import UserError
from ddpbench.record import read_record
from tests import warm
from tests.hooks import losses
from tests.judge import attribution
from tests.judge.attribution import LARGE_SHARE, SLOW_RANK, SLOW_REDUCTION_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Terms = Mapping[str, float]
NEAR = 0.1  # of a loss
MOST_LAUNCHES = 5


class Study:
    """Turns with every loss; more of them can be added."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._launches = folder, 0

    def run_more(self) -> None:
        """Carry out one more launch."""
        attribution.launch(self._folder, self._launches)
        self._launches += 1

    def require(self, check: Callable[[Terms, Terms], None], loss: str) -> None:
        """Check a loss against no loss; by the median of three launches, or of five, where one is disturbed."""
        while True:
            try:
                return self._check(check, loss)
            except AssertionError:
                if self._launches >= MOST_LAUNCHES:
                    raise
                self.run_more()
                self.run_more()

    def _check(self, check: Callable[[Terms, Terms], None], loss: str) -> None:
        check(*(attribution.median_terms(self._folder / name) for name in ("none", loss)))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = Study(tmp_path_factory.mktemp("attribution"))
    made.run_more()
    return made


def require_found(clean: Terms, spoilt: Terms, term: str, injected_s: float, elsewhere: tuple[str, ...]) -> None:
    """Fail unless the loss lies in its own term, and no other moves, by more than a tenth of it.

    The exchange may fall by what ranks waited for each other by turns: beside a loss that makes one of them always
    wait, or work while another one waits, there is no such waiting.
    """
    grown = {name: spoilt[name] - clean[name] for name in clean}
    milliseconds = {name: f"{1e3 * value:+.1f}" for name, value in grown.items()}
    assert grown[term] == pytest.approx(injected_s, rel=NEAR), (injected_s, milliseconds)
    for other in elsewhere:
        displaced_s = clean["waiting"] if other == "exchange" else 0
        assert -NEAR * injected_s - displaced_s <= grown[other] <= NEAR * injected_s, (other, injected_s, milliseconds)


def half_s(clean: Terms) -> float:
    """Return the seconds that half of a step's samples cost one worker alone."""
    return clean["ideal"] + clean["smaller_batch"]


def test_a_slower_link_is_exposed_communication(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        others = ("ideal", "smaller_batch", "contention", "uneven_shares", "bookkeeping", "waiting")
        require_found(clean, spoilt, "exchange", SLOW_REDUCTION_S, others)
        require_found(clean, spoilt, "reducing", SLOW_REDUCTION_S, ())

    found.require(check, f"slow-reduction={SLOW_REDUCTION_S}")


def test_a_slow_rank_is_waited_for(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        injected_s = (SLOW_RANK - 1) * half_s(clean)
        others = ("ideal", "smaller_batch", "contention", "uneven_shares", "bookkeeping", "reducing")
        require_found(clean, spoilt, "exchange", injected_s, others)
        # Ranks that waited for each other by turns now wait for one: that much is displaced, not added.
        assert spoilt["waiting"] == pytest.approx(injected_s, rel=NEAR)

    found.require(check, f"slow-rank={SLOW_RANK}")


def test_a_larger_share_is_uneven(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        injected_s = (LARGE_SHARE - 0.5) * 2 * half_s(clean)
        others = ("ideal", "smaller_batch", "contention", "bookkeeping", "exchange")
        require_found(clean, spoilt, "uneven_shares", injected_s, others)
        # And it is what a step really took longer.
        assert spoilt["observed"] - clean["observed"] == pytest.approx(injected_s, rel=1.5 * NEAR)

    found.require(check, f"large-share={LARGE_SHARE}")


def test_ranks_on_one_core_contend(found: Study) -> None:
    def check(clean: Terms, spoilt: Terms) -> None:
        # Each stands still while the other works.
        others = ("ideal", "smaller_batch", "uneven_shares", "bookkeeping", "exchange")
        require_found(clean, spoilt, "contention", half_s(clean), others)

    found.require(check, "one-core=1")


def test_a_late_start_is_start_up(tmp_path: Path) -> None:
    flags = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "1", "--global-batch", "2000")
    starts = []
    for name, more in (("clean", ()), ("spoilt", ("--hook", "tests/hooks/losses.py:slow-start=2"))):
        words = ("ddp_train.py", *flags, *more, "--results", tmp_path / name)
        ended = [rank.wait() for rank in warm.start_ranks(2, *words, folder=tmp_path, name=name)]
        assert [rank.returncode for rank in ended] == [0, 0], [rank.stderr for rank in ended]
        (path,) = (tmp_path / name).glob("*.json")
        record = read_record(path)
        starts.append(record.startup)
    clean, spoilt = starts

    assert record.injected == "losses.py:slow-start=2"
    assert record.startup_s > 2
    assert spoilt.build_s - clean.build_s == pytest.approx(2, rel=NEAR)
    assert clean.first_step_s is not None
    assert spoilt.first_step_s == pytest.approx(clean.first_step_s, abs=NEAR * 2)


@pytest.mark.parametrize("text", ["slow-rank", "slow-rank=", "fast-rank=2", "slow-rank=x", "work=1,"])
def test_a_loss_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is none of slow-rank, slow-reduction"):
        losses.read(text)
