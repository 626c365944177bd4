"""The command line: one flag per field, and one clear line for a wrong one."""

from pathlib import Path

import pytest

from ddpbench import config
from ddpbench.config import TrainConfig, flag_name, parse, part_batch, rank_batch
from ddpbench.errors import UserError
from ddpbench.settings import Settings


def test_every_field_is_a_flag_with_its_default() -> None:
    assert parse([]) == TrainConfig()


def test_flags_reach_their_fields() -> None:
    cfg = parse(["--model", "mlp", "--global-batch", "16", "--lr", "0.5", "--no-channels-last", "--threads", "3"])

    assert (cfg.model, cfg.global_batch, cfg.lr, cfg.channels_last, cfg.threads) == ("mlp", 16, 0.5, False, 3)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--optimizer", "adam"], "--optimizer: invalid choice: 'adam'"),
        (["--task", "minst"], "--task 'minst' is no file that ends in .py and no task of ours; did you mean mnist?"),
        (["--task", "none.py"], "--task none.py: there is no file none.py"),
        (["--set", "width"], "--set must be NAME=VALUE, as in --set width=128; got 'width'"),
        (["--set", "modle=mlp"], "--set modle: no function of the task mnist takes it; did you mean model?"),
        (["--set", "model=mlp", "--set", "model=cnn"], "--set model is given twice"),
        (["--optimizer", "task"], "--optimizer task: the task mnist has no function optimizer(net); use adamw or sgd"),
        (
            ["--schedule", "task"],
            "--schedule task: the task mnist has no function schedule(optimizer, steps); use one-cycle",
        ),
        (["--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["--wibble"], "unknown flag --wibble; see --help"),
        (["--results", ""], "--results: '' is no name for a folder"),
        (["--data-dir", "a\nb"], r"--data-dir: 'a\nb' is no name for a folder"),
        (["--epochs", "0"], "--epochs must be at least 1 and at most 999,999, got 0"),
        (["--epochs", "-2"], "--epochs must be at least 1 and at most 999,999, got -2"),
        (["--epochs", "1.5"], "--epochs: invalid int value: '1.5'"),
        (["--global-batch", "0"], "--global-batch must be at least 1 and at most 2,147,483,648, got 0"),
        (
            ["--threads", "99999999999999999999"],
            "at most 1,024, got 99,999,999,999,999,999,999",
        ),
        (["--epochs", "1000000"], "--epochs must be at least 1 and at most 999,999, got 1,000,000"),
        (["--threads", "0"], "--threads must be at least 1 and at most 1,024, got 0"),
        (["--seed", "-1"], "--seed must be at least 0 and below 4,294,967,296, got -1"),
        (["--lr", "nan"], "--lr must be above 0 and at most 1e+30, got nan"),
        (["--lr", "inf"], "--lr must be above 0 and at most 1e+30, got inf"),
        (["--lr", "0"], "--lr must be above 0 and at most 1e+30, got 0.0"),
        (["--lr", "1e999"], "--lr must be above 0 and at most 1e+30, got inf"),
        (["--label-smoothing", "1"], "--label-smoothing must be at least 0 and below 1, got 1"),
        (["--accumulate", "0"], "--accumulate must be at least 1 and at most 4,096, got 0"),
        (["--clip", "0"], "--clip must be above 0 and at most 1e+30, got 0.0"),
        (["--clip", "nan"], "--clip must be above 0 and at most 1e+30, got nan"),
        (["--warmup", "1"], "--warmup must be at least 0 and below 1, got 1.0"),
        (["--readers", "65"], "--readers must be at least 0 and at most 64, got 65"),
        (["--data-parallel", "--precision", "fp16"], "--data-parallel does not scale the loss, which fp16 needs; use"),
        (["--data-parallel", "--precision", "bf16"], "--data-parallel forgets bf16 in its threads"),
        (
            ["--comm", "powersgd", "--precision", "fp16"],
            "--comm powersgd carries gradients over, also those that overflow",
        ),
        (["--target-accuracy", "99"], "--target-accuracy must be above 0 and at most 1, got 99"),
        (["--target-accuracy", "nan"], "--target-accuracy must be above 0 and at most 1, got nan"),
        (["--results", "<results>"], "the name of the folder --results must be text without control characters"),
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


def test_a_batch_that_does_not_divide_into_parts_says_which_would() -> None:
    assert part_batch(TrainConfig(global_batch=256, accumulate=4), 2) == 32
    with pytest.raises(UserError, match="--global-batch 256 does not divide over 3 ranks"):
        part_batch(TrainConfig(global_batch=256, accumulate=4), 3)
    for batch, parts, ranks, share, near in ((256, 3, 2, 128, "252 or 258"), (4, 3, 2, 2, "6")):
        why = f"--accumulate {parts} does not divide the {share} samples of a rank in a step; .* {near}$"
        with pytest.raises(UserError, match=why):
            part_batch(TrainConfig(global_batch=batch, accumulate=parts), ranks)


def test_settings_hold_what_is_computed_and_not_where_or_on_how_many_threads() -> None:
    names = set(Settings.__struct_fields__)

    assert {*TrainConfig.__struct_fields__} - names == {
        "data_dir",
        "results",
        "seed",
        "threads",
        "comm",
        "data_parallel",
        "compile",
        "hook",
        "timeout_s",
        "checkpoint_every",
        "resume",
    }


TASK = """
batch, epochs = 32, 7
def model(width=8, depth=2): ...
def data(): ...
def loss(net, batch, weight=1.0): ...
"""


def test_a_task_sets_the_defaults_of_flags_and_flags_win(tmp_path: Path) -> None:
    path = tmp_path / "my_task.py"
    path.write_text(TASK)
    own = config.parse(["--task", str(path), "--set", "width=16", "--set", "weight=0.5"])
    given = config.parse(["--task", str(path), "--global-batch", "256", "--epochs", "3"])

    assert (own.global_batch, own.epochs, own.set) == (32, 7, ("width=16", "weight=0.5"))
    assert (given.global_batch, given.epochs) == (256, 3)
    for cfg in (own, given):
        assert config.parse(config.to_flags(cfg)) == cfg, "also where a flag gives the usual default"


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("--set", "width=<eos>"),
        ("--set", "width=a\tb"),
        ("--set", f"width={'9' * 300}"),
        ("--model", "<cnn>"),
        ("--dataset", "a\u2028b"),
        ("--hook", "hook.py:<words>"),
    ],
)
def test_what_no_record_could_hold_is_refused_before_anything_runs(
    flag: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook.py").touch()
    (tmp_path / "my_task.py").write_text(TASK.replace("model(", "model(model=1, dataset=1, "))
    with pytest.raises(UserError, match=f"^{flag} must be text without control characters, < and >") as refused:
        config.parse(["--task", "my_task.py", flag, word])

    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "constant", ["margin = 0", "margin = -0.1", "margin = 1e999", "test_batch = 0", "test_batch = -8"]
)
def test_constants_of_a_task_that_no_run_could_use_are_refused(constant: str, tmp_path: Path) -> None:
    (tmp_path / "my_task.py").write_text(TASK + constant)
    with pytest.raises(UserError, match=rf"^--task my_task\.py: {constant.split()[0]} must be above 0, got"):
        config.parse(["--task", str(tmp_path / "my_task.py")])


