"""What command lines ask for: flags, the variables that say the same, and what is refused."""

import re
from typing import Any

import pytest

from ddpbench import config
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.study import one_run, options
from ddpbench.study.desk import Desk


def test_flags_and_variables_say_the_same_and_the_flag_counts() -> None:
    by_flag = options.read("comparison", ["--seeds", "2", "0", "2", "--world-sizes", "2,4", "--restarts", "1"], {})
    by_variable = options.read("comparison", [], {"SEEDS": " 2 0  2", "WORLD_SIZES": "2 4", "RESTARTS": "1"})
    both = options.read("comparison", ["--seeds", "5"], {"SEEDS": "2 0"})

    for chosen in (by_flag, by_variable):
        assert (chosen.seeds, chosen.world_sizes, chosen.restarts) == ([2, 0], [2, 4], 1)
    assert by_flag.notices == []
    assert by_variable.notices[0] == 'SEEDS=" 2 0  2" is read from the environment; --seeds 2 0 says the same'
    assert len(by_variable.notices) == 3
    assert (both.seeds, both.notices) == ([5], [])


def test_an_empty_world_sizes_or_batches_is_the_default() -> None:
    chosen = options.read("sweep", [], {"WORLD_SIZES": "", "BATCHES": ""})

    assert (chosen.world_sizes, chosen.batches) == ([], options.DEFAULT_BATCHES)


@pytest.mark.parametrize("text", ["x", "1.5", "0", "-1", "1e3", "²"])
def test_other_than_whole_numbers_are_refused_by_name(text: str) -> None:
    with pytest.raises(
        UserError, match=f'WORLD_SIZES="{text}" must be whole numbers from 1 up, like WORLD_SIZES="2 4"'
    ):
        options.read("comparison", [], {"WORLD_SIZES": text})
    with pytest.raises(
        UserError, match=f"--world-sizes {text} must be whole numbers from 1 up, like --world-sizes 2 4"
    ):
        options.read("comparison", ["--world-sizes", text], {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1"], "--seed is set for each run of a study; use --seeds 0 1 2"),
        (["--threads", "1"], "--threads is set for each arm of a study"),
        (["--batches", "64"], "--batches is for a sweep"),
        (["--more", "--resume"], "--more adds to a study, and --resume finishes one: give one of them"),
        (["--more", "--seeds", "7", "8"], "--more adds the next seeds itself; leave out --seeds and SEEDS"),
        (["--restarts", "1", "2"], "--restarts must be one whole number from 0 to 9,999, got 1 2"),
        (["--restarts", "10000"], "--restarts must be one whole number from 0 to 9,999"),
        (["--comm", "shm"], "--comm is set for each arm of a study; use --comms shm gloo"),
        (
            ["--comms", "mpi"],
            r"--comms mpi: no such way to combine gradients; there are nccl, gloo, shm, shm\+gloo, fp16",
        ),
        (["--comms", "shm", "none"], "--comms none: no such way to combine gradients"),
        (["--comms", "shm", "gloo", "shm"], "--comms shm gloo shm: shm is there twice; name each once"),
        (["--comms"], "--comms: expected at least one argument"),
        (["--sedes", "1"], "unknown flag --sedes; did you mean --seeds?"),
        (["--seeds"], "--seeds: expected at least one argument"),
        (["--seeds", ""], "--seeds is empty; give whole numbers, like --seeds 0 1 2"),
        (["--world-sizes", " "], "--world-sizes is empty; give whole numbers, like --world-sizes 2 4"),
        (["--seeds", str(2**32)], "--seed must be at least 0 and below 4,294,967,296"),
        (["3"], "unexpected word '3'"),
        (["--plan=yes"], "--plan: ignored explicit argument 'yes'"),
    ],
)
def test_what_no_study_could_use_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as refused:
        options.read("comparison", words, {})

    assert "\n" not in str(refused.value)


def test_the_variable_of_seeds_is_no_more_welcome_beside_more_than_the_flag() -> None:
    with pytest.raises(UserError, match=r"^--more adds the next seeds itself; leave out --seeds and SEEDS$"):
        options.read("comparison", ["--more"], {"SEEDS": "7 8"})


def test_comms_are_named_one_by_one_or_left_to_the_machine() -> None:
    assert options.read("comparison", [], {}).comms == []
    assert options.read("speed", ["--comms", "shm", "powersgd"], {}).comms == ["shm", "powersgd"]
    assert options.read("sweep", ["--comms", "gloo"], {}).comms == ["gloo"]
    assert options.read("comparison", ["--comms", "shm,gloo"], {"COMMS": "fp16"}).comms == ["shm", "gloo"]
    with pytest.raises(UserError, match="--comms shm gloo: a sweep follows one way to combine gradients; name one"):
        options.read("sweep", ["--comms", "shm", "gloo"], {})


