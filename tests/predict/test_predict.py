"""What several hosts would give: worlds with known answers give their own figures back, and bands say what is known."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from ddpbench import link
from ddpbench.arm import Arm
from ddpbench.errors import UserError
from ddpbench.link import Exchange, Link
from ddpbench.predict import buckets, main, network, options, past, text
from ddpbench.predict.draws import Dice, band
from ddpbench.predict.measured import measure, slowest_of
from ddpbench.predict.model import Layout, Model, Work, knee
from ddpbench.predict.past import Prediction, Result
from ddpbench.record import Record
from ddpbench.turns import Launch, TurnArm
from tests.records import BATCH, MACHINE, NONE, NOTHING, ONE, SETTINGS, SHM, TRUTH, TWO, at, ddp, make_launch, put

A_S, C_S = 0.002, 4e-5  # of a step of one process: 2 ms, and 40 us a sample
ALPHA_S, RATE = 0.0003, 100e6  # of the link: 0.3 ms a step of a ring, 100 MB/s
BYTES = 4 * 56_826  # of the gradients of a made-up record: one bucket
SWEPT = (32, 64, 128, 256)
EARLY = "2026-11-20T00:00:00.000+00:00"
LATE = "2027-01-01T00:00:00.000+00:00"


BY_HAND = ("--bandwidth", "1gbit", "--latency-ms", "0.2")


def exchanges(
    sizes: Sequence[int] = (4_096, 1_000_000, 25_000_000), hosts: int = 2, noise: float = 0.0
) -> list[Exchange]:
    """Return exchanges over the made-up link; every second repetition takes longer by `noise`, the others less."""
    steps, parts = link.terms(hosts)
    return [
        Exchange(
            comm="gloo",
            hosts=hosts,
            ranks_per_host=1,
            size_bytes=size,
            seconds=[(steps * ALPHA_S + parts * size / RATE) * math.exp(noise * (-1) ** each) for each in range(9)],
        )
        for size in sizes
    ]


def link_of(*several: list[Exchange]) -> Link:
    return Link(link_version=link.VERSION, measured_at=EARLY, exchanges=[each for some in several for each in some])


def swept(spread: float = 0.0, launches: int = 5) -> list[Launch]:
    """Return launches of a sweep, which differ by `spread`."""
    truth = {at(TWO, batch): A_S + C_S * batch for batch in SWEPT} | {at(SHM, batch): 1.0 for batch in SWEPT}
    return [
        make_launch(number, lambda *_, n=number: math.exp(spread * (n - 2)), truth)  # type: ignore[misc]
        for number in range(launches)
    ]


def model(launches: list[Launch] | None = None, spread: float = 0.0, **changes: Any) -> Model:
    """Return a model of one rank of two threads on each host."""
    dice = Dice(2_000)
    measured = measure(launches or swept(), 1, BATCH, on_gpu=False)
    work = Work(
        **({"gradient_bytes": BYTES, "parts": 1, "samples": 25_600, "startup_s": 0.0, "is_weak": False} | changes)
    )
    net = network.fitted(link_of(exchanges()), "gloo", 1, dice)
    return Model(measured, net, work, dice.factor(spread, 5) if spread else dice.exactly(1.0), dice)


def ring_s(hosts: int, size_bytes: float = BYTES) -> float:
    return 2 * (hosts - 1) * ALPHA_S + 2 * (hosts - 1) / hosts * size_bytes / RATE


def width(layout: Layout) -> float:
    found = band(layout.step_s)
    return math.log(found.high_95 / found.low_95)


@pytest.mark.parametrize("hosts", [(2,), (2, 4)], ids=str)
def test_a_link_gives_its_latency_and_its_rate_back(hosts: tuple[int, ...]) -> None:
    net = network.fitted(link_of(*(exchanges(hosts=each) for each in hosts)), "gloo", 1, Dice())

    assert net.alpha_s[0] == pytest.approx(ALPHA_S)
    assert net.byte_s[0] == pytest.approx(1 / RATE)
    assert (net.most_hosts, net.n) == (max(hosts), 27 * len(hosts))
    assert net.seconds(1e6, 8, 1)[0] == pytest.approx(ring_s(8, 1e6))


def test_a_size_that_is_slower_than_the_line_is_foretold_as_it_was_measured() -> None:
    before, middle, after = exchanges()
    slow = replace(middle, seconds=[1.3 * each for each in middle.seconds])
    net = network.fitted(link_of([before, slow, after]), "gloo", 1, Dice(10))
    line_s = net.seconds(middle.size_bytes, 8, 1)[0] / net.seconds(middle.size_bytes, 2, 1)[0]

    assert net.seconds(middle.size_bytes, 2, 1)[0] == pytest.approx(slow.seconds[0])
    assert net.seconds(50e6, 2, 1)[0] == pytest.approx(2 * after.seconds[0], rel=0.01)
    assert line_s == pytest.approx(ring_s(8, 1e6) / ring_s(2, 1e6), rel=0.05), "it grows with the ring as the line does"


@pytest.mark.parametrize("took_s", [(0.02, 0.01), (0.0001, 0.02)])
def test_no_noise_makes_a_latency_or_a_rate_negative(took_s: tuple[float, float]) -> None:
    measured = exchanges((1_000, 10_000))
    backwards = [replace(each, seconds=[seconds]) for each, seconds in zip(measured, took_s, strict=True)]
    net = network.fitted(link_of(backwards), "gloo", 1, Dice())

    assert (net.alpha_s >= 0).all()
    assert (net.byte_s >= 0).all()
    assert (net.seconds(1_000, 2, 1) > 0).all()


def test_a_ring_of_all_ranks_has_more_steps_than_one_of_hosts() -> None:
    assert link.members("gloo", 4, 2) == 8
    assert link.members("shm+gloo", 4, 2) == 4
    assert link.terms(4) == (6, 1.5)


def by(comm: str, ranks: int, some: list[Exchange], times: float = 1.0) -> list[Exchange]:
    """Return exchanges as those of another comm, between so many ranks a host, that take so many times as long."""
    return [
        replace(each, comm=comm, ranks_per_host=ranks, seconds=[times * took for took in each.seconds]) for each in some
    ]


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_a_ring_of_hosts_is_foretold_for_any_number_of_ranks_on_them(ranks: int) -> None:
    net = network.fitted(link_of(by("shm+gloo", 2, exchanges())), "shm+gloo", ranks, Dice(10))

    assert net.seconds(1e6, 4, ranks)[0] == pytest.approx(ring_s(4, 1e6))
    assert (net.ranks, net.n) == (2, 27)


def test_exchanges_between_as_many_ranks_count_before_those_of_others() -> None:
    several = link_of(by("shm+gloo", 2, exchanges()), by("shm+gloo", 4, exchanges(), 3.0))

    assert network.fitted(several, "shm+gloo", 4, Dice(10)).seconds(1e6, 2, 4)[0] == pytest.approx(3 * ring_s(2, 1e6))
    assert network.fitted(several, "shm+gloo", 2, Dice(10)).seconds(1e6, 2, 2)[0] == pytest.approx(ring_s(2, 1e6))


@pytest.mark.parametrize("slowest", [0, 1, 2])
def test_a_ring_is_as_fast_as_its_slowest_pair_of_hosts(slowest: int) -> None:
    pairs = [by("gloo", 1, exchanges(noise=0.1), 10.0 if index == slowest else 1.0) for index in range(3)]
    net = network.fitted(link_of(*pairs), "gloo", 1, Dice())
    alone = network.fitted(link_of(pairs[slowest]), "gloo", 1, Dice())

    assert (net.seconds(1e6, 4, 1) == alone.seconds(1e6, 4, 1)).all(), "the others change neither figure nor band"
    assert (net.pairs, net.n) == (3, alone.n)


def test_another_pair_may_be_the_slowest_at_another_size() -> None:
    small, middle, large = exchanges()
    late = [by("gloo", 1, [small], 5.0)[0], middle, large]
    narrow = [small, middle, by("gloo", 1, [large], 5.0)[0]]
    net = network.fitted(link_of(late, narrow), "gloo", 1, Dice(10))

    assert net.seconds(small.size_bytes, 2, 1)[0] == pytest.approx(5 * ring_s(2, small.size_bytes))
    assert net.seconds(large.size_bytes, 2, 1)[0] == pytest.approx(5 * ring_s(2, large.size_bytes))


def test_a_pair_is_as_slow_as_its_median_and_not_as_its_worst_moment() -> None:
    quiet = exchanges()
    disturbed = [replace(each, seconds=[0.9 * took for took in each.seconds[:-1]] + [60.0]) for each in quiet]
    net = network.fitted(link_of(quiet, disturbed), "gloo", 1, Dice(10))

    assert net.seconds(1e6, 2, 1)[0] == pytest.approx(ring_s(2, 1e6))


def test_a_comm_that_the_slowest_pair_may_not_have_is_refused() -> None:
    # check goes no further on a pair whose exchanges by gloo take longer than some seconds.
    partial = link_of(
        exchanges(), exchanges(), by("gloo", 1, exchanges(), 100.0), *[by("shm+gloo", 2, exchanges())] * 2
    )

    assert network.fitted(partial, "gloo", 2, Dice(10)).pairs == 3
    with pytest.raises(UserError, match=r"2 pairs of hosts by shm\+gloo and 3 by gloo, so the slowest may be missing"):
        network.fitted(partial, "shm+gloo", 2, Dice(10))


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_a_world_without_noise_gives_its_own_step_back(hosts: int) -> None:
    layout = model().layout(hosts)

    expected_s = A_S + C_S * BATCH / hosts + ring_s(hosts)
    assert layout.step_s[0] == pytest.approx(expected_s, rel=2e-3)
    assert layout.epoch_s[0] == pytest.approx(100 * expected_s, rel=2e-3)
    assert layout.efficiency[0] == pytest.approx((A_S + C_S * BATCH) / expected_s / hosts, rel=2e-3)


def test_a_batch_below_those_that_were_measured_lies_on_the_line() -> None:
    assert model().alone_s(8)[0] == pytest.approx(A_S + C_S * 8)
    assert model().alone_s(100)[0] == pytest.approx(A_S + C_S * 100)


def test_in_weak_scaling_every_rank_keeps_its_batch() -> None:
    layout = model(is_weak=True).layout(4)

    assert (layout.rank_batch, layout.global_batch) == (BATCH, 4 * BATCH)
    assert layout.computing_s[0] == pytest.approx(A_S + C_S * BATCH)
    assert layout.efficiency[0] == pytest.approx((A_S + C_S * BATCH) / layout.step_s[0])


def test_ranks_of_a_host_share_it_as_the_control_does() -> None:
    truth = {**TRUTH, at(ONE, 64): 0.006}
    found = measure([make_launch(number, truth=truth) for number in range(5)], 2, None, on_gpu=False)

    assert found.sharing == pytest.approx([TRUTH[at(NONE)] / TRUTH[at(ONE, 128)]] * 5)
    assert found.sharing_by == "control"
    assert found.bookkeeping_s == pytest.approx([TRUTH[at(NOTHING)] - TRUTH[at(NONE)]] * 5)
    assert found.one_host == at(TWO), "one process of two threads is faster than two ranks"


def test_a_sweep_has_no_control_and_the_time_outside_of_reductions_stands_for_it() -> None:
    truth = {at(arm, size): (1e-4 if arm == ONE else 6e-5) * size for arm in (ONE, SHM) for size in SWEPT}
    found = measure([make_launch(truth=truth)], 2, None, on_gpu=False)

    # A tenth of a step is reduction, half of which one of the ranks waits: 0.925 of it is the mean rank's computing.
    assert found.sharing_by == "ddp"
    assert found.sharing == pytest.approx([6e-5 * 0.925 / 5e-5])
    assert found.global_batch == 128


@pytest.mark.parametrize(("count", "expected"), [(1, 0.0), (2, 0.5642), (4, 1.0294), (8, 1.4236), (16, 1.7660)])
def test_the_slowest_of_n_lies_where_order_statistics_say(count: int, expected: float) -> None:
    assert slowest_of(count) == pytest.approx(expected, abs=2e-3)


def test_the_slowest_of_more_ranks_is_waited_for_longer() -> None:
    def noisy(turn: TurnArm, each: int) -> float:
        return math.exp(0.1 * (-1) ** each)

    truth = {at(TWO, batch): A_S + C_S * batch for batch in SWEPT} | {at(SHM, batch): 1.0 for batch in SWEPT}
    found = model([make_launch(number, noisy, truth, rounds=10) for number in range(3)])
    two, eight = found.layout(2), found.layout(8)

    assert two.waiting_s[0] / two.computing_s[0] == pytest.approx(0.5642 * 0.1054 * 10**0.25, rel=0.01)
    assert eight.waiting_s[0] / eight.computing_s[0] == pytest.approx(1.4236 * 0.1054 * 10**0.25, rel=0.01)


def test_buckets_are_those_of_ddp() -> None:
    assert buckets.sizes(BYTES) == [BYTES]
    assert buckets.sizes(60 * 2**20) == [2**20, 25 * 2**20, 25 * 2**20, 9 * 2**20]


def test_one_bucket_hides_nothing() -> None:
    (only,) = buckets.send([1e6], np.array([0.3]), lambda _: np.array([0.01]))

    assert only.exposed_s[0] == pytest.approx(0.01)


def test_backward_hides_all_buckets_but_the_last_where_the_network_is_fast() -> None:
    sent = buckets.send([1e6, 25e6, 25e6], np.array([3.0]), lambda size: np.array([1e-8 * size]))

    assert [float(each.exposed_s[0]) for each in sent] == pytest.approx([0, 0, 0.25])


def test_backward_hides_no_more_than_its_own_time_where_the_network_is_slow() -> None:
    # The first bucket is complete after a tenth of a backward of 2 s. Then 10 s of exchange follow one another.
    sent = buckets.send([10.0, 45.0, 45.0], np.array([3.0]), lambda size: np.array([size / 10]))

    assert [float(each.exposed_s[0]) for each in sent] == pytest.approx([0, 3.7, 4.5])
    halves = buckets.send([10.0, 45.0, 45.0], np.array([3.0]), lambda size: np.array([size / 10]), parts=2)
    assert sum(float(each.exposed_s[0]) for each in halves) == pytest.approx(10 - 0.9), "the last part's backward alone"


@pytest.mark.parametrize(
    ("changes", "hosts", "line"),
    [
        ({}, 16, "--hosts 16 is beyond 4 times the 2 hosts that were measured: at most 8"),
        ({"is_weak": True}, 9, "--hosts 9 is beyond 4 times the 2 hosts"),
        ({"gradient_bytes": 200e6}, 2, ""),
    ],
)
def test_nothing_is_foretold_beyond_four_times_what_was_measured(
    changes: dict[str, Any], hosts: int, line: str
) -> None:
    found = model(**changes)
    found.require([1, 2, 8], 1)
    if line:
        with pytest.raises(UserError, match=line):
            found.require([hosts], 1)
        found.require([hosts], 4)


def test_a_batch_or_a_bucket_beyond_four_times_what_was_measured_is_refused() -> None:
    truth = {at(TWO, batch): A_S + C_S * batch for batch in (128, 256)} | {at(SHM, batch): 1.0 for batch in (128, 256)}
    found = model([make_launch(truth=truth)])
    found.require([4, 8], 1)
    with pytest.raises(UserError, match=r"batches of 16 samples a rank.*from 128 to 256.*sweep --batches 16 128 256"):
        found.require([16], 4)
    small = network.fitted(link_of(exchanges((4_096, 65_536))), "gloo", 1, Dice(10))
    measured, dice = measure(swept(), 1, BATCH, on_gpu=False), Dice(10)
    large = Model(measured, small, Work(2**20, 1, 1, 0.0, False), dice.exactly(1.0), dice)
    with pytest.raises(UserError, match=r"parts of 1,048,576 bytes, and the link was measured up to 65,536"):
        large.require([2], 1)


def test_bands_are_wider_where_launches_exchanges_or_the_model_scatter() -> None:
    calm = width(model().layout(4))

    assert calm == pytest.approx(0, abs=1e-9)
    assert width(model(swept(0.01)).layout(4)) > 0.01
    assert width(model(swept(0.05)).layout(4)) > 3 * width(model(swept(0.01)).layout(4))
    assert width(model(spread=0.1).layout(4)) == pytest.approx(2 * 2.571 * 0.1, rel=0.1)
    noisy = network.fitted(link_of(exchanges(noise=0.1)), "gloo", 1, Dice())
    assert np.ptp(noisy.seconds(BYTES, 2, 1)) > 0.05 * ring_s(2)


def test_the_knee_is_where_another_host_adds_less_than_half_a_host() -> None:
    ones = np.ones(3)

    def layouts(*speeds: float) -> list[Layout]:
        hosts = (1, 2, 4, 8)
        return [
            Layout(n, 1, 1, ones, ones, [], ones, ones, ones * speed / n)
            for n, speed in zip(hosts, speeds, strict=True)
        ]

    bend = knee(layouts(1, 1.8, 3.0, 3.8))
    assert bend is not None
    assert bend.hosts == 4
    assert knee(layouts(1, 1.9, 3.7, 7)) is None


def prediction(step_s: float = 0.010, result_s: float | None = None, hosts: int = 2, **changes: Any) -> Prediction:
    result = None if result_s is None else Result(study="s", started_at=EARLY, step_s=result_s, n=5)
    values: dict[str, Any] = {
        "made_at": EARLY,
        "link": "measured",
        "settings": SETTINGS,
        "arm": Arm("ddp", hosts, 2, "gloo", hosts),
        "step_s": step_s,
        "low_80_s": 0.9 * step_s,
        "high_80_s": 1.1 * step_s,
        "low_95_s": 0.8 * step_s,
        "high_95_s": 1.25 * step_s,
        "result": result,
    }
    return Prediction(**(values | changes))


def test_a_prediction_that_missed_stays_and_widens_the_next_band() -> None:
    missed, right = prediction(result_s=0.020), prediction(result_s=0.010, hosts=4)

    assert missed.held is False
    assert missed in past.added([missed], [prediction()]), "a new one of this layout does not replace it"
    assert past.error([], "measured").spread == past.PRIOR["measured"]
    assert past.error([missed], "measured").spread > 2 * past.PRIOR["measured"]
    assert past.error([prediction(result_s=9.0)], "measured") == past.error(
        [prediction(result_s=0.0300001)], "measured"
    )
    assert past.error([right] * 20, "measured").spread < past.PRIOR["measured"] / 2
    assert past.error([missed], "given").spread == past.PRIOR["given"], "another kind of link"


def test_a_prediction_that_was_not_run_is_replaced_by_the_next_of_its_layout() -> None:
    old, new, other = prediction(0.010), prediction(0.012), prediction(hosts=4)

    assert past.added([old, other], [new]) == [other, new]


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        ({}, True),
        ({"settings": replace(SETTINGS, model="mlp")}, False),
        ({"settings": replace(SETTINGS, global_batch=512)}, False),
        ({"settings": replace(SETTINGS, epochs=9, lr=0.5)}, True),
        ({"arm": Arm("ddp", 2, 1, "gloo", 2)}, False),
        ({"made_at": LATE}, False),
    ],
)
def test_what_is_run_later_is_set_beside_its_prediction(
    tmp_path: Path, changes: dict[str, Any], is_found: bool
) -> None:
    arm = TurnArm(arm=Arm("ddp", 2, 2, "gloo", 2), global_batch=BATCH)
    launch = make_launch(truth={at(TWO): 0.012, arm: 0.011}, hosts=2, others=[MACHINE])
    folder = tmp_path / "two-hosts"
    folder.mkdir()
    put(folder, launch)
    (after,) = past.with_results([prediction(**changes)], tmp_path)

    assert (after.result is not None) == is_found
    if after.result is not None:
        assert (after.result.step_s, after.result.n, after.result.study) == (pytest.approx(0.011), 1, "two-hosts")


def run(**changes: Any) -> Record:
    """Return the record of a run of two ranks of one thread on two hosts: a step of 20 ms, if nothing else is said."""
    return ddp(**({"world_size": 4, "hosts": 2, "others": [MACHINE]} | changes))


SINGLE = {"arm": Arm("ddp", 4, 1, "gloo", 2)}  # what such a run tests


def test_a_run_from_before_a_prediction_does_not_hide_what_was_run_later(tmp_path: Path) -> None:
    put(tmp_path, run(minute=1, train_s=[40.0] * 3), run(minute=3), run(minute=4, seed=1, train_s=[8.0] * 3))
    made_at = "2026-11-24T00:02:00.000+00:00"
    (after,) = past.with_results([prediction(made_at=made_at, **SINGLE)], tmp_path)

    assert after.result is not None
    assert (after.result.started_at, after.result.n) == ("2026-11-24T00:03:00.000+00:00", 2)
    assert after.result.step_s == pytest.approx((4.0 + 8.0) / 2 / 234)


def test_runs_of_other_settings_are_not_part_of_a_result(tmp_path: Path) -> None:
    mlp = replace(SETTINGS, model="mlp")
    put(tmp_path, run(minute=1, settings=mlp, train_s=[1.0] * 3), run(minute=2))
    cnn, other = past.with_results([prediction(**SINGLE), prediction(settings=mlp, **SINGLE)], tmp_path)

    assert cnn.result is not None
    assert other.result is not None
    assert (cnn.result.step_s, cnn.result.n) == (pytest.approx(4.0 / 234), 1)
    assert (other.result.step_s, other.result.n) == (pytest.approx(1.0 / 234), 1)


@pytest.mark.parametrize("changes", [{"injected": "kill=1@7"}, {"status": "preempted"}, None], ids=str)
def test_a_run_that_does_not_count_hides_no_other(tmp_path: Path, changes: dict[str, Any] | None) -> None:
    first, _ = put(tmp_path, run(minute=1, train_s=[1.0] * 3, **(changes or {})), run(minute=2))
    if changes is None:
        first.write_bytes(b"{")
    (after,) = past.with_results([prediction(**SINGLE)], tmp_path)

    assert after.result is not None
    assert (after.result.step_s, after.result.n) == (pytest.approx(4.0 / 234), 1)


def test_launches_that_are_added_to_an_earlier_study_are_a_result_without_the_earlier_ones(tmp_path: Path) -> None:
    arm = TurnArm(arm=Arm("ddp", 2, 2, "gloo", 2), global_batch=BATCH)
    launches = [
        make_launch(number, truth={at(TWO): 0.012, arm: step_s}, hosts=2, others=[MACHINE])
        for number, step_s in ((1, 0.050), (3, 0.011), (4, 0.013))
    ]
    (tmp_path / "more").mkdir()
    put(tmp_path / "more", *launches)
    (after,) = past.with_results([prediction(made_at="2026-11-23T23:02:00.000+00:00")], tmp_path)

    assert after.result is not None
    assert (after.result.step_s, after.result.n, after.result.study) == (pytest.approx(0.012), 2, "more")
    assert after.result.started_at == launches[1].started_at


def test_the_first_of_several_studies_tests_a_prediction(tmp_path: Path) -> None:
    arm = TurnArm(arm=Arm("ddp", 2, 2, "gloo", 2), global_batch=BATCH)
    for name, number, step_s in (("a", 5, 0.05), ("b", 2, 0.011), ("c", 7, 0.05)):
        (tmp_path / name).mkdir()
        put(tmp_path / name, make_launch(number, truth={at(TWO): 0.012, arm: step_s}, hosts=2, others=[MACHINE]))
    (after,) = past.with_results([prediction()], tmp_path)

    assert after.result is not None
    assert (after.result.study, after.result.step_s) == ("b", pytest.approx(0.011))


def results(tmp_path: Path) -> Path:
    """Return a folder of results with a sweep and a link."""
    (tmp_path / "sweep").mkdir()
    put(tmp_path / "sweep", *swept(0.01))
    link.write(link.path_in(tmp_path), link_of(exchanges(noise=0.02)))
    return tmp_path


def test_the_answer_fits_a_screen_and_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = results(tmp_path)
    words = ["--results", str(folder), "--ranks", "1", "--price-per-hour", "0.80"]
    assert main.main(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("written: ")]
    assert max(map(len, lines)) <= text.WIDTH
    assert len(lines) <= 48
    for word in ("cheapest", "fastest", "knee", "Rests on:", "  95 %"):
        assert any(line.startswith(word) for line in lines), word
    assert (folder / "sweep" / "foretold.png").read_bytes()[:4] == b"\x89PNG"
    assert [each.arm.hosts for each in past.read(folder)] == [2, 4, 8]

    assert main.main([*words, "--json", "--no-charts"]) == 0
    found = json.loads(capsys.readouterr().out)["foretold"]
    assert [row["hosts"] for row in found["rows"]] == [1, 2, 4, 8]
    one, two = found["rows"][:2]
    assert one["cost"]["value"] == pytest.approx(one["epoch_s"]["value"] * 0.8 / 3600)
    assert two["step_ms"]["low_95"] < two["step_ms"]["low_80"] < two["step_ms"]["value"] < two["step_ms"]["high_95"]
    assert len(past.read(folder)) == 3, "a prediction that nobody ran is replaced"


@pytest.mark.parametrize(("comm", "by_hand"), [("fp16", ()), ("bf16", ()), ("fp16", BY_HAND)])
def test_rounded_gradients_are_half_the_bytes_by_a_measured_link_too(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    comm: str,
    by_hand: Sequence[str],
) -> None:
    monkeypatch.setattr(main, "_draw", lambda *_: None)  # matplotlib would take most of the time
    folder = results(tmp_path)
    words = ["--results", str(folder), "--ranks", "1", "--hosts", "2", "--json", *by_hand]
    main.main(words)
    whole = json.loads(capsys.readouterr().out)["foretold"]
    main.main([*words, "--comm", comm])
    half = json.loads(capsys.readouterr().out)["foretold"]

    assert half["rests_on"]["subject"].endswith(f", {comm}")
    assert [line for line in half["rests_on"]["lines"] if line.startswith(f"{comm}: 50 % of the bytes")]
    assert not [line for line in whole["rests_on"]["lines"] if line.startswith(comm)]
    (sent,), (all_of_it,) = half["rows"][0]["buckets"], whole["rows"][0]["buckets"]
    assert (sent["size_bytes"], all_of_it["size_bytes"]) == (BYTES / 2, BYTES)
    assert sent["ms"] < all_of_it["ms"]
    assert [each.arm.comm for each in past.read(folder)] == ["gloo", comm], "a run by gloo does not test it"


def test_rounded_gradients_are_sent_in_as_many_parts_as_whole_ones() -> None:
    assert Work(60 * 2**20, 1, 1, 0.0, False, 0.5).sizes == [2**19, 12.5 * 2**20, 12.5 * 2**20, 4.5 * 2**20]
    assert Work(60 * 2**20, 1, 1, 0.0, False).sizes == buckets.sizes(60 * 2**20)


def test_which_exchanges_a_prediction_rests_on_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = results(tmp_path)
    words = ["--results", str(folder), "--hosts", "2", "--json", "--no-charts"]

    def link_line(*several: list[Exchange], more: Sequence[str] = ()) -> str:
        link.write(link.path_in(folder), link_of(*several))
        main.main([*words, *more])
        lines: list[str] = json.loads(capsys.readouterr().out)["foretold"]["rests_on"]["lines"]
        return next(line for line in lines if line.startswith("link: "))

    pairs = [exchanges(), exchanges(), by("gloo", 1, exchanges(), 10.0)]
    assert link_line(exchanges(), more=["--ranks", "1"]).endswith("(n = 27 exchanges, up to 2 hosts)")
    assert link_line(*pairs, more=["--ranks", "1"]).endswith(
        "10 MB/s (n = 27 exchanges, up to 2 hosts; of 3 pairs the slowest at each size, because a ring is as fast as "
        "that)"
    )
    truth = {at(arm, size): 6e-5 * size for arm in (ONE, SHM) for size in SWEPT}
    put(folder / "sweep", *[make_launch(number, truth=truth) for number in range(5)])
    both = exchanges(), by("shm+gloo", 2, exchanges())
    assert link_line(*both, more=["--ranks", "2"]).endswith("up to 2 hosts with 1 rank on each)")
    assert link_line(*both, more=["--ranks", "2", "--comm", "shm+gloo"]).endswith("up to 2 hosts)")


def test_a_miss_is_told_and_widens_the_band(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_draw", lambda *_: None)  # matplotlib would take most of the time
    folder = results(tmp_path)
    words = ["--results", str(folder), "--ranks", "1", "--hosts", "1", "2", "--json"]
    main.main(words)
    before = json.loads(capsys.readouterr().out)
    (made,) = past.read(folder)
    late = Result(study="s", started_at=EARLY, step_s=3 * made.step_s, n=5)
    past.write(folder, [replace(made, result=late)])
    main.main(words)
    after = json.loads(capsys.readouterr().out)

    ends = [each["foretold"]["rows"][1]["step_ms"]["high_95"] for each in (before, after)]
    assert ends[1] > 1.5 * ends[0]
    assert [each["result"]["step_s"] for each in after["tested"]] == [3 * made.step_s]
    assert [each.result is None for each in past.read(folder)] == [False, True]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--hosts", "two"], "^--hosts two must be whole numbers from 1 to 10,000, like --hosts 1 2 4$"),
        (["--hosts", "10001"], "^--hosts 10001 must be whole numbers from 1 to 10,000"),
        (["--hosts", ""], "^--hosts is empty; give whole numbers, like --hosts 1 2 4$"),
        (["--samples", "0"], "^--samples 0 must be whole numbers from 1 up, like --samples 2$"),
        (
            ["--global-batch", "1", "--ranks", "1 2"],
            "^--ranks must be one whole number from 1 to 1,000,000,000, got 1 2$",
        ),
        (["--comm", "mpi", *BY_HAND], "^--comm mpi: no such way to combine gradients; there are nccl, gloo, shm.gloo"),
        (["--comm", "none", *BY_HAND], "^--comm none: no such way to combine gradients"),
        (["--comm", "shm", *BY_HAND], "^--comm shm: is for ranks of one host; foretell shm.gloo$"),
        (["--comm", "powersgd", *BY_HAND], "^--comm powersgd: how many bytes it sends depends on every layer"),
        (["--comm", "shm+gloo", *BY_HAND], "^--comm shm.gloo is for several ranks on each host, and there is one"),
        (
            ["--price-per-hour", "free"],
            "--price-per-hour must be above 0 and at most 1,000,000, as in",
        ),
        (["--bandwidth", "fast", "--latency-ms", "1"], "--bandwidth must be a rate like 1gbit or 200mbit; got 'fast'"),
        (["--bandwidth", "1gbit"], "a link by hand needs both"),
        (["--wibble"], "unknown flag --wibble"),
        (["--ranks", "4"], "no arm of 4 ranks was measured; run: .* sweep --world-sizes 4"),
        (["--global-batch", "100"], "--global-batch 100 was not measured on one host, but 32, 64, 128, 256"),
        (["--comm", "nccl"], "the link has no exchanges of two sizes by nccl"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, words: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        main.main(["--results", str(results(tmp_path)), "--ranks", "1", "--no-charts", *words])


def test_what_is_missing_is_named_with_its_command(tmp_path: Path) -> None:
    folder = results(tmp_path)
    link.path_in(folder).unlink()
    with pytest.raises(UserError, match=r"no link between hosts was measured.*check.*--bandwidth 1gbit"):
        main.main(["--results", str(folder), "--ranks", "1"])
    one_batch = [make_launch(truth={at(TWO): 0.012, at(SHM): 0.015})]
    with pytest.raises(UserError, match=r"1 batch sizes of one process.*sweep --batches 32 64 128 256"):
        measure(one_batch, 1, None, on_gpu=False)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"{", "is not a whole measurement of a link"),
        (b'{"link_version": 9}', "has version 9, this program reads 1"),
        (b'{"link_version": 1, "measured_at": "", "exchanges": []}', "exchanges of at least 2 sizes"),
    ],
)
def test_a_damaged_link_is_refused(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / link.NAME
    path.write_bytes(content)
    with pytest.raises(UserError, match=line):
        link.read(path)


def test_a_link_by_hand_counts_as_two_hosts() -> None:
    given = options.read(["--bandwidth", "1gbit", "--latency-ms", "0.2"]).given
    assert given == (1e9, 0.0002)
    net = network.given(*given, "gloo", Dice(10))

    assert net.most_hosts == 2
    assert net.seconds(125e6, 2, 1)[0] == pytest.approx(2 * 0.0002 + 1.0)