def test_a_task_may_make_its_own_optimizer(tmp_path: Path) -> None:
    path = tmp_path / "my_task.py"
    path.write_text(TASK + "def optimizer(net): ...\n")

    assert config.parse(["--task", str(path)]).optimizer == "task"
    assert config.parse(["--task", str(path), "--optimizer", "sgd"]).optimizer == "sgd"
    with pytest.raises(UserError, match=r"--lr: the task my_task\.py makes its own optimizer"):
        config.parse(["--task", str(path), "--lr", "0.1"])


def test_a_task_may_make_its_own_schedule(tmp_path: Path) -> None:
    path = tmp_path / "my_task.py"
    path.write_text(TASK + "def schedule(optimizer, steps): ...\n")
    own = config.parse(["--task", str(path)])

    assert (own.schedule, own.optimizer) == ("task", "adamw")
    assert config.parse(config.to_flags(own)) == own
    assert config.parse(["--task", str(path), "--schedule", "cosine", "--warmup", "0.1"]).schedule == "cosine"
    with pytest.raises(UserError, match=r"--warmup: the task my_task\.py makes its own schedule; set it there, or add"):
        config.parse(["--task", str(path), "--warmup", "0.1"])


def test_a_hook_is_recorded_by_its_name_and_words(tmp_path: Path) -> None:
    (tmp_path / "watch.py").touch()

    assert TrainConfig().injected is None
    assert TrainConfig(hook=f"{tmp_path}/watch.py").injected == "watch.py"
    assert TrainConfig(hook=f"{tmp_path}/watch.py:a:b=1").injected == "watch.py:a:b=1"


@pytest.mark.parametrize("text", ["", "watch", "nowhere.py", "nowhere.py:words", ".py", "/"])
def test_a_hook_that_is_no_file_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--hook must name a Python file, as in watch.py or watch.py:WORDS; got"):
        TrainConfig(hook=text)


def test_flag_names_are_the_fields() -> None:
    assert flag_name("global_batch") == "--global-batch"