def test_one_run_is_a_single_process_unless_ranks_are_given() -> None:
    alone, ranks = options.read_run([]), options.read_run(["--ranks", "2", "--restarts", "0", "--comm", "shm"])

    assert (alone.ranks, alone.restarts, alone.train) == (None, 3, TrainConfig())
    assert (ranks.ranks, ranks.restarts, ranks.train.comm) == (2, 0, "shm")


@pytest.mark.parametrize(
    ("hosts", "words", "message"),
    [
        (1, ["--ranks", "2", "--global-batch", "63"], "--global-batch 63 does not divide over 2 ranks; use 62 or 64"),
        (2, ["--ranks", "2", "--global-batch", "62"], "--global-batch 62 does not divide over 4 ranks; use 60 or 64"),
        (1, ["--global-batch", "63", "--accumulate", "2"], "--accumulate 2 does not divide the 63 samples of a rank"),
        (2, [], "--ranks N is needed on several hosts: so many on each; with 1 there are 2"),
    ],
)
def test_one_run_is_refused_before_any_process_is_there(hosts: int, words: list[str], message: str) -> None:
    def start(_: object) -> Any:
        pytest.fail("nothing is to be started")

    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        one_run.main(words, [], Desk(hosts=hosts, on_all=start))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ranks", "0"], "--ranks 0 must be whole numbers from 1 up, like --ranks 2"),
        (["--ranks", "2 3"], "--ranks must be one whole number from 1 to 9,999, got 2 3"),
        (["--restarts", ""], "--restarts must be one whole number from 0 to 9,999, got none"),
        (["--comm", "shm"], "--comm is for ddp_train.py: give --ranks N"),
        (["--ranks", "2", "--data-parallel"], "--data-parallel is for baseline_train.py: leave out --ranks"),
    ],
)
def test_what_no_run_could_use_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        options.read_run(words)

    assert str(refused.value) == message


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--epochs", "7", "--lr", "0.5", "--no-channels-last", "--results", "a folder"],
        ["--target-accuracy", "0.97", "--hook", "tests/hooks/faults.py:kill=1@7", "--resume", "--timeout-s", "2.5"],
    ],
)
def test_flags_make_the_configuration_that_they_were_made_from(words: list[str]) -> None:
    cfg = config.parse(words)

    assert config.parse(config.to_flags(cfg)) == cfg
    assert config.to_flags(TrainConfig()) == []


def test_a_study_has_a_width_a_budget_a_margin_and_perhaps_a_price() -> None:
    default = options.read("comparison", [], {})
    words = ["--within", "2", "--minutes", "1.5", "--margin-speed", "5%", "--price-per-hour", "1.2", "--more"]
    chosen = options.read("speed", words, {})

    assert (default.within, default.minutes, default.margin, default.price_per_hour) == (0.03, 5, 0.03, None)
    assert (chosen.within, chosen.minutes, chosen.margin, chosen.price_per_hour) == (0.02, 1.5, 0.05, 1.2)
    assert (default.is_more, chosen.is_more, chosen.train.resume) == (False, True, False)


def test_only_a_comparison_has_whole_runs_and_so_seeds() -> None:
    assert options.read("comparison", [], {}).seeds == options.DEFAULT_SEEDS
    assert options.read("speed", [], {}).seeds == options.read("sweep", [], {}).seeds == []
    for argv, variables in ((["--seeds", "1"], {}), ([], {"SEEDS": "1"})):
        with pytest.raises(UserError, match=r"^--seeds is for whole runs, and launch\.sh sweep has none; leave out"):
            options.read("sweep", argv, variables)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--within", "0"], "--within must be between 0.1% and 100%, as in 3%; got '0'"),
        (["--within", "wide"], "--within must be between 0.1% and 100%, as in 3%; got 'wide'"),
        (["--margin-speed", "nan"], "--margin-speed must be between 0.1% and 100%"),
        (["--minutes", "-1"], "--minutes must be between 0.1 and 1,440, as in 5; got '-1'"),
        (["--minutes", "soon"], "--minutes must be between 0.1 and 1,440, as in 5; got 'soon'"),
        (
            ["--price-per-hour", "0"],
            "--price-per-hour must be above 0 and at most 1,000,000, as in 1.20; got '0'",
        ),
        (["--price-per-hour", "inf"], "--price-per-hour must be above 0"),
        (["--price-per-hour", "nan"], "--price-per-hour must be above 0"),
    ],
)
def test_a_width_a_budget_or_a_price_that_cannot_be_is_refused(argv: list[str], why: str) -> None:
    with pytest.raises(UserError, match=re.escape(why)):
        options.read("speed", argv, {})
