"""The command line: one flag per field, and one clear line for a wrong one."""

from dataclasses import fields, replace

import pytest

from ddpbench.config import RECIPE_LR, TrainConfig, flag_name, parse, rank_batch
from ddpbench.errors import UserError


def test_every_field_is_a_flag_with_its_default() -> None:
    assert parse([]) == TrainConfig()


def test_flags_reach_their_fields() -> None:
    cfg = parse(["--model", "mlp", "--global-batch", "16", "--lr", "0.5", "--no-channels-last", "--threads", "3"])

    assert (cfg.model, cfg.global_batch, cfg.lr, cfg.channels_last, cfg.threads) == ("mlp", 16, 0.5, False, 3)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--model", "resnet"], "--model: invalid choice: 'resnet'"),
        (["--dataset", "cifar"], "--dataset: invalid choice: 'cifar'"),
        (["--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["--wibble"], "unknown flag --wibble; see --help"),
        (["--results", ""], "--results: '' is no name for a folder"),
        (["--data-dir", "a\nb"], r"--data-dir: 'a\nb' is no name for a folder"),
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--epochs", "-2"], "--epochs must be at least 1, got -2"),
        (["--epochs", "1.5"], "--epochs: invalid int value: '1.5'"),
        (["--global-batch", "0"], "--global-batch must be at least 1, got 0"),
        (["--threads", "99999999999999999999"], "--threads must be at most 1,024, got 99,999,999,999,999,999,999"),
        (["--epochs", "1000000"], "--epochs must be at most 999,999, got 1,000,000"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must be between 0 and 2^32 - 1, got -1"),
        (["--lr", "nan"], "--lr must be a finite number above 0, got nan"),
        (["--lr", "inf"], "--lr must be a finite number above 0, got inf"),
        (["--lr", "0"], "--lr must be a finite number above 0, got 0.0"),
        (["--lr", "1e999"], "--lr must be a finite number above 0, got inf"),
        (["--label-smoothing", "1"], "--label-smoothing must be at least 0 and below 1, got 1"),
        (["--target-accuracy", "99"], "--target-accuracy must be above 0 and at most 1, as in 0.99; got 99"),
        (["--target-accuracy", "nan"], "--target-accuracy must be above 0 and at most 1, as in 0.99; got nan"),
        (["--comm", "mpi"], "--comm: invalid choice: 'mpi'"),
        (["--epochs"], "--epochs: expected one argument"),
    ],
)
def test_bad_input_is_one_line_that_names_it(argv: list[str], said: str) -> None:
    with pytest.raises(UserError) as problem:
        parse(argv)

    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("flag", ["--comm", "--no-data-parallel", "--comm=gloo"])
def test_a_flag_of_the_other_script_is_refused(flag: str) -> None:
    with pytest.raises(UserError, match="is for another"):
        parse([flag], refuse={"comm": "is for another", "data_parallel": "is for another"})


def test_a_batch_that_does_not_divide_says_which_would() -> None:
    with pytest.raises(UserError, match="--global-batch 256 does not divide over 3 ranks; use 255 or 258"):
        rank_batch(256, 3)
    with pytest.raises(UserError, match="--global-batch 2 does not divide over 3 ranks; use 3"):
        rank_batch(2, 3)
    assert rank_batch(256, 4) == 64


def test_settings_hold_what_is_computed_and_not_where_or_on_how_many_threads() -> None:
    names = set(TrainConfig().settings("cpu").__struct_fields__)

    assert {f.name for f in fields(TrainConfig)} - names == {
        "data_dir",
        "results",
        "seed",
        "threads",
        "comm",
        "data_parallel",
        "inject",
        "timeout_s",
        "checkpoint_every",
        "resume",
    }


def test_settings_name_the_learning_rate_that_the_recipe_chose() -> None:
    assert TrainConfig().settings("cpu").lr == RECIPE_LR["cnn", "adamw"]
    assert TrainConfig(lr=0.3).settings("cpu").lr == 0.3


def test_a_short_run_has_no_target() -> None:
    """launch.sh hands every flag to every run, and some of a study are short."""
    cfg = TrainConfig(target_accuracy=0.99)

    assert cfg.settings("cpu").target_accuracy == 0.99
    assert replace(cfg, steps=5).settings("cpu").target_accuracy is None


def test_flag_names_are_the_fields() -> None:
    assert flag_name("global_batch") == "--global-batch"
