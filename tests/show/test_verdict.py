"""What is concluded, cautioned and advised: every sentence follows from figures."""

from pathlib import Path

import msgspec
import pytest

from ddpbench.judge.outcome import outcome_of
from ddpbench.judge.stats import Estimate, equivalence
from ddpbench.record import Record
from ddpbench.show import verdict
from ddpbench.show.verdict import Verdict
from tests.judge.studies import STEPS, judge, known, paired, three_seeds
from tests.records import MACHINE, ddp, make_record, timed


def verdict_on(folder: Path, *records: Record) -> Verdict:
    return verdict.write(judge(folder, *records))


@pytest.mark.parametrize(
    ("parallel_s", "accuracy", "outcome"),
    [
        ([2.0, 2.1, 2.0], 0.99, "pays"),
        ([5.0, 5.1, 5.0], 0.99, "does_not_pay"),
        ([3.0, 5.0, 4.0], 0.99, "cannot_tell"),
        ([2.0], 0.99, "cannot_tell"),
        ([2.0, 2.1, 2.0], 0.90, "does_not_pay"),
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_accuracy(
    parallel_s: list[float], accuracy: float, outcome: str, tmp_path: Path
) -> None:
    assert judge(tmp_path, *paired(parallel_s, accuracy)).outcome == outcome


def test_an_interval_that_touches_one_cannot_tell() -> None:
    assert outcome_of(Estimate(1.1, 1.0, 1.2, 3)) == "cannot_tell"
    assert outcome_of(Estimate(1.1, 1.01, 1.2, 3)) == "pays"
    assert outcome_of(Estimate(0.9, 0.8, 0.99, 3)) == "does_not_pay"
    assert outcome_of(None) == "cannot_tell"
    assert outcome_of(Estimate(1.1, 1.01, 1.2, 3), equivalence([-0.1, -0.1], 0.003)) == "does_not_pay"


def test_why_names_the_largest_terms_with_figures(tmp_path: Path) -> None:
    paragraphs = verdict_on(tmp_path, *three_seeds())

    assert paragraphs.why.startswith(
        "2 perfect workers would train an epoch in 4.00 s; it took 6.00 s. The difference is 2.00 s: +1.00 s"
    )
    parts = "exposed communication (0.50 s reducing gradients, 0.30 s waiting for the slowest rank, rank 1"
    assert parts in paragraphs.why
    assert "+0.50 s smaller batches" in paragraphs.why


def test_a_missing_control_is_named_in_why(tmp_path: Path) -> None:
    paragraphs = verdict_on(tmp_path, *(record for seed in range(3) for record in known(seed, alone=None)))

    assert "Not measured: smaller batches, contention for cores and memory." in paragraphs.why


def test_next_tells_how_many_seeds_would_settle_it(tmp_path: Path) -> None:
    paragraphs = verdict_on(tmp_path, *paired([3.0, 4.4, 3.2]))

    assert "about 11 seeds would show it" in paragraphs.next
    assert "--seeds 0 1 2 3 4 5 6 7 8 9 10" in paragraphs.next


def test_next_offers_a_larger_batch_only_where_it_was_measured_to_help(tmp_path: Path) -> None:
    def study_with(weak_step_s: float) -> list[Record]:
        records = []
        for seed in range(3):
            records += [*known(seed), make_record(seed=seed, train_s=(9, 5 + 0.01 * seed, 5))]
            records.append(timed(512, 10 / STEPS, seed=seed))
            step_s = weak_step_s * (1 + 0.001 * seed)
            records.append(timed(512, step_s, "ddp", seed=seed, world_size=2, threads=1, comm="gloo"))
        return records

    better = verdict_on(tmp_path / "better", *study_with(8 / STEPS))
    worse = verdict_on(tmp_path / "worse", *study_with(13 / STEPS))

    assert "at global batch 512 it is 1.25 times as fast" in better.next
    assert "global batch 512" not in worse.next
    assert worse.next.startswith("Train with baseline, 2 threads here.")


def test_next_names_the_rank_that_others_wait_for(tmp_path: Path) -> None:
    slow = [known(seed, observed=ddp(seed=seed, train_s=(9, 9, 9), late_s=(3.0, 0.0))) for seed in range(3)]
    paragraphs = verdict_on(tmp_path, *(record for records in slow for record in records))

    assert "Most of the loss is waiting for rank 1" in paragraphs.next


@pytest.mark.parametrize(
    ("records", "caution"),
    [
        (paired([2.0]), "only 1 run"),
        (paired([2.0, 3.0, 4.0]), "epoch times vary by 33%; run on a quiet machine"),
        (paired([2.0, 2.0, 2.0, 2.0, 2.5]), "seed 4: 2.50 s an epoch against 2.00 s of the others; it is counted"),
        (paired([2.0, 2.2, 2.3]), "+15% from its first to its last run"),
        (
            [make_record(environment=msgspec.structs.replace(MACHINE, load_1m=1.5)), ddp()],
            "busy before the first run (load 1.5)",
        ),
        ([make_record(), ddp(world_size=4)], "4 ranks of 1 thread: 4 threads on 2 cores; ranks take turns"),
        ([make_record(environment=msgspec.structs.replace(MACHINE, commit="0123-dirty")), ddp()], "different commits"),
        (
            [each(environment=msgspec.structs.replace(MACHINE, commit="0123-dirty")) for each in (make_record, ddp)],
            "the code differed from commit 0123; commit, then run again",
        ),
        (known(observed=ddp(train_s=(9, 7, 7), late_s=(0.3, 0.0))), "2.00 s an epoch by difference, 0.80 s by timers"),
    ],
)
def test_every_caution_comes_with_advice(records: list[Record], caution: str, tmp_path: Path) -> None:
    judgement = judge(tmp_path, *records)

    assert any(caution in each for each in judgement.cautions), judgement.cautions


def test_a_calm_study_has_no_cautions(tmp_path: Path) -> None:
    judgement = judge(tmp_path, *paired([2.0, 2.05, 2.02]))

    assert judgement.cautions == []
