"""The answer in words: every title, figure and advice follows from an interval."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.findings import Check, EqualGradient
from ddpbench.judge.outcome import Criteria
from ddpbench.record import Record
from ddpbench.show import answer, charts, reasons
from ddpbench.show.answer import Answer
from ddpbench.turns import Launch
from tests.judge.studies import complete, ended_after, faster, judge, launches, paired, swept, whole_runs
from tests.records import SHM, TRUTH, TWO, at, ddp, make_launch, make_record


def answer_to(folder: Path, *measured: Record | Launch, criteria: Criteria | None = None) -> Answer:
    return answer.write(judge(folder, *measured, criteria=criteria))


def row(written: Answer, word: str) -> str:
    return dict(written.rows)[word]


@pytest.mark.parametrize(
    ("times", "spread", "title"),
    [
        (1.25, 0.01, "FASTER"),
        (0.8, 0.01, "SLOWER"),
        (1.005, 0.002, "NO DIFFERENCE THAT MATTERS"),
        (1.01, 0.05, "CANNOT TELL"),
    ],
)
def test_the_title_follows_from_the_interval(times: float, spread: float, title: str, tmp_path: Path) -> None:
    written = answer_to(tmp_path, *launches(5, faster(times), spread=spread))

    assert written.title == title
    assert written.subject == "2 workers (DDP, shared memory) against one process (2 threads)"
    assert ("unsure" in dict(written.rows)) == (title == "CANNOT TELL")
    assert row(written, "accuracy") == "not measured: bash launch.sh"


def test_the_verdict_follows_from_the_interval_and_the_accuracy(tmp_path: Path) -> None:
    runs = whole_runs(parallel_step_s=0.0096, accuracies=(0.99, 0.97))
    written = answer_to(tmp_path, *launches(5, faster(1.25)), *runs)

    assert written.title == "FASTER, BUT LESS ACCURATE"
    assert row(written, "accuracy") == (
        "lower: 97.00 % and 99.00 % (difference -2.00 points, 95 % interval -2.00 to -2.00, n = 3 seeds, margin 0.3)"
    )
    assert row(written, "so").startswith("accuracy first")


def checked(equal_gradient: EqualGradient, times: float = 1.25) -> list[Launch]:
    """Return launches, of which the first has checked the task."""
    first, *others = launches(5, faster(times))
    return [replace(first, check=Check(equal_gradient=equal_gradient, findings=[], took_s=1.0)), *others]


@pytest.mark.parametrize(
    ("equal_gradient", "so"),
    [
        (
            "exact",
            "accuracy first: workers compute the same gradient as one process, so they should learn the same; look for "
            "the fault",
        ),
        (
            "batch_norm",
            "accuracy first: workers train another model, because batch norm sees fewer samples; use a larger batch, "
            "or a norm that looks at one sample at a time",
        ),
        (
            "batch_loss",
            "accuracy first: workers train another model, because the loss is no sum over samples; see the caution "
            "about the loss",
        ),
        (
            "not_shown",
            "accuracy first: at an equal batch and learning rate parallel training should learn the same; look for "
            "what differs",
        ),
    ],
)
def test_a_lost_accuracy_is_said_with_its_known_cause(equal_gradient: EqualGradient, so: str, tmp_path: Path) -> None:
    runs = whole_runs(parallel_step_s=0.0096, accuracies=(0.99, 0.97))
    written = answer_to(tmp_path, *checked(equal_gradient), *runs)

    assert written.title == "FASTER, BUT LESS ACCURATE"
    assert row(written, "accuracy").startswith("lower: 97.00 % and 99.00 % (difference")
    assert row(written, "so") == so


@pytest.mark.parametrize(
    ("equal_gradient", "accuracy", "said"),
    [
        ("exact", 0.99, "the same: 99.00 % and 99.00 % (difference"),
        ("not_shown", 0.99, "the same: 99.00 % and 99.00 % (difference"),
        (
            "batch_norm",
            0.99,
            "the same figure, although workers train another model (batch norm sees fewer samples): 99.00 % and ",
        ),
        (
            "batch_loss",
            0.99,
            "the same figure, although workers train another model (the loss is no sum over samples): 99.00 % and ",
        ),
        ("batch_norm", 0.999, "higher: 99.90 % and 99.00 % (difference"),
    ],
)
def test_the_same_figure_of_another_model_is_said_to_be_a_figure(
    equal_gradient: EqualGradient, accuracy: float, said: str, tmp_path: Path
) -> None:
    runs = whole_runs(parallel_step_s=0.0096, accuracies=(0.99, accuracy))
    written = answer_to(tmp_path, *checked(equal_gradient), *runs)

    assert row(written, "accuracy").startswith(said)
    assert written.title == "FASTER"


def test_gradients_that_are_rounded_are_another_model(tmp_path: Path) -> None:
    truth = {**TRUTH, at(replace(SHM, comm="powersgd")): 0.009}
    runs = [
        each
        for seed in range(3)
        for each in (make_record(seed=seed), ddp(seed=seed, comm="powersgd", accuracy=0.97, train_s=(9, 3, 3)))
    ]
    judgement = judge(tmp_path, *launches(5, truth), *runs)
    assert judgement.comparison is not None

    said = "accuracy first: workers train another model, because gradients are rounded or approximated"
    assert reasons.so_parts(judgement, judgement.comparison, on_gpu=False) == [f"{said}; name other --comms"]


def test_speed_has_its_interval_and_what_it_counts(tmp_path: Path) -> None:
    slower = answer_to(tmp_path / "slower", *launches(5, faster(0.8)))
    single = answer_to(tmp_path / "single", *launches(1))
    runs = answer_to(tmp_path / "runs", *paired([2.0, 2.1, 2.05]))

    assert row(slower, "speed") == "20 % slower: 18 to 22 % (95 %, n = 5 launches)"
    assert row(single, "speed") == "20 % slower (one launch: no interval)"
    assert row(runs, "speed") == "95 % faster: 84 % faster to 2.07 times as fast (95 %, n = 3 seeds)"


def test_the_interval_of_accuracy_is_the_one_that_was_tested(tmp_path: Path) -> None:
    runs = [
        each
        for seed, accuracy in enumerate((0.990, 0.992, 0.988))
        for each in (make_record(seed=seed, accuracy=0.99), ddp(seed=seed, comm="shm", accuracy=accuracy))
    ]
    written = answer_to(tmp_path, *runs)

    # Student's t at 90 % over -0.2, 0, 0.2 points: 2.92 * 0.2 / sqrt(3) = 0.34.
    assert "cannot tell: 99.00 % and 99.00 % (difference -0.00 points, 90 % interval -0.34 to +0.34" in row(
        written, "accuracy"
    ).replace("+0.00", "-0.00")


def test_a_whole_run_may_be_longer_although_its_steps_are_faster(tmp_path: Path) -> None:
    written = answer_to(tmp_path, *complete(5, times=1.25))

    assert row(written, "whole run") == (
        "18 % longer (17.8 to 18.3 %): 15.3 s and 12.9 s for 3 epochs; starting 2 workers takes 4.0 s more; "
        "they are ahead from 8 epochs on (7 to 8)"
    )
    assert row(written, "so").startswith(
        "for a run this short stay with one process (2 threads); use 2 workers (DDP, shared memory) from 8 epochs on"
    )


@pytest.mark.parametrize(
    ("times", "spread", "text"),
    [(0.8, 0.01, "they are never ahead"), (1.01, 0.02, "they are ahead from 144 epochs on (25 or more, or never)")],
)
def test_it_says_where_parallel_training_is_never_ahead(times: float, spread: float, text: str, tmp_path: Path) -> None:
    runs = whole_runs(parallel_step_s=TRUTH[at(TWO)] / times)
    written = answer_to(tmp_path, *launches(5, faster(times), spread=spread), *runs)

    assert row(written, "whole run").endswith(text)


@pytest.mark.parametrize(
    ("epochs", "parallel_s", "whole_run", "length", "so"),
    [
        ((3, 2, 3), 2.0, "0.49 times as long (", "(2 and 2 to 3 epochs)", "use 2 workers (DDP, gloo)"),
        (
            (2, 2, 2),
            5.0,
            "22 % longer (",
            "(3 and 2 epochs)",
            "to reach the target stay with one process (2 threads): its whole runs are shorter",
        ),
    ],
)
def test_until_a_target_each_arm_has_its_own_epochs(
    epochs: tuple[int, ...], parallel_s: float, whole_run: str, length: str, so: str, tmp_path: Path
) -> None:
    """Steps are faster in both studies. Workers that need more epochs reach the target later all the same."""
    runs = [
        run
        for seed, count in enumerate(epochs)
        for run in (
            ended_after(make_record(seed=seed, train_s=(12 / count,) * 3), count),
            ended_after(ddp(seed=seed, train_s=(parallel_s + 0.01 * seed,) * 3), int(length[1])),
        )
    ]
    judgement = judge(tmp_path, *runs)
    written = answer.write(judgement)
    chart = next(chart for chart in charts.build(judgement) if chart.slug == "whole-run")

    assert written.title == "FASTER"
    assert row(written, "whole run").startswith(whole_run)
    assert row(written, "whole run").endswith(f" s until the target {length}")
    assert row(written, "so").split("; ")[0] == so
    assert chart.finding.startswith("Until the target, ")
    assert chart.figure.axes[0].get_xlabel() == "epochs"
    assert "ahead" not in chart.finding + chart.alt


def test_one_seed_does_not_tell_which_arm_reaches_a_target_first(tmp_path: Path) -> None:
    made: list[Record | Launch] = [
        replace(each, settings=replace(each.settings, target_accuracy=0.98)) for each in launches(5, faster(1.25))
    ]
    written = answer_to(tmp_path, *made, ended_after(make_record(), 3), ended_after(ddp(comm="shm"), 2))

    assert row(written, "so").startswith("it is not known which reaches the target first: run more seeds; ")


def test_both_values_are_of_the_seeds_of_their_difference(tmp_path: Path) -> None:
    runs = [*paired([2.0, 2.1]), make_record(seed=7, accuracy=0.5, train_s=(9, 4, 4))]

    assert "99.00 % and 99.00 % (difference +0.00 points" in row(answer_to(tmp_path, *runs), "accuracy")


def test_cost_is_named_with_a_price_only(tmp_path: Path) -> None:
    measured: list[Record | Launch] = [*launches(5, faster(1.25)), *whole_runs(parallel_step_s=0.0096)]
    priced = answer_to(tmp_path / "priced", *measured, criteria=Criteria(price_per_hour=400))
    free = answer_to(tmp_path / "free", *measured)

    # A process of two threads takes what two workers of one thread take: 234 steps of 12 ms, two workers, 400 an hour.
    assert row(priced, "cost") == "an epoch costs 0.499 and 0.624: 20 % cheaper (18 to 22 %); it pays"
    assert "pays" not in " ".join(text for word, text in free.rows if word != "so")


def test_why_has_a_line_for_each_certain_loss_the_largest_first(tmp_path: Path) -> None:
    lines = row(answer_to(tmp_path, *launches(5)), "why").split("\n")

    assert lines == [
        "a step takes 15.00 ms; 2 ideal workers would take 10.00 ms",
        "one process reaches 83 % of the speed of 2 ideal workers",
        "+2.00 ms (+1.95 to +2.05): exchanging gradients (0.75 ms reducing gradients, "
        "0.75 ms waiting for the slowest rank, 0.50 ms slower computing)",
        "+1.50 ms (+1.19 to +1.81): sharing the machine",
        "+1.00 ms (+1.00 to +1.00): smaller batches",
        "+0.50 ms (+0.49 to +0.51): DDP's bookkeeping",
    ]


def test_why_says_of_a_single_launch_that_it_was_measured_once(tmp_path: Path) -> None:
    lines = row(answer_to(tmp_path, *launches(1)), "why").split("\n")

    assert "+2.00 ms, measured once: exchanging gradients" in lines
    assert [line for line in lines[2:] if "measured once" not in line] == []


def noisy_control() -> list[Launch]:
    """Return launches in which DDP that exchanges nothing varies by far more than what it costs."""
    return [make_launch(n, lambda turn, _, n=n: 1 + 0.1 * (n - 2) * (turn.arm.comm == "nothing")) for n in range(5)]  # type: ignore[misc]


def test_no_row_names_a_cause_that_may_be_nothing(tmp_path: Path) -> None:
    written = answer_to(tmp_path, *noisy_control())

    assert ", which of them is not known: DDP's bookkeeping and exchanging gradients" in row(written, "why")
    assert "bookkeeping" not in row(written, "so") + written.title
    assert "gradients" not in row(written, "so") + written.title
    assert "the largest loss is sharing the machine" in row(written, "so")


def test_next_names_the_rank_that_others_wait_for(tmp_path: Path) -> None:
    def slow(launch: Launch) -> Launch:
        """Return the launch with rank 0 waiting for a third of every step of shm."""
        visits = [
            replace(
                each,
                reduce_s=[[0.35 * seconds[0], 0.02 * seconds[0]] for seconds in each.block_s],
                late_s=[[0.33 * seconds[0], 0.0] for seconds in each.block_s],
            )
            if each.turn == at(SHM)
            else each
            for each in launch.visits
        ]
        return replace(launch, visits=visits)

    written = answer_to(tmp_path, *map(slow, launches(5, {**TRUTH, at(SHM): 0.02})))

    assert row(written, "so").endswith("the largest loss is waiting for rank 1: look what else runs on its core")


def test_unsure_says_who_was_disturbed_and_for_how_many_more_minutes_to_measure(tmp_path: Path) -> None:
    def stalls(n: int) -> Launch:
        """Return a launch in which the single process stalls in two of nine rounds."""
        shift = 1 + 0.03 * (n - 2)
        return make_launch(
            n,
            lambda turn, each: (
                (8.0 if turn == at(TWO) and each < 2 else shift if turn == at(SHM) else 1.0) * (1 + 0.001 * each)
            ),
            faster(1.01),
            stolen_s=[0.2] * 9,
        )

    unsure = row(answer_to(tmp_path, *map(stalls, range(5))), "unsure").split("\n")

    assert unsure[0] == "disturbed were 22 % of the blocks with one process (2 threads), 0 % with 2 workers"
    assert unsure[1] == "the host took 10 % of the CPU time away"
    assert unsure[2].startswith("about ")
    assert unsure[2].endswith(" more minutes would settle it with 80 % chance: bash launch.sh --more")


@pytest.mark.parametrize(
    ("parallel_s", "why"),
    [([2.0], "one run of each has no interval"), ([3.0, 5.0, 4.0], "whole runs differ too much to settle it")],
)
def test_runs_alone_that_settle_nothing_lead_to_turns(parallel_s: list[float], why: str, tmp_path: Path) -> None:
    written = answer_to(tmp_path, *paired(parallel_s))

    assert row(written, "unsure") == f"{why}; measure in turns: bash launch.sh"


def test_where_it_cannot_be_told_the_advice_leads_with_the_bound(tmp_path: Path) -> None:
    written = answer_to(tmp_path, *launches(5, faster(1.01), spread=0.05))

    assert row(written, "so").startswith(
        "until then stay with one process (2 threads): 2 workers are at most 14 % faster"
    )


@pytest.mark.parametrize(("weak_step_s", "is_advised"), [(0.018, True), (0.03, False)])
def test_next_offers_a_larger_batch_only_where_it_was_measured_to_help(
    weak_step_s: float, is_advised: bool, tmp_path: Path
) -> None:
    truth = {**faster(0.8), at(SHM, 512): weak_step_s, at(TWO, 512): 0.022}
    advice = row(answer_to(tmp_path, *launches(5, truth)), "so")

    assert ("at batch 512, 2 workers may be faster: bash launch.sh sweep measures by how much" in advice) == is_advised
    assert ("bash launch.sh sweep" in advice) == is_advised
    assert advice.startswith("stay with one process (2 threads)")


def test_a_compiled_network_is_advice_and_never_the_reference_or_the_parallel_arm(tmp_path: Path) -> None:
    compiled = at(Arm("compiled", 1, 2, None))
    written = answer_to(tmp_path, *launches(5, {**faster(1.1), compiled: 0.01}))
    plain = answer_to(tmp_path / "plain", *launches(5, faster(1.1)))

    assert row(written, "so").endswith("; torch.compile makes one process 20 % faster, without a second worker")
    slower = answer_to(tmp_path / "slower", *launches(5, {**faster(1.1), compiled: 0.013}))
    assert row(slower, "so") == row(plain, "so")
    assert (written.title, written.subject, row(written, "speed")) == (plain.title, plain.subject, row(plain, "speed"))


@pytest.mark.parametrize(
    ("made", "subject", "text"),
    [
        ([make_record()], "only one process (2 threads)", "train a parallel arm: torchrun"),
        ([ddp()], "only 2 workers (DDP, gloo)", "train a single process: python baseline_train.py"),
        ([ddp(comm="none")], "no arm to compare", "train a single process"),
    ],
)
def test_half_a_study_says_what_to_run(made: list[Record], subject: str, text: str, tmp_path: Path) -> None:
    written = answer_to(tmp_path, *made)

    assert (written.title, written.subject) == ("CANNOT TELL", subject)
    assert text in row(written, "so")


def test_whole_runs_of_another_arm_than_the_answer_is_about_are_named_with_a_cure(tmp_path: Path) -> None:
    """Launches that were added may have made another arm the fastest, which has no whole runs."""
    runs = [make_record(seed=0), ddp(seed=0, comm="gloo", train_s=(9, 5, 5))]
    written = answer_to(tmp_path / "turns", *launches(), *runs)
    by_hand = answer_to(tmp_path / "runs", make_record(seed=0), ddp(seed=1))

    assert row(written, "accuracy") == "not measured of both arms with one seed: bash launch.sh --more"
    assert row(by_hand, "accuracy") == "not measured of both arms with one seed: bash launch.sh"


def test_arms_without_a_common_seed_are_not_compared(tmp_path: Path) -> None:
    written = answer_to(tmp_path, make_record(seed=1), ddp(seed=2))

    assert written.title == "CANNOT TELL"
    assert row(written, "speed").startswith("not comparable: the two share no seed")


@pytest.mark.parametrize(
    ("batches", "parallel", "title"),
    [
        ((64, 128, 256, 512, 1024), (0.004, 1e-5), "FASTER FROM BATCH 512 ON"),
        ((64, 128, 256), (0.0004, 1e-5), "FASTER AT EVERY BATCH"),
        ((64, 128, 256), (0.004, 3e-5), "SLOWER AT EVERY BATCH"),
        ((64, 128, 256), (0.001, 2e-5), "NO DIFFERENCE THAT MATTERS"),
        ((64, 128, 256, 305), (0.004, 1e-5), "NO BATCH FROM WHICH IT IS FASTER"),
    ],
)
def test_the_title_of_a_sweep_is_supported_by_its_intervals(
    batches: tuple[int, ...], parallel: tuple[float, float], title: str, tmp_path: Path
) -> None:
    assert answer_to(tmp_path, *swept(batches, parallel=parallel)).title == title


def test_a_sweep_names_its_range_its_prediction_and_the_check(tmp_path: Path) -> None:
    written = answer_to(tmp_path, *swept(check=320))

    assert row(written, "range") == "slower from batch 64 to 256; faster from batch 320 to 1024"
    assert row(written, "fit").startswith("the fitted lines cross at batch 300, the measured speeds at 30")
    assert (
        row(written, "check")
        == "at batch 320, 3 % faster: 2 to 4 % (95 %, n = 3 launches); the fit predicts 3 % faster: it holds"
    )
    assert row(written, "so").endswith("accuracy was not measured: bash launch.sh --global-batch 1024")


def test_a_gpu_is_no_thread() -> None:
    from ddpbench.show.phrases import arm_in_words

    assert arm_in_words(Arm("baseline", 1, 8, None), on_gpu=True) == "one process (one GPU)"
    assert arm_in_words(Arm("ddp", 4, 8, "nccl"), on_gpu=True) == "4 workers (DDP, NCCL)"
    assert arm_in_words(Arm("ddp", 4, 8, "gloo"), on_gpu=False) == "4 workers of 8 threads (DDP, gloo)"
    assert arm_in_words(Arm("data_parallel", 1, 8, None), on_gpu=True) == "one process (nn.DataParallel)"
    assert arm_in_words(Arm("compiled", 1, 8, None), on_gpu=False) == "one process (torch.compile)"
